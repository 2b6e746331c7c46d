"""kernels.cu's own launches, thread by thread on the host: grids, blocks, strips, and the exchanges of warps.

The sources are compiled against a stand-in for CUDA's header (tests/native), under which the lanes of
a warp meet at every shuffle and an exchange that a lane misses is an error. What this cannot see: what nvcc
makes of the sources, memory that a lane reads before another one's write has reached it, and how fast it is.
"""

import ctypes
from dataclasses import replace
from math import prod
from shutil import which

import numpy as np
import pytest
import torch
from helpers.compare import FORWARD, assert_near, assert_offsets_reach_the_top, assert_solved, solve
from helpers.emulated import branches_of_planner, build_probes, start_counting_branches
from test_backends_agree import assert_exact, exact, least_workspace, poisoned  # noqa: F401  (a fixture)
from test_cuda_on_host import BY_NAME, CUT, EACH_CUT, WRAP, workspaces

from contextual_attention import contextual_attention, fused
from contextual_attention.options import Options
from contextual_attention.problem import Problem, scoring
from contextual_attention.testing import Case, make_inputs

THREADS, WARP, OCTET = 256, 32, 8
MOST_SAMPLES = 65535


@pytest.fixture(scope="module")
def probes(emulator):
    return build_probes(emulator)


ALL_BLOCKS = (0, 2**62)


@pytest.fixture
def launched(probes):
    """Runs a probe and gives what it visited, in order: an array of one row per visit."""

    def run(name, *sizes, blocks=ALL_BLOCKS, backwards=False):
        probes.set_blocks(*map(ctypes.c_int64, blocks), backwards)
        error = getattr(probes, f"probe_{name}")(*sizes)
        assert error is None, error
        count = ctypes.c_int64()
        found = probes.take_visits(ctypes.byref(count))
        width = {"paths": 5, "octets": 5, "octets_of_four": 5, "points": 3, "rows": 3, "items": 2}[name]
        return np.array(found[: count.value], dtype=np.int64).reshape(-1, width)

    return run


def assert_each_once(visits, *sizes):
    assert len(visits) == prod(sizes)
    assert (np.bincount(np.ravel_multi_index(visits.T, sizes)) == 1).all()


# Widths of one to four columns a lane and of several strips, which one, two or no lane are left over from;
# and heights about a block's.
@pytest.mark.parametrize("u", [1, 2, 31, 32, 33, 63, 64, 65, 70, 96, 97, 128, 129, 130, 257])
@pytest.mark.parametrize("x", [1, 3, 4, 7, 8, 9, 33])
def test_paths_lead_to_every_score_once(launched, x, u):
    assert_each_once(launched("paths", 2, 3, x, 2, u), 2, 3, x, 2, u)


@pytest.mark.parametrize("x", [255, 256, 257, 600])
def test_paths_of_narrow_and_high_maps(launched, x):
    for u in (1, 2, 3):
        assert_each_once(launched("paths", 1, 1, x, 1, u), 1, 1, x, 1, u)


@pytest.mark.parametrize(("y", "v"), [(1, 1), (1, 5), (5, 1), (4, 4), (3, 7)])
def test_paths_of_every_length(launched, y, v):
    assert_each_once(launched("paths", 3, y, 5, v, 6), 3, y, 5, v, 6)


def assert_each_octet_once(visits, *sizes):
    *others, u = sizes
    assert (visits[:, 4] % OCTET == 0).all()
    assert_each_once(visits // (1, 1, 1, 1, OCTET), *others, -(-u // OCTET))


# As many octets and paths as a warp has lanes, one more and less; and columns x about a block's four warps,
# of one pixel or of four.
@pytest.mark.parametrize("u", [1, 7, 8, 9, 64, 248, 255, 256, 257, 264])
@pytest.mark.parametrize("x", [1, 3, 4, 5, 9, 15, 16, 17])
@pytest.mark.parametrize("name", ["octets", "octets_of_four"])
def test_octets_are_visited_once(launched, name, x, u):
    assert_each_octet_once(launched(name, 2, 3, x, 2, u), 2, 3, x, 2, u)


@pytest.mark.parametrize(
    ("y", "v", "u"), [(1, 1, 9), (1, 40, 8), (40, 1, 8), (16, 16, 8), (16, 17, 8), (17, 17, 8), (3, 7, 130)]
)
def test_octets_of_paths_of_every_length(launched, y, v, u):
    assert_each_octet_once(launched("octets", 3, y, 5, v, u), 3, y, 5, v, u)


@pytest.mark.parametrize("samples", [1, 2, 5])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 256), (256, 1), (17, 15), (3, 257), (40, 64)])
def test_points_are_visited_once(launched, samples, rows, columns):
    assert_each_once(launched("points", samples, rows, columns), samples, rows, columns)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 33])
