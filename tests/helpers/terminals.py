"""A terminal for tests: what a command writes to it, and what is left on its screen."""

import os
import pty
import re
import sys
import threading
from contextlib import contextmanager

import pytest

# Of the codes that move and erase (ECMA-48), those that lines of progress use; the others are left out.
_CODE = re.compile(r"\x1b\[(?P<number>\??[\d;]*)(?P<letter>[A-Za-z])|(?P<text>[^\x1b])", re.DOTALL)


class Terminal:
    """What was written to a terminal."""

    def __init__(self):
        self.written = ""

    def screen(self):
        """The text that is left on it, a line each, without blank ones."""
        lines, row, column = [""], 0, 0
        for part in _CODE.finditer(self.written):
            if part["letter"] == "A":
                row -= int(part["number"] or 1)
            elif part["letter"] == "K":
                lines[row] = "" if part["number"] == "2" else lines[row][:column]
            elif part["text"] == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif part["text"] == "\r":
                column = 0
            elif part["text"]:
                lines[row] = lines[row].ljust(column)[:column] + part["text"] + lines[row][column + 1 :]
                column += 1
        return [line for line in lines if line.strip()]


@contextmanager
def terminal(*streams):
    """A terminal that the streams, such as ``"stderr"``, of this process go to."""
    shown = Terminal()
    outer, inner = pty.openpty()
    chunks = []

    def read():
        try:
            while chunk := os.read(outer, 2**16):
                chunks.append(chunk)
        except OSError:  # how Linux says that the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with pytest.MonkeyPatch.context() as patch, open(inner, "w") as stream:
            patch.setenv("TERM", "xterm")
            patch.setenv("COLUMNS", "100")
            for name in streams:
                patch.setattr(sys, name, stream)
            yield shown
    finally:
        reader.join(timeout=30)
        os.close(outer)
        shown.written = b"".join(chunks).decode()
