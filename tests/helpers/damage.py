"""Files damaged at random: by accidents, which hit bytes, and by someone who knows their format."""

import io
import json
import struct
import zipfile
import zlib

import numpy as np

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1)
_LENGTH = 8  # of the header of a .safetensors, little-endian


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with one thing wrong, of a kind drawn at random."""
    inside = [each for each in (_in_archive, _in_safetensors, _in_png) if each.fits(content)]
    if inside and rng.random() < 0.5:
        return inside[0](content, rng)
    return _hit(content, rng)


def _hit(content: bytes, rng: np.random.Generator) -> bytes:
    return _HITS[rng.integers(len(_HITS))](content, rng)


def _cut(content, rng):
    return content[: rng.integers(len(content) + 1)]


def _emptied(content, rng):
    return b""


def _flipped(content, rng):
    changed = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        if changed:
            changed[_place(changed, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwritten(content, rng):
    at = _place(content, rng)
    count = int(rng.integers(1, 17))
    patterns = (bytes(count), b"\xff" * count, rng.bytes(count))
    return content[:at] + patterns[rng.integers(3)] + content[at + count :]


def _with_a_number(content, rng):
    """A length, a size or an offset that is extreme, in either order of bytes."""
    at = _place(content, rng)
    width = int(rng.choice([1, 2, 4, 8]))
    number = _EXTREMES[rng.integers(len(_EXTREMES))] % 256**width
    order = "little" if rng.random() < 0.5 else "big"
    return content[:at] + number.to_bytes(width, order) + content[at + width :]


def _with_a_digit(content, rng):
    """A number that is text, as in headers of .npy, .safetensors, .ppm and .json, longer by some digits."""
    digits = [at for at, byte in enumerate(content[:4096]) if chr(byte).isdigit()]
    if not digits:
        return _flipped(content, rng)
    at = int(rng.choice(digits))
    return content[:at] + b"9" * int(rng.integers(1, 12)) + content[at:]


def _inserted(content, rng):
    at = _place(content, rng)
    return content[:at] + rng.bytes(int(rng.integers(1, 40))) + content[at:]


def _shortened(content, rng):
    at = _place(content, rng)
    return content[:at] + content[at + int(rng.integers(1, 200)) :]


def _repeated(content, rng):
    start, end = sorted(int(rng.integers(len(content) + 1)) for _ in range(2))
    return content[:end] + content[start:end] + content[end:]


_HITS = (
    _cut, _emptied, _flipped, _flipped, _overwritten, _with_a_number, _with_a_number, _with_a_digit,
    _inserted, _shortened, _repeated,
)  # fmt: skip


def _place(content, rng):
    """Mostly in the head or the tail, where formats say what they hold."""
    length = max(len(content), 1)
    near = int(rng.integers(min(length, 200)))
    return (near, length - 1 - near, int(rng.integers(length)))[rng.integers(3)]


# ------------------------------------------------------------------------------------------------------------
# With lengths and sums that are right


def _in_archive(content, rng):
    """One entry of a zip archive is hit, and may be compressed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    # Of many entries of numbers, as often as all the others.
    texts = [i for i, (name, _) in enumerate(entries) if name.endswith((".pkl", "byteorder", "version"))]
    chosen = int(rng.choice(texts)) if texts and rng.random() < 0.7 else int(rng.integers(len(entries)))
    written = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if rng.random() < 0.2 else zipfile.ZIP_STORED
    with zipfile.ZipFile(written, "w", method) as archive:
        for i, (name, data) in enumerate(entries):
            archive.writestr(name, _hit(data, rng) if i == chosen else data)
    return written.getvalue()


def _in_safetensors(content, rng):
    end = _LENGTH + struct.unpack_from("<Q", content)[0]
    header = _hit(content[_LENGTH:end], rng)
    return struct.pack("<Q", len(header)) + header + content[end:]


def _in_png(content, rng):
    """The chunk of its size and kind."""
    chunk = b"IHDR" + _hit(content[16:29], rng)[:13].ljust(13, b"\0")
    return content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]


def _is_safetensors(content):
    if len(content) < 2 * _LENGTH:
        return False
    end = _LENGTH + struct.unpack_from("<Q", content)[0]
    try:
        json.loads(content[_LENGTH:end])
    except ValueError:
        return False
    return end > _LENGTH


_in_archive.fits = lambda content: zipfile.is_zipfile(io.BytesIO(content))
_in_safetensors.fits = _is_safetensors
_in_png.fits = lambda content: content.startswith(b"\x89PNG")
