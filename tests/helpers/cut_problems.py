"""Problems that the GPU backends cut into tiles or strips, and in how little workspace tests solve them.

A launch takes the host 4 us or so, and Triton's 20: what has a million of them would look like a hang on a
GPU. test_cuda_plans.py counts the launches, test_triton.py the strips.
"""

from test_cuda_on_host import FORWARD_CUT, WIDE, WRAP

from contextual_attention.options import Options
from contextual_attention.testing import Case

# Large enough for several strips and blocks of the background where the workspace is small.
CUT = [
    Case("after", (2, 16, 88, 72), mask="holes"),
    Case("after, long", (1, 8, 60, 72), mask="bands", options=Options(fuse_k=7, ksize=5)),
    Case("after, rebuild", (2, 8, 64, 72), mask="different", foreground_mask="holes"),
    Case("none", (1, 8, 88, 72), value=(3, 2), options=Options(fuse=False)),
    Case("before, stride", (1, 8, 40, 36), options=Options(rate=1, stride=2, propagation="before")),
    Case("wrap", (2, 8, 60, 48), options=Options(propagation="before", boundary="wrap", masking="multiply")),
]
MIB = [1, 2, 16]


def workspace_of(mib: int, least: int) -> int:
    """So much, or where it does not hold the problem twice the least: in that itself, which LITTLE is for,
    every pixel may be a tile of its own.
    """
    return mib * 2**20 if mib * 2**20 >= least else 2 * least


# Of half precision, which the CUDA backend solves by octets where no offsets are asked for: a background and
# cells in lines that are padded, and that lie as they must; features in rows of 16 bytes, and of fewer.
BY_OCTETS = [
    Case("after", (2, 16, 88, 72), mask="holes"),
    Case("after, in place", (1, 8, 60, 72), (64, 80), mask="bands", options=Options(masking="multiply")),
    Case("after, rebuild", (2, 3, 64, 72), mask="different", foreground_mask="holes"),
    Case("after, no multiple of 8", (1, 17, 33, 35), (31, 30), options=Options(rate=1)),
    Case("none", (1, 8, 88, 72), value=(3, 2), options=Options(fuse=False)),
    Case("none, cells in place", (1, 5, 44, 36), (40, 31), options=Options(rate=1, fuse=False)),
]
# Of what a whole sample takes: one, several at once, and tiles as small as octets allow.
OCTET_SHARES = [1.0, 0.5, 0.3]

# Whose Gram matrix stays on the chip: rows that one block's threads span and do not span, long and short
# diagonals, fewer and more channels than are multiplied or fetched at once.
_UNBOUNDED = {"propagation": "before", "normalize": "background"}
ON_CHIP = [
    Case(f"{name}, {channels}", (2, channels, *foreground), background, mask="holes", options=options)
    for name, options in {
        "after": Options(rate=1),
        "none": Options(rate=1, fuse=False),
        "before": Options(rate=1, **_UNBOUNDED),
        "wrap": Options(rate=1, boundary="wrap", **_UNBOUNDED),
    }.items()
    for channels, foreground, background in (
        (8, (3, 130), (2, 5)),
        (24, (2, 66), (3, 250)),
        (64, (40, 17), (37, 20)),
        (72, (1, 300), (2, 33)),
        (136, (33, 64), (5, 128)),
    )
]
# Of a block's shared memory: enough for one warp, for some, and for all.
SHARED = [66_000, 100_000, 227 << 10]

# So small that every pixel may be a tile of its own: in the least workspace and a few times that.
LITTLE = {name: case for name, case in FORWARD_CUT.items() if name not in WIDE} | {
    "wrap, square": Case("wrap, square", (1, 3, 7, 6), (6, 7), mask="holes", options=Options(**WRAP))
}
TIMES_THE_LEAST = [1, 2, 4]
