"""How the CUDA planner cuts problems: within the workspace, cheaply, into tiles that keep a device busy.

What it takes for a device's rates is an estimate, which no test here can check; launches are counted, in the
pipeline itself, whose kernels and products do nothing meanwhile.
"""

from dataclasses import replace

import pytest
import torch
from helpers import cut_problems
from helpers.compare import gradients
from helpers.emulated import nothing_done
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from test_backends_agree import least_workspace as least_workspace_of

from contextual_attention import contextual_attention
from contextual_attention.interface import Masking, Propagation
from contextual_attention.options import PRESETS
from contextual_attention.problem import Problem, scoring
from contextual_attention.testing import make_inputs
from contextual_attention.triton import plan as triton_plan

MIB = 2**20
L2 = 50 * MIB  # of an H100
HOST_L2 = 2**16  # as csrc/cuda/executor.h has it
HOST_DEFAULT = 4 * MIB  # as csrc/cuda/executor.cpp has it
H100_MEMORY = 84_942_979_072  # as one reports it
H100_DEFAULT = 1216 * MIB
# From so many rows on, a product of 512 columns is at least 32 squares of 128 x 128: with their sums in four
# parts, work for 128 of an H100's 132 multiprocessors.
ENOUGH_ROWS = 1024


def image(preset, height, width, batch=1):
    """The problem of images of so many pixels: features of 128 channels at a quarter of that, rate 2."""
    h, w = height // 8, width // 8
    return Problem(128, 512, h, w, h, w, *scoring(PRESETS[preset]), batch)


@pytest.fixture(autouse=True, scope="module")
def gram_by_estimate(cuda_module):
    """With the choice of where the Gram matrix is: by default it is in memory."""
    cuda_module.place_cuda_gram(cuda_module.GramPlace.by_estimate)
    yield
    cuda_module.place_cuda_gram(cuda_module.GramPlace.in_memory)


@pytest.fixture(scope="module")
def find_plan(cuda_module):
    """How a problem is cut, or what the planner says of a tile."""

    def find(problem, workspace, backward, cache=L2, tile=None, octets=False):
        return cuda_module.plan(problem, workspace, cache, backward, tile, octets)

    return find


@pytest.fixture(scope="module")
def least_workspace(cuda_module):
    return cuda_module.least_cuda_workspace


@pytest.fixture
def launches(cuda_module, find_plan):
    """How many kernels and products the pipeline starts for the images of a problem."""

    def count(preset, height, width, backward, workspace, dtype=torch.float32):
        p = image(preset, height, width)
        if workspace:
            # Counted by the host's plans: they are the device's.
            cut = [find_plan(p, workspace, backward, cache) for cache in (L2, HOST_L2)]
            assert cut[0]["foreground"] == cut[1]["foreground"]
            assert cut[0]["background"] == cut[1]["background"]
        # Nothing reads or writes them: they take no memory.
        features = torch.empty(1, p.h, p.w, p.channels, dtype=dtype)
        norms = torch.empty(1, p.h, p.w)
        valid = torch.empty(1, p.h, p.w, dtype=torch.bool)
        value = torch.empty(1, p.h + 1, p.w + 1, p.value_channels, dtype=dtype)
        alpha = norms if PRESETS[preset].normalize == "both" else None
        operands = (features, features, alpha, norms, valid, None, value)
        options = scoring(PRESETS[preset])
        operators = torch.ops.contextual_attention
        cuda_module.take_launch_count()
        with nothing_done(cuda_module, converts=False):
            if backward:
                needs = 0b11011 if alpha is None else 0b11111  # every gradient
                statistics = torch.empty(1, 3, p.h, p.w)
                operators.attend_on_host_backward(*operands, *options, value, statistics, needs, workspace)
            else:
                operators.attend_on_host(*operands, *options, False, workspace)
        return cuda_module.take_launch_count()

    return count


def test_what_the_default_does_not_hold_takes_twice_the_least(launches, least_workspace, find_plan):
    """In the least itself every tile is a row by a row."""
    p = image("yu2018", 1024, 1024)
    least = least_workspace(p, True)
    assert least > HOST_DEFAULT
    started = launches("yu2018", 1024, 1024, True, 0)
    assert started == launches("yu2018", 1024, 1024, True, 2 * least)
    assert find_plan(p, 2 * least, True)["seconds"] < 0.2 * find_plan(p, least, True)["seconds"]


# A second or so on a GPU; a session gives a test 40.
MOST_OF_A_TEST = 150_000