def test_a_row_has_a_warp(launched, samples, rows):
    assert_each_once(launched("rows", samples, rows), samples, rows, WARP)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("items", [1, 255, 256, 257, 1000])
def test_items_are_visited_once(launched, samples, items):
    assert_each_once(launched("items", samples, ctypes.c_int64(items)), samples, items)


@pytest.mark.parametrize("first", [0, 2**31 - 2 * THREADS, 2**32 - THREADS, 70_001 * 69_999 - 500])
def test_points_beyond_32_bits(launched, first):
    """A score map of 70,001 x 69,999, as a large workspace allows; the last block is not full."""
    rows, columns = 70_001, 69_999
    block = first // THREADS
    visits = launched("points", 1, rows, columns, blocks=(block, block + 4))
    expected = np.arange(block * THREADS, min((block + 4) * THREADS, rows * columns))
    assert np.array_equal(visits[:, 1] * columns + visits[:, 2], expected)
    assert (visits[:, 2] < columns).all()


def test_items_beyond_32_bits(launched):
    items = 2**32 + 100
    visits = launched("items", 1, ctypes.c_int64(items), blocks=(2**24 - 1, 2**24 + 1))
    assert np.array_equal(visits[:, 1], np.arange(2**32 - THREADS, items))


def test_a_grid_takes_this_many_samples(launched, cuda_module):
    """What the planner keeps to, and no more."""
    problem = Problem(1, 1, 1, 1, 1, 1, *scoring(Options(fuse=False)), 3 * MOST_SAMPLES)
    found = cuda_module.plan(problem, workspace=2**40, cache=0, backward=False)
    assert found["samples"] == MOST_SAMPLES
    assert_each_once(launched("items", MOST_SAMPLES, ctypes.c_int64(1)), MOST_SAMPLES, 1)
    with pytest.raises(AssertionError, match="invalid configuration"):
        launched("items", MOST_SAMPLES + 1, ctypes.c_int64(1))


def test_the_order_of_threads_can_be_turned_round(launched):
    """Or a race would not show: what comes first is last."""
    forwards = launched("items", 2, ctypes.c_int64(1000))
    assert (np.diff(forwards[:1000, 1]) == 1).all()
    assert np.array_equal(launched("items", 2, ctypes.c_int64(1000), backwards=True), forwards[::-1])


def test_lanes_of_a_warp_agree(probes):
    """The sum, the largest and the best with the smallest index, in every lane, ties and -inf among them."""
    rng = np.random.default_rng(0)
    values = rng.integers(-4, 5, (37, WARP)).astype(np.float32)
    values[1], values[2, ::3] = -np.inf, -np.inf
    indices = np.stack([rng.permutation(1000)[:WARP] for _ in values]).astype(np.int32)
    sums, largest, best = np.zeros(values.shape), np.zeros_like(values), np.zeros_like(values)
    best_indices = np.zeros_like(indices)
    given = (values, indices, sums, largest, best, best_indices)
    probes.set_blocks(*map(ctypes.c_int64, ALL_BLOCKS), False)
    assert probes.probe_lanes(len(values), *(x.ctypes.data_as(ctypes.c_void_p) for x in given)) is None

    def in_each_lane(row):
        return np.broadcast_to(row[:, None], values.shape)

    top = values.max(1)
    first = np.where(values == top[:, None], indices, 2**31 - 1).min(1)
    assert np.array_equal(sums, in_each_lane(values.sum(1, dtype=np.float64)))
    assert np.array_equal(largest, in_each_lane(top))
    assert np.array_equal(best, in_each_lane(top))
    assert np.array_equal(best_indices, in_each_lane(first))


