"""Which published data set a folder holds."""

from __future__ import annotations

from pathlib import Path

from .data_sets import DataSet
from .folder_sets import ImageNet, Places2, Places2Folders, Places2Small
from .list_sets import DTD, CelebA, CelebAHQ

AUTO, PLAIN = "auto", "plain"
_KINDS = {
    kind.layout: kind for kind in (Places2, Places2Small, Places2Folders, CelebA, CelebAHQ, DTD, ImageNet)
}
LAYOUTS = (AUTO, PLAIN, *_KINDS)


def recognise(folder: Path, layout: str = AUTO) -> DataSet | None:
    """The data set in a folder, by the names of what is in it; None for a plain folder of pictures.

    Args:
        folder: What the user gives; its own name does not matter.
        layout: One of ``LAYOUTS``: "auto", "plain" (no data set, whatever is there), or what to look for.

    Raises:
        ValueError: No such layout, nothing of it in the folder, or more than one data set.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout: expected one of {', '.join(LAYOUTS)}, got {layout!r}")
    if layout == PLAIN or (layout == AUTO and not folder.is_dir()):
        return None
    kinds = _KINDS.values() if layout == AUTO else [_KINDS[layout]]
    is_named = layout != AUTO
    found = [each for kind in kinds for each in kind.found(folder, is_named)] if folder.is_dir() else []
    if len(found) > 1:
        listing = "; ".join(f"{each.layout} ({', '.join(each.folders())})" for each in found)
        raise ValueError(
            f"data: {folder} holds more than one data set: {listing}; expected one of these layouts by name, "
            f"or the folder of its pictures and the layout, or the layout {PLAIN}, which takes every picture"
        )
    if is_named and not found:
        raise ValueError(f"data: nothing of the layout {layout} in {folder}")
    return found[0] if found else None