@pytest.mark.parametrize("case", cut_problems.CUT, ids=lambda case: case.name)
def test_cut_problems_are_no_hang(cuda_on_host, case):
    """Of the tests for a GPU, forward and backward."""
    problem = make_inputs(case, requires_grad=True)
    least = least_workspace_of(problem, "cuda")
    for mib in cut_problems.MIB:
        started = launches_of(cuda_on_host, problem, cut_problems.workspace_of(mib, least))
        assert started <= MOST_OF_A_TEST


@pytest.mark.parametrize("name", cut_problems.LITTLE)
def test_little_workspaces_are_no_hang(cuda_on_host, name):
    problem = make_inputs(cut_problems.LITTLE[name])
    least = least_workspace_of(problem, "cuda")
    started = sum(launches_of(cuda_on_host, problem, times * least) for times in cut_problems.TIMES_THE_LEAST)
    assert started <= MOST_OF_A_TEST


def launches_of(module, problem, workspace):
    """Forward, and backward where the problem learns."""
    module.take_launch_count()
    with nothing_done(module):
        output = contextual_attention(**problem, backend="cuda", workspace=workspace)
        if output.requires_grad:
            gradients(problem, output)
    return module.take_launch_count()


# At most, with what an H100 takes by default, and within 256 MiB. docs/performance.md names these numbers.
LAUNCHES = [
    ("paper", (512, 680), "forward", 7, 7),
    ("paper", (1024, 1024), "forward", 13, 129),
    ("paper", (2048, 2048), "forward", 289, 1_802),
    ("paper", (4096, 4096), "forward", 7_490, 37_910),
    ("yu2018", (512, 680), "forward", 8, 8),
    ("yu2018", (1024, 1024), "forward", 33, 181),
    ("yu2018", (2048, 2048), "forward", 377, 2_437),
    ("yu2018", (4096, 4096), "forward", 6_782, 63_426),
    ("paper", (512, 680), "backward", 20, 62),
    ("paper", (1024, 1024), "backward", 104, 539),
    ("paper", (2048, 2048), "backward", 2_599, 12_540),
    ("yu2018", (512, 680), "backward", 22, 72),
    ("yu2018", (1024, 1024), "backward", 118, 1_100),
    ("yu2018", (2048, 2048), "backward", 3_014, 48_550),
]


@pytest.mark.parametrize(("preset", "size", "direction", "by_default", "within_256_mib"), LAUNCHES)
def test_launches_of_large_images(launches, preset, size, direction, by_default, within_256_mib):
    for workspace, most in ((H100_DEFAULT, by_default), (256 * MIB, within_256_mib)):
        found = launches(preset, *size, direction == "backward", workspace)
        assert found <= most, f"{found} launches in {workspace // MIB} MiB"


# A forward of bfloat16 by octets, the Gram matrix on the chip: a tile has all of the background; in 256 MiB
# those of the largest image are too small for it.
LAUNCHES_BY_OCTETS = [
    ("paper", (512, 680), 9, 9),
    ("paper", (1024, 1024), 9, 37),
    ("paper", (2048, 2048), 202, 970),
    ("paper", (4096, 4096), 2_890, None),
]


@pytest.mark.parametrize(("preset", "size", "by_default", "within_256_mib"), LAUNCHES_BY_OCTETS)
def test_launches_by_octets(cuda_module, launches, preset, size, by_default, within_256_mib):
    for workspace, most in ((H100_DEFAULT, by_default), (256 * MIB, within_256_mib)):
        found = launches(preset, *size, False, workspace, torch.bfloat16)
        cut = cuda_module.last_cuda_tiling(backward=False)
        assert cut["octets"] == (most is not None)
        assert most is None or found <= most, f"{found} launches in {workspace // MIB} MiB"


def test_plans_are_kept_by_whether_weights_are_propagated_in_pairs(find_plan):
    """Which the scale of the softmax decides: the scratch holds factors then, whatever was asked before."""
    paper = image("paper", 320, 328)
    found = {}
    for scales in ((10.0, 20.0), (20.0, 10.0)):
        # Each order by a workspace of its own, for which nothing is kept yet.
        workspace = 2**30 + int(scales[0])
        for scale in scales:
            asked = replace(paper, softmax_scale=scale)
            found[scales, scale] = find_plan(asked, workspace, False, octets=True)["bytes"]
    assert found[(10.0, 20.0), 10.0] == found[(20.0, 10.0), 10.0]
    assert found[(10.0, 20.0), 20.0] == found[(20.0, 10.0), 20.0]
    assert found[(10.0, 20.0), 10.0] > found[(10.0, 20.0), 20.0]


