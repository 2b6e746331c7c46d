"""The Triton backend in Triton's interpreter, on the CPU: run by test_triton.py in a process of its own.

The interpreter must be asked for before triton is imported. It takes a second and more for a problem, so
these are few and small, and each has several of the things that can go wrong.
"""

import json
from dataclasses import replace

import coverage
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_any_workspace import cases

from contextual_attention import available_backends, backends, cells, contextual_attention
from contextual_attention.options import PRESETS, Options
from contextual_attention.problem import Problem, scoring
from contextual_attention.testing import CASES, Case, make_inputs, options_of
from contextual_attention.triton import backward, launch, operator, plan, strips
from helpers import footprint
from helpers.compare import ROUNDED_OTHERWISE, assert_saturated, assert_solved, gradients, in_dtype, solve
from helpers.perturbed import ROUNDINGS, perturbed_products

WHOLE = [
    *("preset paper", "preset yu2018", "ksize 1", "fuse_k 1", "fuse False, masking multiply"),
    *("mask: different", "multiply: everything", "stride 2, propagation before", "value at 3x, rate 3"),
    *("one row against one column, wrap", "tiny maps, long wrap", "taps beyond the map", "one pixel, wrap"),
    *("one missing pixel", "other background, wrap", "huge", "huge logits, wrap", "zeros"),
]
BY_NAME = {case.name: case for case in CASES}

RATE_1 = {"rate": 1}
UNCUT = Case("uncut", (1, 3, 6, 7), (5, 8), mask="holes", foreground_mask="hole", options=Options(**RATE_1))
# One for each way of propagating, to be cut into strips: pieces of rows, of columns, of background rows.
UNNORMALISED = Options(**RATE_1, fuse=False, normalize="background")
STRIDE = Options(**RATE_1, propagation="before", stride=2)
WRAP = Options(**vars(PRESETS["yu2018"]) | RATE_1)
LONG_WRAP = Options(**vars(PRESETS["mmagic"]) | RATE_1 | {"fuse_k": 5})
MULTIPLY = Options(**RATE_1, masking="multiply", stride=2)
CUT = [
    (Case("none", (1, 3, 6, 5), value=(2, 2), options=UNNORMALISED), 6, 3, 4),
    (Case("before", (1, 3, 6, 5), mask="bands", options=STRIDE), 4, 5, 3),
    (Case("wrap", (1, 3, 8, 4), options=WRAP), 5, 2, 8),
    (Case("wrap, blocks", (1, 3, 6, 2), (7, 3), options=LONG_WRAP), 4, 2, 4),
    (replace(UNCUT, name="after"), 6, 4, 3),
    (Case("after, stride", (1, 3, 6, 5), options=MULTIPLY), 4, 5, 6),
]


@pytest.fixture
def cut(monkeypatch):
    """Sets how problems are cut: rows and columns of a tile, rows of a block of the background."""

    def set_pieces(rows, columns, block_rows):
        def plan_of(sizes, samples, workspace, backward, default):
            return plan.cut(sizes, backward, 1, rows, columns, block_rows)

        monkeypatch.setattr(operator, "make_plan", plan_of)

    return set_pieces


@pytest.fixture
def small_blocks(monkeypatch):
    """As on a GPU, a program has but a part of the rows and columns of a strip."""
    monkeypatch.setattr(launch, "BLOCK_P", 16)
    monkeypatch.setattr(launch, "BLOCK_Q", 32)
    monkeypatch.setattr(launch, "_PROGRAMS", 3)


