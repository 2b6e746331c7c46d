"""The web page: what its buttons do, and the page itself in a browser."""

import io
import json
import os
import socket
import urllib.error
import urllib.request

import gradio
import numpy as np
import pytest
import torch
from helpers import browser
from PIL import Image

from contextual_attention.cli import main
from contextual_attention.models import inpaint
from contextual_attention.models.data.bundled import bundled_photographs
from contextual_attention.models.filling import page
from contextual_attention.models.network.generator import InpaintGenerator

WIDTH, HEIGHT = 96, 64
DESK = page.Desk()


def photograph(mode="RGB"):
    """Part of a photograph."""
    with Image.open(bundled_photographs()["coffee"]) as image:
        return image.crop((200, 150, 200 + WIDTH, 150 + HEIGHT)).convert(mode)


def painted(*boxes, size=(WIDTH, HEIGHT)):
    """The editor's value after boxes (left, top, right, bottom) were painted over, half transparent."""
    layer = Image.new("RGBA", size)
    for box in boxes:
        layer.paste((255, 51, 85, 153), box)
    return {"background": None, "layers": [layer], "composite": None}


def silent(share, desc=None):
    assert 0 <= share <= 1


class TestChoosing:
    @pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
    def test_the_photograph_is_kept_as_it_is(self, tmp_path, mode):
        file = tmp_path / "photo.png"
        photograph(mode).save(file)
        kept, editor = DESK.choose(str(file))
        assert kept.mode == mode
        assert np.array_equal(kept, photograph(mode))
        assert editor.value["background"]["path"].endswith(".png")

    def test_16_bits_are_kept_and_8_shown(self, tmp_path):
        deep = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 10
        Image.fromarray(deep).save(tmp_path / "deep.png")
        kept, editor = DESK.choose(str(tmp_path / "deep.png"))
        assert np.array_equal(kept, deep)
        with Image.open(editor.value["background"]["path"]) as shown:
            assert np.array_equal(np.asarray(shown)[..., 0], deep >> 8)

    def test_what_cannot_be_read(self, tmp_path):
        file = tmp_path / "notes.png"
        file.write_text("no picture")
        with pytest.raises(gradio.Error, match=r"^.notes\.png: cannot be read as a picture"):
            DESK.choose(str(file))
        with pytest.raises(gradio.Error, match="No file arrived"):
            DESK.choose(None)

    def test_what_is_too_large(self, tmp_path):
        photograph().save(tmp_path / "photo.png")
        with pytest.raises(gradio.Error, match="it has 96 x 64 pixels, more than 6,000; reduce it first"):
            page.Desk(most_pixels=6000).choose(str(tmp_path / "photo.png"))