def test_octets_that_are_counted_in_32_bits_are_no_more(find_plan):
    """Of weights in pairs; others are addressed in 64 bits."""
    large = image("paper", 4096, 4096, batch=4)
    most = 2**32 * 16
    assert 0 < find_plan(large, 2**40, False, octets=True)["bytes"] <= most
    assert find_plan(replace(large, softmax_scale=20.0), 2**40, False, octets=True)["bytes"] > most


def test_an_h100_takes_few_launches_at_2048(launches):
    """Within 256 MiB it cannot be: 65,536 rows of scores of float32, of which 512 fit at once with what is
    made of them, are 128 tiles without any halo, of 7 launches each.
    """
    for preset in ("paper", "yu2018"):
        assert launches(preset, 2048, 2048, False, H100_DEFAULT) <= 400


@pytest.mark.parametrize(
    ("memory", "mib"),
    [(0, 256), (4 * 2**30, 256), (24 * 10**9, 320), (H100_MEMORY, 1216), (H100_MEMORY - 2**30, 1216)],
)
def test_the_default_is_a_64th_of_the_memory(cuda_module, memory, mib):
    assert cuda_module.default_cuda_workspace(memory) == mib * MIB


@given(memory=st.integers(0, 2**40))
def test_both_gpu_backends_have_the_same_default(cuda_module, memory):
    assert cuda_module.default_cuda_workspace(memory) == triton_plan.default_workspace(memory)


def test_a_batch_of_small_images_goes_at_once(find_plan):
    small = image("paper", 256, 256, batch=16)
    assert find_plan(small, 256 * MIB, backward=False)["samples"] == 16
    assert find_plan(small, 256 * MIB, backward=True)["samples"] == 8
    assert find_plan(small, H100_DEFAULT, backward=True)["samples"] == 16


@st.composite
def problems(draw, most):
    side = st.integers(1, most)
    propagation = draw(st.sampled_from(list(Propagation)))
    wraps = propagation == Propagation.BEFORE_WRAP
    return Problem(
        batch=draw(st.integers(1, 3)),
        h=draw(side),
        w=draw(side),
        hb=draw(side),
        wb=draw(side),
        channels=draw(st.sampled_from([1, 16, 128])),
        value_channels=draw(st.sampled_from([1, 64, 512])),
        softmax_scale=10.0,
        ksize=draw(st.sampled_from([1, 3, 5])),
        stride=1 if wraps else draw(st.integers(1, 2)),
        fuse_k=draw(st.sampled_from([1, 3, 5])),
        propagation=propagation.value,
        masking=Masking.EXCLUDE.value,
    )


