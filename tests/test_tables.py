"""Means and Markdown of the experiments' rows, by hand."""

from contextual_attention.models.evaluation.tables import means, to_markdown

ROWS = [
    {"photo": "a", "side": 8, "PSNR": 30.0, "share": None},
    {"photo": "a", "side": 4, "PSNR": 35.0, "share": 0.25},
    {"photo": "b", "side": 8, "PSNR": 20.0, "share": None},
    {"photo": "b", "side": 4, "PSNR": 25.0, "share": None},
]


def test_means_by_a_column():
    assert means(ROWS, "side") == [
        {"side": 8, "PSNR": 25.0, "share": None},
        {"side": 4, "PSNR": 30.0, "share": 0.25},
    ]


def test_markdown():
    assert to_markdown(means(ROWS, "side")).splitlines() == [
        "| side | PSNR | share |",
        "|---|---|---|",
        "| 8 | 25 |  |",
        "| 4 | 30 | 0.25 |",
    ]