class TestFilling:
    @pytest.mark.parametrize("method", DESK.methods)
    def test_it_is_what_the_function_gives(self, method):
        shares = []
        picture, attention, told = DESK.fill(
            photograph(), painted((40, 20, 52, 36)), method, lambda share, desc: shares.append(share)
        )
        hole = np.zeros((HEIGHT, WIDTH), bool)
        hole[20:36, 40:52] = True
        assert np.array_equal(picture, inpaint(photograph(), hole, method))
        assert attention.size == (WIDTH, HEIGHT)
        assert (np.asarray(attention)[~hole] == 255).all()  # outside, everything is at its own position
        if method != "structure":  # which need not copy all of it
            assert (np.asarray(attention)[hole] != 255).any(1).all()
        assert told.startswith(f"192 pixels, 3.1% of the photograph, by {method} in ")
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0, 1)

    def test_a_model(self):
        torch.manual_seed(0)
        model = InpaintGenerator(cnum=4)
        picture, _, _ = page.Desk(model).fill(photograph(), painted((8, 8, 24, 24)), "model", silent)
        hole = np.zeros((HEIGHT, WIDTH), bool)
        hole[8:24, 8:24] = True
        assert np.array_equal(picture, inpaint(photograph(), hole, "model", model=model))

    def test_a_model_is_offered_where_there_is_one(self):
        assert DESK.methods == ["structure", "exemplar", "patchmatch"]
        assert page.Desk(torch.nn.Identity()).methods == [*DESK.methods, "model"]

    def test_a_model_does_not_replace_the_network_of_the_package(self):
        given = photograph(), painted((8, 8, 24, 24)), "structure", silent
        assert np.array_equal(page.Desk(InpaintGenerator(cnum=4)).fill(*given)[0], DESK.fill(*given)[0])

    def test_strokes_of_all_layers_count_however_faint(self):
        faint = Image.new("RGBA", (WIDTH, HEIGHT))
        faint.putpixel((3, 2), (255, 0, 0, 1))
        value = painted((10, 10, 12, 12))
        value["layers"].append(faint)
        hole = page.brushed(value, (WIDTH, HEIGHT))
        assert hole.sum() == 5
        assert hole[2, 3]

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (None, "Brush over what should go first"),
            (painted(), "Brush over what should go first"),
            (painted((0, 0, WIDTH, HEIGHT)), "Everything is brushed over"),
            (painted((0, 0, 9, 9), size=(50, 50)), "The strokes belong to another photograph"),
        ],
    )
    def test_strokes_that_leave_nothing_to_do(self, value, message):
        with pytest.raises(gradio.Error, match=message):
            DESK.fill(photograph(), value, "exemplar", silent)

    def test_no_photograph(self):
        with pytest.raises(gradio.Error, match="Choose a photograph first"):
            DESK.fill(None, painted((1, 1, 5, 5)), "exemplar", silent)

    def test_what_the_method_refuses_is_told(self, monkeypatch):
        def fail(*_, **__):
            raise RuntimeError("out of memory")

        monkeypatch.setattr(page, "inpaint", fail)
        with pytest.raises(gradio.Error, match="out of memory"):
            DESK.fill(photograph(), painted((1, 1, 5, 5)), "exemplar", silent)