def pieces(height, width, whole_lines):
    """The whole, strips of whole lines, and squares as far as pieces of equal size allow."""
    found = {(-(-height // n), width) for n in range(1, height + 1)}
    if not whole_lines:
        for edge in range(1, max(height, width) + 1):
            found.add(tuple(-(-side // -(-side // edge)) for side in (height, width)))
    return found


@settings(max_examples=60)
@given(
    problem=problems(most=12),
    share=st.floats(0, 1.2),
    backward=st.booleans(),
    cache=st.sampled_from([0, 10_000, 1_000_000]),
)
def test_no_cut_that_fits_is_cheaper(find_plan, least_workspace, problem, share, backward, cache):
    """Found by trying all; as cheap as the plan itself says, for these very arguments."""
    problem = replace(
        problem, channels=min(problem.channels, 4), value_channels=min(problem.value_channels, 4)
    )
    maps = (problem.h, problem.w), (problem.hb, problem.wb)
    whole = find_plan(problem, 0, backward, cache, (*maps[0], *maps[1]))
    least = least_workspace(problem, backward)
    workspace = int(least + share * (whole["bytes"] - least))
    found = find_plan(problem, workspace, backward, cache)
    assert found["samples"] >= 1
    assert 0 < found["bytes"] <= workspace
    if whole["bytes"] <= workspace:
        event("whole")
        assert found["bytes"] == found["samples"] * whole["bytes"]
        return
    event("cut")
    again = find_plan(problem, 0, backward, cache, (*found["foreground"], *found["background"]))
    assert found == again
    long = (problem.ksize, problem.fuse_k) != (3, 3)
    whole_lines = problem.propagation == Propagation.BEFORE_WRAP and (backward or long)
    for foreground in pieces(*maps[0], whole_lines):
        for background in pieces(*maps[1], whole_lines):
            other = find_plan(problem, 0, backward, cache, (*foreground, *background))
            assert other["bytes"] > workspace or other["seconds"] >= found["seconds"]


@settings(max_examples=100)
@given(problem=problems(most=300), backward=st.booleans(), power=st.floats(14, 31))
def test_plans_stay_within_the_workspace(find_plan, least_workspace, problem, backward, power):
    workspace, least = int(2**power), least_workspace(problem, backward)
    found = find_plan(problem, workspace, backward)
    assert (found["samples"] >= 1) == (workspace >= least)
    assert found["bytes"] <= workspace


def solved_by_octets(problem):
    """The same sizes, of what octets suit."""
    propagation = Propagation.AFTER_ZERO if problem.fuse_k == 3 else Propagation.NONE
    return replace(problem, ksize=3, stride=1, fuse_k=3, propagation=propagation.value)


@settings(max_examples=100)
@given(problem=problems(most=300).map(solved_by_octets), power=st.floats(14, 31))
def test_plans_by_octets_stay_within_the_workspace(find_plan, problem, power):
    """All at once, as many samples as fit, wherever one does; else tiles with all of the background."""
    workspace = int(2**power)
    found = find_plan(problem, workspace, False, octets=True)
    assert found["bytes"] <= workspace
    whole = find_plan(replace(problem, batch=1), 2**60, False, octets=True)["bytes"]
    if whole <= workspace:
        groups = -(-problem.batch // (workspace // whole))
        assert found["samples"] == -(-problem.batch // groups)
        assert found["bytes"] == found["samples"] * whole
    elif found["samples"]:
        event("cut")
        assert found["samples"] == 1
        assert found["background"] == [problem.hb, problem.wb]
    else:
        event("too little")


@settings(max_examples=60)
@given(problem=problems(most=48).map(solved_by_octets), share=st.floats(0.05, 0.99))
def test_no_cut_by_octets_is_cheaper(find_plan, problem, share):
    """Of those that fit and whose halo is no larger than the tile itself."""
    maps, background = (problem.h, problem.w), (problem.hb, problem.wb)
    workspace = int(share * find_plan(problem, 0, False, tile=(*maps, *background), octets=True)["bytes"])
    found = find_plan(problem, workspace, False, octets=True)
    # A patch, a propagation and a cell reach to either side; the cell before the tile is the neighbour's.
    halo = 5 if problem.propagation == Propagation.AFTER_ZERO.value else 3
    fitting = []
    for rows, columns in pieces(*maps, whole_lines=False):
        pixels = min(rows + halo, maps[0]) * min(columns + halo, maps[1])
        other = find_plan(problem, workspace, False, tile=(rows, columns, *background), octets=True)
        if other["samples"] and pixels <= 2 * rows * columns:
            assert other["bytes"] <= workspace
            fitting.append(other)
    event("cut" if fitting else "too little")
    if fitting:
        assert found in fitting
        assert found["seconds"] == min(each["seconds"] for each in fitting)
    else:
        assert found["samples"] == 0


@settings(max_examples=100)
@given(problem=problems(most=300), power=st.floats(26, 31))
def test_tiles_have_enough_rows(find_plan, problem, power):
    """Wherever twice as many by the whole background would fit."""
    problem = replace(problem, ksize=3, fuse_k=3, value_channels=512)
    assume(min(problem.h, problem.w) >= 46)
    roomy = find_plan(problem, 0, False, tile=(46, 46, problem.hb, problem.wb))
    assume(roomy["bytes"] <= 2**power)
    rows, columns = find_plan(problem, int(2**power), False)["foreground"]
    event("cut" if (rows, columns) != (problem.h, problem.w) else "whole")
    assert rows * columns >= ENOUGH_ROWS


@pytest.mark.parametrize("preset", ["paper", "yu2018"])
def test_tiles_of_large_images_have_enough_rows_by_default(find_plan, preset):
    for side in (1024, 2048):
        rows, columns = find_plan(image(preset, side, side), H100_DEFAULT, False)["foreground"]
        assert rows * columns >= ENOUGH_ROWS


def test_more_workspace_is_not_slower(find_plan):
    """What fits into less fits into more."""
    for preset in ("paper", "yu2018"):
        for backward in (False, True):
            large = image(preset, 2048, 2048)
            found = [find_plan(large, mib * MIB, backward)["seconds"] for mib in (256, 512, 1024, 2048)]
            assert found == sorted(found, reverse=True)