@pytest.mark.parametrize(
    ("way", "said"),
    {
        "leaves": "lane 5 has left the kernel",
        "sums once more": "lane 5 at another __shfl_xor_sync",
        "sums elsewhere": "lane 5 at another __shfl_xor_sync",
        "syncs instead": "lane 5 at another __syncwarp",
    }.items(),
)
def test_a_lane_that_misses_an_exchange_is_found(probes, way, said):
    message = probes.probe_missing_lane(way.encode()).decode()
    assert message.startswith("reduce_rows, block (0, 0), warp 1: lane 0 waits at __shfl_xor_sync")
    assert said in message


# Lines longer than a strip and rows longer than a warp, none a multiple of either; a single column.
RATE_1 = Options(rate=1)
UNBOUNDED = Options(rate=1, normalize="background")  # whose logits need an offset, the largest of a row
WIDE = {
    "three columns": Case("three columns", (2, 2, 3, 9), (4, 65), options=RATE_1),
    "two strips": Case("two strips", (1, 2, 2, 5), (3, 131), options=RATE_1),
    "two warps and a lane": Case("two warps and a lane", (1, 2, 65, 2), (2, 65), options=RATE_1),
    "one column": Case("one column", (3, 2, 33, 1), (35, 1), options=RATE_1),
    "one row": Case("one row", (1, 2, 1, 70), (1, 257), options=RATE_1),
    "offsets": Case("offsets", (2, 2, 3, 9), (4, 65), options=UNBOUNDED),
    "offsets, before": Case(
        "offsets, before", (2, 2, 3, 9), (3, 40), options=replace(UNBOUNDED, propagation="before")
    ),
    "offsets, wrap": Case("offsets, wrap", (1, 2, 3, 9), (2, 70), options=replace(UNBOUNDED, **WRAP)),
}


@pytest.fixture
def orders(cuda_on_host):
    """Solves a problem by plain loops, but for the warps, whose sums have an order; then twice by launches.

    These run their threads in opposite orders: what one reads and another one writes would differ.
    """
    way = cuda_on_host.Way

    def solutions(problem, by=solve, **keywords):
        found = []
        for runs in ((way.loops_but_for_warps,), (way.launches,), (way.launches, True)):
            cuda_on_host.run_by(*runs)
            found.append(by(problem, "cuda", **keywords))
        return found

    return solutions


def assert_same_bits(solutions):
    """NaN included, which half precision overflows to."""
    first, *others = [(output, offsets, *slopes.values()) for output, offsets, slopes in solutions]
    for other in others:
        for x, y in zip(first, other, strict=True):
            assert torch.equal(x.view(torch.uint8), y.view(torch.uint8))


def _launched_alike(case):
    """What the launches depend on: not the numbers, and of the masks only whether there is one."""
    return case.foreground, case.background, case.value, case.foreground_mask is None, case.options


def _is_quick(case):
    """Few scores: for each a dozen threads run in each order, and as many lanes that wait for each other."""
    batch, _, height, width = case.foreground
    background = prod(case.background or (height, width))
    return batch * height * width * background / case.options.rate**4 <= 20_000


# The first of those that are alike: "zeros" and its kind come last.
LAUNCHED = {_launched_alike(case): case.name for case in filter(_is_quick, reversed(BY_NAME.values()))}


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", LAUNCHED.values())
def test_float32(orders, name):
    problem = make_inputs(BY_NAME[name], requires_grad=True)
    solutions = orders(problem)
    assert_same_bits(solutions)
    assert_exact(BY_NAME[name], problem, solutions[-1])


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", WIDE)
def test_wide(orders, name):
    problem = make_inputs(WIDE[name], requires_grad=True)
    solutions = orders(problem)
    assert_same_bits(solutions)
    assert_exact(WIDE[name], problem, solutions[-1])


