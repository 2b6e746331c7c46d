"""Files and folders that appear whole or not at all, also after a kill or a power cut."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# What a killed process may leave behind begins with this.
UNFINISHED = ".contextual_attention-"


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file of which at every moment the old or the new content is there.

    Args:
        path: Replaced if it exists; a link stays one, and what it points to is replaced.
        write: Writes the content to the open file that it is given; what it raises leaves the old file alone.

    Raises:
        OSError: The file cannot be written.
    """
    target = Path(os.path.realpath(path))  # os.replace would put the file in the place of the link
    temporary = _beside(target)
    try:
        with naming(path):
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def replace_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Write the files of a folder: a new folder appears with all of them, in an old one each is replaced.

    Args:
        folder: Its parent exists. Other files that an old one holds stay.
        write: Writes files, without folders, into the empty folder that it is given.

    Raises:
        OSError: The folder cannot be written.
    """
    temporary = _beside(folder.absolute())
    try:
        with naming(folder):
            temporary.mkdir()
            write(temporary)
            if folder.is_dir():
                for file in temporary.iterdir():
                    os.replace(file, folder / file.name)
            else:
                os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # renamed, it is not there any more
    _sync_folder(folder.absolute().parent)


def clear_unfinished(folder: Path) -> None:
    """Remove what killed processes left of `replace_file`, `replace_folder` and `remove` in a folder.

    Args:
        folder: One that no other process writes to now; it need not exist.

    Raises:
        OSError: Something cannot be removed.
    """
    for left in folder.glob(f"{UNFINISHED}*"):
        _delete(left)


def remove(path: Path) -> None:
    """Remove a file or a folder, of which at every moment all or nothing is there.

    Raises:
        OSError: It is not there, or cannot be removed.
    """
    temporary = _beside(path.absolute())
    with naming(path):
        os.rename(path, temporary)
        _delete(temporary)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def check_writable(path: Path) -> None:
    """Find out before a long computation that `replace_file` would fail.

    Raises:
        OSError: There is no folder, or none that can be written to, or something at ``path`` is not a file.
            Its text does not name the path.
    """
    if not path.parent.is_dir():
        raise OSError(f"there is no folder {path.parent}")
    try:
        existing = os.stat(path).st_mode
    except FileNotFoundError:
        existing = stat.S_IFREG
    # Replacing a device or a folder by a file is never what was meant.
    if not stat.S_ISREG(existing):
        raise OSError("exists and is not a file")
    if not os.access(os.path.dirname(os.path.realpath(path)), os.W_OK):
        raise OSError("its folder cannot be written to")


def check_new_folder(path: Path) -> None:
    """Find out before a long computation that `replace_folder` would fail, or mix with what is there.

    Raises:
        OSError: Something is at ``path`` other than an empty folder, or there is no folder for it, or none
            that can be written to. Its text does not name the path.
    """
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise OSError("exists; remove it, or name another folder")
    if not path.absolute().parent.is_dir():
        raise OSError(f"there is no folder {path.parent}")
    if not os.access(path.absolute().parent, os.W_OK):
        raise OSError("its folder cannot be written to")


def check_distinct(written: Mapping[str, Path], read: Mapping[str, Path]) -> None:
    """Find out, before anything is read, that a file would be written over one that is read, or twice.

    Files are compared, not names: a link is what it points to, and on Windows letters may be large or small.

    Args:
        written: Where results go, by what the user calls them, such as ``"--output"``.
        read: What they are made from, likewise.

    Raises:
        OSError: Two of them are one file. Both are named.
    """
    taken = {_identity(path): (name, path) for name, path in read.items()}
    for name, path in written.items():
        identity = _identity(path)
        if identity in taken:
            other, there = taken[identity]
            raise OSError(f"{name} ({path}) would overwrite {other} ({there}); choose another file")
        taken[identity] = name, path


def _identity(path: Path) -> tuple[object, ...]:
    """What all names of a file have in common, also of one that is not there yet."""
    real = os.path.realpath(path)
    try:
        status = os.stat(real)
        return status.st_dev, status.st_ino
    except OSError:  # not there, or not to be looked at: its place is what it has
        folder, name = os.path.split(real)
        return (*(_identity(Path(folder)) if folder != real else ()), os.path.normcase(name))


@contextmanager
def naming(target: Path) -> Iterator[None]:
    """Errors of the disk name what was to be written: not what it is called until then, and not nothing."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not of the disk
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error


def _beside(target: Path) -> Path:
    """A name in the same folder, and so on the same disk, that nothing has yet."""
    return target.parent / f"{UNFINISHED}{secrets.token_hex(8)}"


def _sync_folder(folder: Path) -> None:
    """Make a rename last: it is an entry of the folder, not of the file."""
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