class TestCommand:
    def test_addresses_that_cannot_be_had(self, capsys):
        # TEST-NET-1, RFC 5737: nobody's.
        assert main(["demo", "--host", "192.0.2.1"]) == 2
        assert "--host 192.0.2.1, --port 7860: " in capsys.readouterr().err
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert main(["demo", "--port", str(port)]) == 2
        assert f"--port {port}: " in capsys.readouterr().err

    def test_a_model_that_is_none(self, tmp_path, capsys):
        (tmp_path / "config.json").write_text("{}")
        assert main(["demo", "--model", str(tmp_path)]) == 2
        assert f"--model: {tmp_path} is neither a training run" in capsys.readouterr().err

    def test_it_listens_to_this_machine_alone_and_reports_to_nobody(self, monkeypatch):
        served = []
        monkeypatch.setattr(page, "serve", lambda shown, *where: served.append((shown, where)))
        assert main(["demo"]) == 0
        ((shown, where),) = served
        assert where == ("127.0.0.1", None)
        assert not shown.analytics_enabled
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The folder with photo.png, grey.png of another size, and broken.png."""
    folder = tmp_path_factory.mktemp("files")
    photograph().save(folder / "photo.png")
    photograph("L").transpose(Image.Transpose.ROTATE_90).save(folder / "grey.png")
    (folder / "broken.png").write_bytes((folder / "photo.png").read_bytes()[:200])
    return folder


@pytest.fixture
def address(files):
    """Of the page, of which photo.png is the only example."""
    shown = page.build(DESK, [files / "photo.png"])
    try:
        yield page.serve(shown, "127.0.0.1", None, wait=False)
    finally:
        shown.close(verbose=False)


@pytest.fixture
def someone(address):
    """A visitor of the page."""
    if missing := browser.missing_programs():
        # A run that must check everything does not pass without having done so.
        tell = pytest.fail if os.environ.get("CI") else pytest.skip
        tell(f"not installed: {', '.join(missing)}; apt-get install chromium chromium-driver")
    with browser.visitor(address) as visitor:
        yield visitor


def ask(address, path, body=None):
    """The status and the text of an answer."""
    request = urllib.request.Request(f"{address}{path}", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def call(address, function, data):
    """A function of the page, called as the page does: the event that ends it."""
    body = json.dumps({"data": data, "fn_index": function, "session_hash": "someone"}).encode()
    status, said = ask(address, "gradio_api/queue/join", body)
    if status != 200:
        return status, said
    return status, ask(address, "gradio_api/queue/data?session_hash=someone")[1]


def upload(address, content):
    """The path that the page gives an uploaded file."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="f.png"\r\n\r\n'
    body = head + content + b"\r\n--x--\r\n"
    request = urllib.request.Request(
        f"{address}gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)[0]


def bomb():
    """A picture of 900 million pixels in a hundred kilobytes."""
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    return file.getvalue()


def test_malformed_calls_are_refused_and_leave_no_traceback(address, capfd):
    def file(path):
        return {"path": path, "meta": {"_type": "gradio.FileData"}}

    junk = [
        None, 1, float("nan"), "x", [], {}, {"path": None}, file("/etc/passwd"), file("../../etc/passwd"),
        file("\0"), file("a" * 5000), file("http://127.0.0.1:9/x.png"), file(upload(address, b"no picture")),
        file(upload(address, bomb())),
    ]  # fmt: skip
    choose, pick, fill = range(3)
    calls = [(function, [value]) for function in (choose, pick) for value in junk]
    for value in junk:
        strokes = ({"layers": value}, {"layers": [value]}, {"background": value})
        calls += [(fill, [None, {"background": None, "layers": [], "composite": None} | each, "exemplar"])
                  for each in strokes]  # fmt: skip
        calls += [(fill, [value, None, "exemplar"]), (fill, [None, None, value])]
    calls += [(choose, []), (fill, []), (fill, [None]), (fill, 5), (fill, None)]
    calls += [(99, [1]), (-1, [1]), ("x", [1])]
    for function, data in calls:
        status, said = call(address, function, data)
        assert status in (400, 422) or '"success":false' in said, (function, data, said)
        assert "root:" not in said
    for path, body in (
        ("gradio_api/queue/join", b"{"), ("gradio_api/call/nothing", b'{"data":[]}'),
        ("gradio_api/run/%00", b'{"data":[1]}'), ("gradio_api/component_server", b'{"component_id":999}'),
        ("gradio_api/file=/etc/passwd", None), ("gradio_api/file=../../etc/passwd", None),
        ("gradio_api/proxy=%00", None), ("static/" + "a" * 5000, None), ("nowhere", None),
    ):  # fmt: skip
        status, said = ask(address, path, body)
        assert 400 <= status < 500, (path, said)
        assert "root:" not in said
    log = "".join(capfd.readouterr())
    assert "Traceback" not in log
    assert "POST /gradio_api/queue/join: KeyError: 99" in log


def test_in_a_browser(someone, files, monkeypatch):
    holes = []

    def watched(image, hole, *arguments, **options):
        holes.append(hole)
        return inpaint(image, hole, *arguments, **options)

    monkeypatch.setattr(page, "inpaint", watched)

    # What goes wrong is told, and the page lives on.
    someone.fill()
    assert "Choose a photograph first" in someone.message()
    someone.upload(files / "broken.png")
    assert "broken.png: cannot be read as a picture" in someone.message()
    someone.pick(0)
    someone.wait_for_photograph()
    someone.fill()
    assert "Brush over what should go first" in someone.message()

    # A stroke through the middle of the photograph.
    someone.brush([(-40, 0), (40, 0)])
    someone.fill()
    assert someone.told().startswith(f"{holes[0].sum():,} pixels")
    result, truth = someone.picture("result"), photograph()
    assert np.array_equal(result, inpaint(truth, holes[0]))
    known = np.asarray(result)[~holes[0]], np.asarray(truth)[~holes[0]]
    assert np.array_equal(*known)
    assert (np.asarray(result) != np.asarray(truth))[holes[0]].any()
    assert someone.picture("attention").size == (WIDTH, HEIGHT)
    where = np.argwhere(holes[0])
    assert np.abs(where.mean(0) - (HEIGHT / 2, WIDTH / 2)).max() < 3
    assert np.ptp(where[:, 1]) > np.ptp(where[:, 0])

    # Another photograph has none of the strokes of the one before.
    before = someone.editor()
    someone.upload(files / "grey.png")
    someone.wait_for_photograph(other_than=before)
    someone.fill()
    assert "Brush over what should go first" in someone.message()

    # A file that is no picture leaves the one before to be painted on.
    before = someone.editor()
    someone.upload(files / "broken.png")
    assert "broken.png: cannot be read as a picture" in someone.message()
    assert someone.editor() == before

    assert someone.hosts() == {"127.0.0.1"}