# Tiles are of one sample at a time.
TILED = {name: replace(case, foreground=(1, *case.foreground[1:])) for name, case in CUT.items()}


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", TILED)
@pytest.mark.parametrize("times", [1.25, 5])
def test_tiles(orders, name, times):
    """With the less, most cut both maps: sums and gradients go on from tile to tile."""
    problem = make_inputs(TILED[name], requires_grad=True)
    solutions = orders(problem, workspace=int(times * least_workspace(problem, "cuda")))
    assert_same_bits(solutions)
    assert_exact(TILED[name], problem, solutions[-1])


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", TILED)
@pytest.mark.parametrize("times", [1.5, 3])
def test_tiles_forward(orders, name, times):
    """Without gradients even less is enough."""
    problem = make_inputs(TILED[name])
    solutions = orders(problem, workspace=int(times * least_workspace(problem, "cuda")))
    assert_same_bits(solutions)
    output, offsets, _ = solutions[-1]
    assert_near("output", output, exact(TILED[name])[0], FORWARD)
    assert_offsets_reach_the_top(problem, offsets)


@EACH_CUT
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(orders, name, dtype):
    """How near the loops come is test_cuda_on_host.py's to check."""
    problem = make_inputs(CUT[name], dtype, requires_grad=True)
    assert_same_bits(orders(problem, workspace=workspaces(problem)[2]))


# Backgrounds of octets that are full, of one column more or less, and of more than a warp has lanes.
BY_OCTETS = {
    f"{name}, {height} x {width}": Case(
        name, (2, 3, 9, 5), (height, width), mask="holes", foreground_mask=rebuilt, options=options
    )
    for name, rebuilt, options in (
        ("after", None, RATE_1),
        ("after, multiply", "holes", replace(RATE_1, masking="multiply")),
        ("none", "holes", replace(RATE_1, fuse=False)),
        ("before", None, replace(UNBOUNDED, propagation="before")),
        ("wrap", None, Options(**WRAP)),
    )
    for height, width in ((5, 7), (7, 8), (4, 17), (2, 250))
}


@pytest.fixture
def output_by_octets(cuda_on_host):
    """In the form of `solve`, which asks for offsets: those another way finds."""

    def run(problem, backend, **keywords):
        output = contextual_attention(**problem, backend=backend, **keywords)
        assert cuda_on_host.last_cuda_tiling(backward=False)["octets"]
        return output, output.new_empty(0), {}

    return run


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", BY_OCTETS)
def test_octets(orders, output_by_octets, name, dtype):
    """How near the loops come is test_octets.py's to check."""
    assert_same_bits(orders(make_inputs(BY_OCTETS[name], dtype), by=output_by_octets))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("fuse", "kib", "squares"), [(True, 60, True), (True, 112, False), (False, 32, True), (False, 96, False)]
)
def test_tiles_by_octets(orders, output_by_octets, cuda_on_host, fuse, kib, squares, dtype):
    """Squares of a map, with halos on every side, and strips of it."""
    case = Case("tiles", (1, 3, 64, 64), (2, 7), mask="hole", options=replace(RATE_1, fuse=fuse))
    assert_same_bits(orders(make_inputs(case, dtype), by=output_by_octets, workspace=kib * 1024))
    rows, columns = cuda_on_host.last_cuda_tiling(backward=False)["foreground"]
    assert 3 * rows <= 64
    assert 3 * columns <= 64 if squares else columns == 64


# For every branch of the planner a problem that takes it: maps wider than high, and smaller than what a
# propagation reaches of them; tiles of all of a map, of one pixel, and between.
PLANNED = [
    Case("none", (1, 2, 4, 5), (3, 4), options=Options(rate=1, fuse=False)),
    Case("after, wide", (2, 2, 2, 14), (2, 15), options=RATE_1),
    Case("none, small foreground", (1, 2, 2, 2), (12, 4), options=Options(rate=1, fuse=False)),
    Case("before", (1, 2, 5, 4), (4, 5), options=Options(rate=1, propagation="before")),
    Case("wrap", (1, 2, 9, 8), (10, 9), options=Options(**WRAP)),
    Case("wrap, wide", (1, 2, 3, 24), (3, 25), options=Options(**WRAP)),
    Case("wrap, small foreground", (1, 2, 2, 2), (8, 9), options=Options(**WRAP)),
    Case("wrap, small background", (1, 2, 8, 9), (2, 2), options=Options(**WRAP)),
    Case("wrap, long", (1, 2, 6, 2), (5, 3), options=Options(**WRAP, fuse_k=5)),
    Case("wrap, ksize 1", (1, 2, 6, 2), (5, 3), options=Options(**WRAP, ksize=1)),
]


