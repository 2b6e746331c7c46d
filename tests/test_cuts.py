"""The ways in which the CPU kernels cut a problem to stay within a workspace: each of them is right.

csrc/cpu/plan.h chooses among them by cost, so most small problems never meet most of them.
"""

import functools
import itertools

import pytest
import torch
from helpers import cpu_hooks
from helpers.compare import FORWARD, GRADIENT, assert_near, assert_solved, in_dtype, solve
from helpers.cpu_hooks import counted_work
from helpers.roads import ROUNDING

from contextual_attention.options import PRESETS, Options
from contextual_attention.problem import Problem, scoring
from contextual_attention.testing import Case, make_inputs

DIRECTIONS = ("forward", "backward")
BACKGROUND = ("whole background", "blocks")
COLUMNS = ("whole rows", "tiles across")
ROWS = ("all at once", "some at a time", "one at a time")
# Every kind of cut, as tests/native/work.h's describe() names it. Wrapped propagation runs on over the
# ends of rows: its rows stay whole.
KINDS = [
    *map(", ".join, itertools.product(DIRECTIONS, ("bounded",), BACKGROUND, COLUMNS, ROWS)),
    *map(", ".join, itertools.product(DIRECTIONS, ("wrapped",), BACKGROUND, COLUMNS[:1], ROWS)),
]

PROPAGATIONS = {
    "none": Options(rate=1, fuse=False),
    "before": Options(rate=1, propagation="before", normalize="background"),
    "after": Options(rate=1, masking="multiply"),
    "wrap": Options(rate=1, propagation="before", boundary="wrap", normalize="background"),
    "wrap, long": Options.from_preset("daa233", rate=1, fuse_k=7),
}
# Foreground, background and the value's channels: between them, they are cut in every way.
SHAPES = [
    (foreground, background, channels)
    for foreground, background in [
        ((20, 18), (20, 18)), ((1, 30), (30, 1)), ((2, 12), (60, 2)), ((5, 7), (30, 40)), ((40, 3), (40, 3)),
    ]
    for channels in (1, 64)
]  # fmt: skip


def cut(options, shape, workspace, backward):
    """How the planner cuts such a problem, in words; empty if it does not fit into the workspace."""
    foreground, background, channels = shape
    problem = Problem(1, channels, *foreground, *background, *scoring(options))
    return cpu_hooks.cut_of(problem, torch.get_num_threads(), workspace, backward)


@functools.cache
def examples(propagation, backward):
    """A shape and a workspace for every kind of cut."""
    found = {}
    for shape in SHAPES:
        workspace, kind = 256, ""
        while "all at once" not in kind or "whole background, whole rows" not in kind:
            kind = cut(PROPAGATIONS[propagation], shape, workspace, backward)
            found.setdefault(kind, (shape, workspace))
            workspace = int(1.12 * workspace)
    return found


@functools.cache
def problem_of(propagation, shape, learns):
    """A problem, and its solution by the float64 reference."""
    foreground, background, channels = shape
    case = Case(
        "cut", (1, 1, *foreground), background, (channels, 1), None, options=PROPAGATIONS[propagation]
    )
    problem = make_inputs(case, requires_grad=learns)
    return problem, solve(in_dtype(problem, torch.float64), "reference")


@pytest.mark.parametrize(
    ("propagation", "kind"),
    [
        (propagation, kind)
        for propagation, kind in itertools.product(PROPAGATIONS, KINDS)
        if ("wrapped" in kind) == propagation.startswith("wrap")
    ],
)
def test_every_kind_of_cut_gives_the_same(propagation, kind):
    backward = kind.startswith("backward")
    shape, workspace = examples(propagation, backward)[kind]
    problem, exact = problem_of(propagation, shape, backward)
    with counted_work() as work:
        found = solve(problem, "cpu", workspace=workspace)
    assert kind in work["cuts"]
    assert_solved(problem, found, exact, ROUNDING)


def test_no_other_kind_of_cut_exists():
    generator = torch.Generator().manual_seed(0)
    found = set()
    for options, backward in itertools.product(PROPAGATIONS.values(), (False, True)):
        for _ in range(100):
            h, w, hb, wb = torch.randint(1, 40, (4,), generator=generator).tolist()
            workspace = int(2 ** (8 + 14 * torch.rand((), generator=generator).item()))
            found.add(cut(options, ((h, w), (hb, wb), 9), workspace, backward))
    assert found - {""} <= set(KINDS)
    assert len(found) > 20


# Foreground and background: few scores, but more of them in a row than the default workspace holds at once.
LARGE = {"forward": ((8, 400), (128, 144)), "backward": ((8, 200), (128, 128))}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_default_workspace_cuts_large_maps_and_gives_the_same(preset, direction):
    """As a workspace does in which nothing has to be cut."""
    foreground, background = LARGE[direction]
    case = Case("large", (1, 2, *foreground), background, mask="holes", options=Options.from_preset(preset))
    problem = make_inputs(case, requires_grad=direction == "backward")
    with counted_work() as work:
        output, _, slopes = solve(problem, "cpu")
    assert any(
        kind.startswith(direction) and ("blocks" in kind or "tiles across" in kind) for kind in work["cuts"]
    )
    with counted_work() as work:
        expected, _, expected_slopes = solve(problem, "cpu", workspace=2**30)
    assert all("whole background, whole rows, all at once" in kind for kind in work["cuts"])
    # Logits of up to 300 or so, ten times those that the bounds are set for.
    assert_near("output", output, expected, 10 * FORWARD)
    for name, slope in slopes.items():
        assert_near(f"gradient of {name}", slope, expected_slopes[name], 10 * GRADIENT)
