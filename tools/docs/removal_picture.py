"""Remove the rocket from a photograph of scikit-image: before, mask and after side by side.

    python tools/docs/removal_picture.py -o docs/images/removal.jpg

With --keep DIR the photograph and the mask are left there for the command inpaint; without -o that is all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

from contextual_attention.models import inpaint
from contextual_attention.models.data.bundled import bundled_photographs

PHOTO = bundled_photographs()["rocket"]
# Around the rocket, some pixels beyond its edges.
OUTLINE = [(318, 118), (330, 118), (338, 140), (344, 412), (304, 412), (306, 140)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave photo.png and mask.png there")
    given = parser.parse_args()
    if given.output is None and given.keep is None:
        parser.error("nothing to do: give -o, --keep or both")
    with Image.open(PHOTO) as file:
        photo = file.convert("RGB")
    mask = Image.new("L", photo.size)
    ImageDraw.Draw(mask).polygon(OUTLINE, fill=255)
    if given.keep is not None:
        photo.save(given.keep / "photo.png")
        mask.save(given.keep / "mask.png")
    if given.output is None:
        return
    row = Image.new("RGB", (3 * photo.width, photo.height))
    for place, picture in enumerate((photo, mask, inpaint(photo, mask))):
        row.paste(picture, (place * photo.width, 0))
    row.save(given.output, quality=85)


if __name__ == "__main__":
    main()
