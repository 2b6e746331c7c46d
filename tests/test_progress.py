"""Progress of every command that takes long: on a terminal a line that comes and goes, in a pipe nothing."""

import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.striped import MISSING, write_photo_and_mask
from helpers.terminals import terminal
from PIL import Image
from test_convert import write

from contextual_attention.cli import main
from contextual_attention.commands import transfer
from contextual_attention.commands.progress import progress
from contextual_attention.models.data.dead_leaves import dead_leaves
from contextual_attention.photos import to_uint8, write_photos


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with photo.png, mask.png, a folder in/ of three photographs, and an empty out/."""
    monkeypatch.chdir(tmp_path)
    write_photo_and_mask()
    Path("in").mkdir()
    Path("out").mkdir()
    for k, name in enumerate(("a", "b[bold]", "c")):
        picture = to_uint8(dead_leaves((104, 112), torch.Generator().manual_seed(k)))
        write_photos({Path("in", f"{name}.png"): picture})
    Image.fromarray(np.pad(MISSING, ((0, 64), (0, 64)))).save("hole.png")
    write("yu2018", Path("published.npz"))
    return tmp_path


TINY_TRAINING = (
    "data.size=24 data.workers=0 data.pictures=4 masks.box=12 generator.cnum=2 critics.local=4,4,4,4 "
    "critics.whole=4,4,4,4 optimiser.batch=2"
).replace(" ", " --set ")
COMMANDS = {
    "transfer --foreground photo.png --background in/a.png --output out.png": "attending, about ",
    "inpaint photo.png mask.png -o out.png": "filling photo.png",
    "inpaint photo.png mask.png -o out.png --method patchmatch": "filling photo.png",
    "inpaint in hole.png -o out": "filling b[bold].png",
    "experiment replication --image in/a.png -o out --resize 104x112": "filling 2 holes",
    "evaluate --data in --method mean --size 64 --batch 1": "measuring",
    "check-data in": "reading",
    "convert published.npz converted": "converting",
    f"train --out run --accelerator cpu --steps 2 --set {TINY_TRAINING}": "step 2 of 2",
}


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_show_it_and_leave_the_terminal_clean(folder, line):
    with terminal("stderr") as shown:
        assert main(line.split()) == 0
    assert COMMANDS[line] in shown.written
    assert re.search(r"\d:\d\d:\d\d", shown.written)  # the time that has gone
    assert shown.screen() == []
    assert shown.written.rstrip().endswith("\x1b[2K")
    assert shown.written.count("\x1b[?25l") == shown.written.count("\x1b[?25h")  # the cursor is there again


@pytest.mark.parametrize("line", COMMANDS)
def test_nothing_goes_into_a_pipe(folder, monkeypatch, capsys, line):
    """Not even where the environment asks rich to take every file for a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert main(line.split()) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "\x1b" not in captured.out
    assert "\r" not in captured.out


def test_what_is_printed_meanwhile_stays_above_the_line():
    with terminal("stderr", "stdout") as shown, progress("counting") as advance:
        for number in range(1, 4):
            advance(number / 3, f"counting to {number}")
            print(f"{number} done")
    assert shown.screen() == ["1 done", "2 done", "3 done"]
    assert "counting to 3" in shown.written


def test_what_is_printed_into_a_pipe_goes_there(capsys):
    with terminal("stderr") as shown, progress("counting") as advance:
        advance(0.5)
        print("done")
    assert capsys.readouterr().out == "done\n"
    assert "done" not in shown.written


def test_an_error_leaves_the_terminal_clean(folder):
    """The line is gone, and the reason stands alone."""
    with terminal("stderr") as shown:
        assert main(["inpaint", "photo.png", "mask.png", "-o", "out.png", "--workspace", "1"]) == 2
    (line,) = shown.screen()
    assert "error: photo.png: workspace" in line


def test_without_rich_a_terminal_names_the_extra(folder, monkeypatch):
    monkeypatch.delitem(sys.modules, "contextual_attention.commands.bar", raising=False)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with terminal("stderr") as shown:
        assert main(["inpaint", "photo.png", "mask.png", "-o", "out.png"]) == 2
    assert 'needs the package rich: pip install "contextual_attention[demo]"' in " ".join(shown.screen())


def test_the_time_that_a_transfer_will_take(folder, monkeypatch):
    """By its first rows, a 32nd of them at least, and whole steps of the rate."""
    rows = []

    def layer(foreground, background, **options):
        rows.append(foreground.shape[2])
        time.sleep(0.02 * foreground.shape[2] / 8)
        return foreground, torch.zeros(1, 2, 1, 1, dtype=torch.int64)

    line = "transfer --foreground in/a.png --background in/a.png --output out.png --rate 4"
    with terminal("stderr") as shown:
        monkeypatch.setattr(transfer, "contextual_attention", layer)
        assert main(line.split()) == 0
    assert rows == [4, 104]
    assert "attending, about 0 s" in shown.written


def test_an_interruption_leaves_no_trace(folder, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "contextual_attention", interrupted)
    with terminal("stderr") as shown:
        assert (
            main(["transfer", "--foreground", "in/a.png", "--background", "in/a.png", "--output", "out.png"])
            == 130
        )
    assert shown.screen() == []
    assert not Path("out.png").exists()
