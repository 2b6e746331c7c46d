"""The benchmark of the network compares what it says: same weights, right forms, ratios and shares."""

import json
import sys

import bench_model
import pytest
import torch

from attention_bench import model, results
from attention_bench.model import FORMS, ModelRow, Work

SMALL = Work("inference", (40, 56), cnum=4)


def test_both_layers_give_the_same_images():
    assert 0 <= model.disagreement(SMALL) < 1e-5


def test_a_wrong_layer_is_seen(monkeypatch):
    monkeypatch.setattr(model, "textbook", lambda foreground, *_: foreground.flip(2))
    assert model.disagreement(SMALL) > bench_model._ALLOWED


def test_forms_are_the_same_network_with_another_layer():
    generators = [model.make_generator(SMALL, form) for form in FORMS]
    names = [type(each.refinement.attention.layer).__name__ for each in generators]
    assert names == ["ContextualAttention", "_Textbook", "_Without"]
    for other in generators[1:]:
        assert all(map(torch.equal, generators[0].parameters(), other.parameters()))


@pytest.mark.parametrize("form", FORMS)
def test_an_iteration_trains_every_network(form):
    # Not smaller: the hole must leave patches that touch no missing pixel.
    work = Work("training", (64, 64), cnum=2)
    training = model.Training(model.make_generator(work, form), *model.make_inputs(work))
    networks = {"generator": training.generator, "critics": training.critics}
    steps = dict.fromkeys(networks, 0)
    before = {name: [p.detach().clone() for p in each.parameters()] for name, each in networks.items()}
    for name, network in networks.items():
        optimizer = training.optimizers[network]
        optimizer.register_step_post_hook(lambda *_, name=name: steps.update({name: steps[name] + 1}))
    refined = training.iteration()
    assert refined.shape == (1, 3, 64, 64)
    assert steps == {"generator": 1, "critics": 5}
    for name, network in networks.items():
        changed = [not torch.equal(p, old) for p, old in zip(network.parameters(), before[name], strict=True)]
        # The score's bias alone cancels in a critic's loss.
        assert changed.count(False) == (2 if name == "critics" else 0)


def test_ratios_and_shares():
    rows = [ModelRow("inference-8x8", 1, 4, "cpu", 1, form) for form in FORMS]
    for row, seconds in zip(rows, (4.0, 12.0, 3.0), strict=True):
        row.take([seconds] * 3)
    model.compare(rows)
    assert [row.ratio for row in rows] == [3.0, 1.0, 4.0]
    assert [row.attention_share for row in rows] == [0.25, 0.75, 0.0]


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_model, "QUICK", (SMALL,))
    monkeypatch.setattr(model, "in_fresh_process", lambda function, *arguments: 5_000_000)
    path = tmp_path / "model.json"
    threads = str(torch.get_num_threads())
    arguments = ["--quick", "--budget", "0.01", "--threads", threads, "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["bench_model.py", *arguments])
    assert bench_model.main() == 0
    printed = capsys.readouterr().out
    assert "inference-40x56 · batch 1 · cnum 4" in printed
    assert "5.00 MB" in printed
    rows = json.loads(path.read_text())["rows"]
    assert [row["form"] for row in rows] == list(FORMS)
    with pytest.raises(ValueError, match="results of another benchmark"):
        results.load(path)


def test_memory_is_of_one_step():
    """At least the two maps of cnum channels, at the size of the image, around a convolution."""
    work = Work("inference", (256, 256), cnum=4)
    assert 2 * 4 * 256**2 * 4 < model.peak_bytes(work, "package") < 2**27