# By octets: with lines of background and of cells that lie as they must, and that do not.
PLANNED_BY_OCTETS = [
    Case("columns in place", (1, 2, 18, 16), (4, 8), options=RATE_1),
    Case("cells in place", (2, 2, 18, 16), (4, 7), options=replace(RATE_1, fuse=False)),
    Case("wrap", (1, 2, 24, 22), (4, 7), options=Options(**WRAP)),
    Case("before", (1, 2, 24, 22), (4, 7), options=replace(UNBOUNDED, propagation="before")),
]


@pytest.mark.skipif(which("gcov") is None, reason="gcov, which counts branches, is not installed")
def test_each_branch_of_the_planner_is_executed(cuda_on_host, monkeypatch):
    """None is there that no problem takes; and whichever is taken, the answer is right."""
    start_counting_branches(cuda_on_host)
    for case in PLANNED:
        for learns in (True, False):
            problem = make_inputs(case, requires_grad=learns)
            least = least_workspace(problem, "cuda")
            for workspace in (None, least, 2 * least, 4 * least):
                assert_solved(problem, solve(problem, "cuda", workspace=workspace), expected(case, learns))
            with monkeypatch.context() as patch:
                patch.setattr(fused, "_check_workspace", lambda *_: None)  # the kernels' own check speaks
                with pytest.raises(RuntimeError, match="expected at least"):
                    solve(problem, "cuda", workspace=1)
    for case in PLANNED_BY_OCTETS:
        assert_planned_by_octets(cuda_on_host, case)
    plan_grams(cuda_on_host)
    branches = branches_of_planner(cuda_on_host)
    assert sum(map(len, branches.values())) > 200
    never = {line: counts for line, counts in branches.items() if 0 in counts}
    assert not never


def assert_planned_by_octets(module, case):
    """Octets or not, in less and less workspace."""
    problem = make_inputs(case, torch.bfloat16)
    whole = contextual_attention(**problem, backend="cuda")
    most = module.last_cuda_tiling(backward=False)
    assert most["octets"]
    taken = set()
    least = least_workspace(problem, "cuda")
    for share in (1, 0.8, 0.6, 0.35, 0.2, 0):
        workspace = max(least, int(share * most["bytes"]))
        output = contextual_attention(**problem, backend="cuda", workspace=workspace)
        assert_near("output", output, whole, torch.finfo(torch.bfloat16).eps)
        taken.add(module.last_cuda_tiling(backward=False)["octets"])
    assert taken == {True, False}


def plan_grams(module):
    """On the chip and in memory, where both fit and where one does; test_gram_on_chip.py has the answers."""
    places = module.GramPlace
    for propagation in ("after", "before", "wrap"):
        options = {
            "after": RATE_1,
            "before": replace(UNBOUNDED, propagation="before"),
            "wrap": Options(**WRAP),
        }
        for channels in (12, 128, 1024):
            scores = scoring(options[propagation])
            problem = Problem(channels, 64, 64, 64, 64, 64, *scores, 1)
            for place, shared in ((places.by_estimate, 0), (places.on_chip, 0), (places.on_chip, 48 << 10),
                                  (places.in_memory, 0)):  # fmt: skip
                module.place_cuda_gram(place, shared)
                for mib in (4, 16, 40, 80, 200):
                    module.plan(problem, mib << 20, cache=0, backward=False, octets=True)
    module.place_cuda_gram(places.in_memory)


def expected(case, learns):
    """The reference's solution; without gradients where none are asked for."""
    output, offsets, slopes = exact(case)
    return output, offsets, slopes if learns else {}