def sizes(inputs):
    """The problem that the operator is given for the arguments of the layer."""
    options = options_of(inputs)
    value = inputs["background"] if inputs["value"] is None else inputs["value"]
    cell = options.rate * (value.shape[2] // inputs["background"].shape[2])
    maps = (-(-n // options.rate) for x in ("foreground", "background") for n in inputs[x].shape[2:])
    channels = (inputs["foreground"].shape[1], cell**2 * value.shape[1])
    return Problem(*channels, *maps, *scoring(options))


def assert_exact(inputs, result, rounding=0.0):
    assert_solved(inputs, result, solve(in_dtype(inputs, torch.float64), "reference"), rounding)


def test_the_interpreter_is_on():
    assert available_backends()["triton"] is None


@pytest.mark.parametrize("name", WHOLE)
def test_agrees_with_the_reference(name):
    case = BY_NAME[name]
    # Two samples of each are enough to see that they are kept apart.
    inputs = make_inputs(
        replace(case, foreground=(min(2, case.foreground[0]), *case.foreground[1:])), requires_grad=True
    )
    assert_exact(inputs, solve(inputs, "triton"))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("case", "rows", "columns", "block_rows"), CUT, ids=lambda x: getattr(x, "name", None)
)
def test_strips_and_blocks_agree_too(cut, case, rows, columns, block_rows):
    """Even if no product that is made anew rounds as before."""
    inputs = make_inputs(case, requires_grad=True)
    cut(rows, columns, block_rows)
    with perturbed_products() as products:
        found = solve(inputs, "triton")
    assert products.count > 0
    assert_exact(inputs, found, ROUNDED_OTHERWISE)


def _large(name, foreground, options, mask=None):
    """Logits of 1e5, whose last bit is a part of their weight."""
    return Case(name, foreground, mask=mask, magnitude=1e3, options=options)


BACKGROUND = {"normalize": "background"}
SATURATED = [
    (_large("wrap", (1, 2, 4, 3), WRAP, mask="holes"), (4, 3, 2)),
    (_large("before", (1, 2, 4, 3), replace(STRIDE, **BACKGROUND)), (4, 3, 4)),
    (_large("after", (1, 2, 4, 3), replace(MULTIPLY, **BACKGROUND)), (4, 3, 2)),
    (_large("none", (1, 2, 3, 2), replace(UNNORMALISED, masking="multiply")), (3, 2, 2)),
]


@pytest.mark.parametrize(("case", "pieces"), SATURATED, ids=lambda x: getattr(x, "name", None))
def test_saturated_softmax(cut, case, pieces):
    inputs = make_inputs(case, requires_grad=True)
    cut(*pieces)
    with perturbed_products():
        found = solve(inputs, "triton")
    assert_saturated(inputs, found, solve(in_dtype(inputs, torch.float64), "reference"), ROUNDINGS)


@settings(max_examples=8)
@given(case=cases(most=2), times=st.floats(0, 6).map(lambda power: 2**power), learns=st.booleans())
def test_any_workspace(case, times, learns):
    inputs = make_inputs(case, requires_grad=learns)
    workspace = int(
        times * max(plan.least_workspace(sizes(inputs), backward) for backward in {False, learns})
    )
    assert_exact(inputs, solve(inputs, "triton", workspace=workspace))


@pytest.mark.parametrize("preset", PRESETS)
def test_default_workspace_cuts(monkeypatch, preset):
    """Thin maps, for few pixels make many scores."""
    monkeypatch.setattr(plan, "LEAST_DEFAULT", 2**16)
    options = replace(PRESETS[preset], rate=1)
    inputs = make_inputs(Case("long", (1, 1, 1, 100), mask="holes", options=options))
    assert len(list(plan.make_plan(sizes(inputs), 1, 0, False, 2**16).strips(sizes(inputs)))) > 1
    assert_exact(inputs, solve(inputs, "triton"))


# For every branch of the planner a problem that takes it. As small as they can be: in the least workspace
# every pixel is a tile, and the interpreter takes a hundredth of a second and more for each launch.
PLANNED = [
    (Case("none", (2, 1, 2, 1), options=Options(**RATE_1, fuse=False)), False),
    (Case("before", (1, 1, 1, 1), (2, 1), options=STRIDE), True),
    (Case("wrap", (1, 1, 1, 2), options=WRAP), False),
    (Case("after", (1, 1, 1, 1), (2, 1), options=Options(**RATE_1)), True),
]


def test_each_branch_of_the_planner_is_executed(monkeypatch, tmp_path):
    """None is there that no problem takes; and whichever is taken, the answer is right."""
    counted = coverage.Coverage(data_file=None, config_file=False, branch=True, include=[plan.__file__])
    for cached in (plan.make_plan, plan.stages):
        cached.cache_clear()
    with counted.collect():
        for case, learns in PLANNED:
            inputs = make_inputs(case, requires_grad=learns)
            least = max(plan.least_workspace(sizes(inputs), backward) for backward in {False, learns})
            for workspace in (least,) if learns else (None, least):
                assert_exact(inputs, solve(inputs, "triton", workspace=workspace))
        with pytest.raises(ValueError, match="expected at least"):
            plan.make_plan(sizes(inputs), 1, 1, False, 1)
        monkeypatch.setattr(plan, "LEAST_DEFAULT", 1)
        assert_exact(inputs, solve(inputs, "triton"))
    counted.json_report(outfile=str(tmp_path / "report.json"))
    (report,) = json.loads((tmp_path / "report.json").read_text())["files"].values()
    functions = {name: found for name, found in report["functions"].items() if name}
    assert sum(found["summary"]["num_branches"] for found in functions.values()) > 30
    never = {
        name: (found["missing_lines"], found["missing_branches"])
        for name, found in functions.items()
        if found["missing_lines"] or found["missing_branches"]
    }
    assert not never


def test_a_workspace_that_is_too_small_names_the_least():
    inputs = make_inputs(Case("small", (1, 2, 4, 4)))
    least = plan.least_workspace(sizes(inputs), False)
    with pytest.raises(ValueError, match=f"workspace: expected at least {least} bytes"):
        contextual_attention(**inputs, backend="triton", workspace=least - 1)


@pytest.mark.parametrize("wanted", ["foreground", "background", "value"])
def test_one_gradient_alone_is_the_same(wanted):
    case = Case("alone", (1, 3, 4, 3), value=(2, 1), options=Options(rate=1))
    whole, alone = make_inputs(case, requires_grad=True), make_inputs(case)
    alone[wanted].requires_grad_()
    output = contextual_attention(**alone, backend="triton")
    expected = solve(whole, "triton")[2][wanted]
    assert torch.equal(gradients(alone, output)[wanted], expected)


def test_a_tie_goes_to_the_smallest_index(small_blocks):
    x = torch.ones(1, 2, 4, 9)
    _, offsets = contextual_attention(
        x, x, rate=1, ksize=1, fuse=False, backend="triton", return_offsets=True
    )
    rows, columns = torch.arange(4)[:, None], torch.arange(9)
    assert torch.equal(offsets[0, 0], -rows.expand(4, 9))
    assert torch.equal(offsets[0, 1], -columns.expand(4, 9))


def test_no_samples():
    x = torch.ones(0, 2, 4, 4, requires_grad=True)
    output = contextual_attention(x, x, backend="triton")
    output.sum().backward()
    assert output.shape == x.grad.shape == x.shape


def test_a_second_derivative_names_the_way_out():
    x = torch.randn(1, 1, 2, 2, requires_grad=True)
    output = contextual_attention(x, x, rate=1, fuse=False, backend="triton")
    (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match='backend="reference"'):
        torch.autograd.grad(slope.sum(), x)


def test_the_operator_is_registered_properly():
    from test_operators import VARIANTS, arguments_of_map

    attend = torch.ops.contextual_attention.attend_triton_map.default
    torch.library.opcheck(attend, arguments_of_map(*VARIANTS[2], return_offsets=True, keep=True, batch=1))


class Idle:
    """Kernels that do nothing: the interpreter keeps what it is given until Python looks for cycles."""

    def __getattr__(self, name):
        return self

    def __getitem__(self, grid):
        return lambda *arguments, **options: None


@pytest.mark.usefixtures("generic_maps")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("learns", [False, True])
def test_nothing_is_held_that_need_not_be(learns, dtype, cut, monkeypatch):
    """Numbers are no matter: there are neither kernels nor products, which a CPU lacks in half precision."""
    for module in ("kernels", "kernels_backward", "kernels_reductions"):
        monkeypatch.setattr(launch, module, Idle())
    for module in (strips, backward):
        monkeypatch.setattr(module, "multiply", lambda a, b, out: out.zero_())
    takes_half = replace(backends._BACKENDS["triton"], dtypes=(dtype,))
    monkeypatch.setitem(backends._BACKENDS, "triton", takes_half)
    monkeypatch.setattr(cells, "_BAND_BYTES", 2**15)
    x = torch.randn(2, 128, 48, 48).to(dtype).requires_grad_(learns)
    pieces = (6, 8, 4)
    cut(*pieces)
    sizes = Problem(128, 512, 24, 24, 24, 24, *scoring(Options()))
    found = plan.cut(sizes, learns, 1, *pieces)
    footprint.assert_nothing_more_is_held(
        x, found.scratch + footprint.strip_bytes(x, found), backend="triton"
    )
