"""What the structure network is trained on: the list of photographs, the folder, what is said of them."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.qt_resources import resource_file
from tools.docs.inpainting.photographs import JUDGED
from tools.photographs import BUNDLED
from tools.structure import collect as command
from tools.structure.collect import collect
from tools.structure.notice import HEADER, NOTICE, notice, table
from tools.structure.photographs import LICENCES, TABLE, TrainingPhotograph, training_photographs

LISTED = training_photographs()
ROOT = Path(__file__).resolve().parents[1]


# The list


@pytest.mark.parametrize("photograph", LISTED, ids=lambda one: f"{one.activity}-{one.name}")
def test_every_photograph_has_what_must_be_said_of_it(photograph):
    assert photograph.author.strip() == photograph.author != ""
    assert photograph.licence in LICENCES
    assert re.fullmatch(r"(https://\S+)?", photograph.source)
    # Whoever asks to be named is found: only what is in the public domain may lack a source.
    assert photograph.source or photograph.licence == "public-domain"
    assert re.fullmatch(r"[0-9a-f]{64}", photograph.sha256)
    assert photograph.earlier in ("", "tuned", "confirmed")
    assert photograph.inside == "" or photograph.file.endswith(".rcc")
    assert "/erase" not in photograph.file  # its photographs have no licence that is known
    assert "--" not in photograph.name


def test_every_licence_that_is_allowed_occurs():
    assert {one.licence for one in LISTED} == set(LICENCES)


def test_no_photograph_is_listed_twice():
    assert len({one.sha256 for one in LISTED}) == len(LISTED)
    assert len({(one.package, one.activity, one.name) for one in LISTED}) == len(LISTED)
    assert len({(one.package, one.file, one.inside) for one in LISTED}) == len(LISTED)


def test_packages_that_judge_or_validate_are_not_trained_on():
    assert not {one.package for one in LISTED} & {BUNDLED, "lxqt-themes", *(one.package for one in JUDGED)}


def test_places_are_together():
    """As the notice and the table go through them."""
    order = [(one.package, one.file, one.inside) for one in LISTED]
    assert order == sorted(order)


def test_titles_come_from_the_source():
    commons = "https://commons.wikimedia.org/wiki/File:"
    one = TrainingPhotograph("a", "game", source=f"{commons}Caf%C3%A9_in_Rome_(2001).v2.JPG")
    assert one.title == "Café in Rome (2001).v2"
    assert replace(one, source="https://example.org/view?picture=b.jpg").title == "a"
    assert replace(one, source="").title == "a"


# The folder


def encoded(size, form):
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(file, form)
    return file.getvalue()


@pytest.fixture
def packages(tmp_path):
    """Two packages, unpacked, and what is listed of them."""
    small, large = encoded((200, 130), "WEBP"), encoded((2048, 512), "JPEG")
    folder = tmp_path / "packages"
    for name, contents in [
        ("game/rcc/animals.rcc", resource_file(3, {"fish.webp": (small, 0)})),
        ("walls/usr/hills/dawn.jpg", large),
    ]:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(contents)
    hashes = [hashlib.sha256(contents).hexdigest() for contents in (small, large)]
    said = {"author": "A. Uthor", "licence": "CC0-1.0"}
    return folder, [
        TrainingPhotograph("fish", "game", "rcc/animals.rcc", "folder/fish.webp", **said, sha256=hashes[0]),
        TrainingPhotograph("dawn", "walls", "usr/hills/dawn.jpg", **said, sha256=hashes[1]),
    ]


def test_photographs_are_collected(packages, tmp_path):
    folder, photographs = packages
    out = tmp_path / "out"
    collect(photographs, folder, out)
    fish, dawn = out / "game--animals--fish.webp", out / "walls--hills--dawn.png"
    assert sorted(out.iterdir()) == [fish, dawn]
    assert fish.read_bytes() == encoded((200, 130), "WEBP")
    with Image.open(dawn) as image:
        assert (image.size, image.mode, image.format) == ((1024, 256), "RGB", "PNG")


def test_an_empty_folder_may_be_there(packages, tmp_path):
    (tmp_path / "out").mkdir()
    collect(packages[1], packages[0], tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_of_an_older_list_nothing_is_left(packages, tmp_path):
    (tmp_path / "older.png").touch()
    with pytest.raises(OSError, match="exists; remove it, or name another folder"):
        collect(packages[1], packages[0], tmp_path)


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"package": "gone"}, FileNotFoundError, "has no folder gone; .* apt-get download PACKAGE; dpkg -x"),
        ({"file": "usr/hills/noon.jpg"}, FileNotFoundError, "noon.jpg"),
        ({"sha256": "0" * 64}, ValueError, "dawn: expected the picture that was listed, got another one"),
    ],
)
def test_all_of_them_or_none(packages, tmp_path, changes, error, told):
    folder, (fish, dawn) = packages
    with pytest.raises(error, match=told):
        collect([fish, replace(dawn, **changes)], folder, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == [folder]


def test_the_command(packages, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "training_photographs", lambda: packages[1])
    out = tmp_path / "out"
    command.main(["--packages", str(packages[0]), "--out", str(out)])
    assert capsys.readouterr().out == f"{out}: 2 photographs\n"
    for other, message in ((out, "exists; remove it"), (tmp_path / "no" / "out", "there is no folder")):
        with pytest.raises(SystemExit, match=f"--out {re.escape(str(other))}: {message}"):
            command.main(["--packages", str(packages[0]), "--out", str(other)])


# What is said of them


def test_what_is_said_is_that_of_the_list():
    made_anew = "make it anew: python -m tools.structure.notice"
    assert NOTICE.read_text(encoding="utf-8") == notice(LISTED), made_anew
    page = (ROOT / "docs/weights.md").read_text(encoding="utf-8")
    assert page.count(HEADER) == 1
    assert f"\n{table(LISTED)}\n" in page, made_anew
    assert f"{len(LISTED)} photographs" in page
    earlier = {name: sum(one.earlier == name for one in LISTED) for name in ("tuned", "confirmed")}
    assert (
        f"{earlier['tuned']} of them were tuned on before, {earlier['confirmed']} confirmed on"
        in " ".join(page.split())
    )


def test_the_notice_names_title_author_licence_and_source():
    source = "https://commons.wikimedia.org/wiki/File:High_hills.jpg"
    one = TrainingPhotograph("dawn", "walls", "usr/hills/dawn.jpg", "", "A. Uthor", "CC-BY-2.0", source)
    text = notice([one, replace(one, licence="public-domain", source="")])
    assert text.endswith(
        "walls, hills:\n"
        f"  High hills, by A. Uthor, CC-BY-2.0\n    {source}\n"
        "  dawn, by A. Uthor, public-domain\n"
    )
    assert f"  CC-BY-2.0: {LICENCES['CC-BY-2.0']}\n" in text
    assert "CC-BY-SA" not in text


def test_the_table_counts_by_package_and_activity():
    one = TrainingPhotograph("dawn", "walls", "usr/hills/dawn.jpg", "", "A. Uthor", "CC-BY-2.0")
    other = replace(one, file="usr/sea/dawn.jpg", licence="public-domain")
    assert table([one, one, other, replace(other, licence="CC-BY-4.0")]).splitlines()[2:] == [
        "| walls | hills | 2 | 2 CC-BY-2.0 |",
        "| walls | sea | 2 | 1 public-domain, 1 CC-BY-4.0 |",
    ]


def test_the_table_is_read_as_it_is(tmp_path):
    """A quotation mark in a name is one."""
    row = "\t".join(['"a" b', "walls", "dawn.jpg", "", 'the "x" y', "CC0-1.0", "", "", "0"])
    (tmp_path / "some.tsv").write_text(f"{TABLE.read_text(encoding='utf-8').splitlines()[0]}\n{row}\n")
    (one,) = training_photographs(tmp_path / "some.tsv")
    assert (one.name, one.author, one.sha256) == ('"a" b', 'the "x" y', "0")
