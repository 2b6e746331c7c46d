"""The backends of a GPU against the float64 reference, over all CASES."""

import pytest
import torch
from helpers.compare import (
    FORWARD,
    assert_half_solved,
    assert_near,
    assert_offsets_reach_the_top,
    assert_saturated,
    gradients,
    half_bound,
    in_dtype,
    solve,
    solve_eagerly,
    steepness,
)
from helpers.cut_problems import (
    BY_OCTETS,
    CUT,
    LITTLE,
    MIB,
    OCTET_SHARES,
    ON_CHIP,
    SHARED,
    TIMES_THE_LEAST,
    workspace_of,
)
from problems import BY_NAME, assert_exact, on_cpu, on_gpu, relative_error
from test_backends_agree import HALF_CASES, least_workspace
from test_cuda_on_host import WIDE
from test_perturbed_products import SATURATED

from contextual_attention import backends, contextual_attention
from contextual_attention.testing import Case


@pytest.mark.parametrize("name", BY_NAME)
def test_every_case(backend, name):
    problem = on_gpu(BY_NAME[name])
    result = solve(problem, backend)
    assert_exact(problem, result)
    assert_offsets_reach_the_top(on_cpu(problem), result[1].cpu())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", HALF_CASES[::3])
def test_half_precision(backend, name, dtype):
    problem = on_gpu(BY_NAME[name], dtype)
    exact = solve(in_dtype(problem, torch.float64), "reference")
    assert_half_solved(problem, solve(problem, backend), exact, solve_eagerly(problem))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", BY_OCTETS, ids=lambda case: case.name)
def test_half_precision_without_offsets(backend, case, dtype):
    """By octets on CUDA, whole and cut; and the gradient, which is made of the row sums that they leave."""
    problem = on_gpu(case, dtype)
    exact = solve(in_dtype(problem, torch.float64), "reference")
    eager = solve_eagerly(problem)
    output = contextual_attention(**problem, backend=backend)
    assert_half_solved(problem, (output.detach(), None, gradients(problem, output)), exact, eager)
    if backend != "cuda":
        return
    whole = backends.extension.last_cuda_tiling(backward=False)
    assert whole["octets"]
    sample, problem = whole["bytes"] // whole["samples"], on_gpu(case, dtype, requires_grad=False)
    taken = []
    for share in OCTET_SHARES:
        output = contextual_attention(**problem, backend=backend, workspace=int(share * sample))
        assert_near("output", output, exact[0], *half_bound(dtype, eager[0], exact[0]))
        taken.append(backends.extension.last_cuda_tiling(backward=False))
    assert any(cut["octets"] and cut["foreground"] != whole["foreground"] for cut in taken)


@pytest.fixture
def place_gram():
    extension = backends.extension
    yield lambda name, shared: extension.place_cuda_gram(getattr(extension.GramPlace, name), shared)
    extension.place_cuda_gram(extension.GramPlace.in_memory)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", ON_CHIP, ids=lambda case: case.name)
def test_gram_matrix_on_the_chip(backend, place_gram, case, dtype):
    """By blocks of several sizes, twice the same bits; and in memory."""
    if backend != "cuda":
        pytest.skip("other backends hold none")
    problem = on_gpu(case, dtype, requires_grad=False)
    exact = solve(in_dtype(problem, torch.float64), "reference")[0]
    bound = half_bound(dtype, solve_eagerly(problem)[0], exact)
    for name, shared in (("in_memory", 0), *(("on_chip", shared) for shared in SHARED)):
        place_gram(name, shared)
        output = contextual_attention(**problem, backend=backend)
        cut = backends.extension.last_cuda_tiling(backward=False)
        assert cut["gram_on_chip"] == (name == "on_chip")
        assert_near("output", output, exact, *bound)
        again = contextual_attention(**problem, backend=backend)
        assert torch.equal(output.view(torch.int16), again.view(torch.int16))


@pytest.mark.parametrize("mib", MIB)
@pytest.mark.parametrize("case", CUT, ids=lambda case: case.name)
def test_any_workspace_gives_the_same(backend, case, mib):
    problem = on_gpu(case)
    workspace = workspace_of(mib, least_workspace(problem, backend))
    assert_exact(problem, solve(problem, backend, workspace=workspace))


@pytest.mark.parametrize("name", SATURATED)
def test_saturated_softmax(backend, name):
    """In one piece and in tiles, whose products need not round alike."""
    options = SATURATED[name]
    problem = on_gpu(Case(name, (1, 16, 40, 36), mask="holes", magnitude=1e3, options=options))
    expected = solve(in_dtype(problem, torch.float64), "reference")
    for workspace in (None, 8 * 2**20):
        # By two products of different shapes, that of C = 16 being a few roundings off.
        assert_saturated(problem, solve(problem, backend, workspace=workspace), expected, roundings=5)


@pytest.mark.parametrize("name", WIDE)
def test_columns_side_by_side(backend, name):
    problem = on_gpu(WIDE[name])
    assert_exact(problem, solve(problem, backend))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", LITTLE)
def test_forward_alone_in_little_workspace(backend, name, dtype):
    """Its tiles are smaller than the backward's, and without offsets it stores weights in another way."""
    problem = on_gpu(LITTLE[name], dtype, requires_grad=False)
    least = least_workspace(problem, backend)
    expected = contextual_attention(**in_dtype(problem, torch.float64), backend="reference")
    for times in TIMES_THE_LEAST:
        output = contextual_attention(**problem, backend=backend, workspace=times * least)
        if dtype == torch.float32:
            assert_near("output", output, expected, steepness(problem) * FORWARD)
        else:
            whole = contextual_attention(**problem, backend=backend)
            assert_near("output", output, whole, torch.finfo(dtype).eps)


@pytest.mark.parametrize("case", CUT, ids=lambda case: case.name)
def test_the_same_problem_gives_the_same_bits(backend, case):
    problem = on_gpu(case)
    first, second = solve(problem, backend), solve(problem, backend)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert all(torch.equal(first[2][each], second[2][each]) for each in first[2])


def test_deterministic_algorithms_are_no_obstacle(backend, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        problem = on_gpu(CUT[0])
        solve(problem, backend)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("case", CUT[:1], ids=lambda case: case.name)
def test_tf32_only_where_torch_allows_it(backend, case):
    problem = on_gpu(case, requires_grad=False)
    expected = solve(in_dtype(problem, torch.float64), "reference")[0]
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        loose = relative_error(solve(problem, backend)[0], expected)
    finally:
        torch.set_float32_matmul_precision(before)
    strict = relative_error(solve(problem, backend)[0], expected)
    assert strict < 2e-6
    assert loose < 2e-3


def test_memcheck(backend):
    """Small and of every kind: what a session's memcheck runs under compute-sanitizer."""
    for case in (CUT[4], BY_NAME["preset mmagic"], BY_NAME["rebuild different"], BY_NAME["value at 3x"]):
        problem = on_gpu(case)
        solve(problem, backend)
        solve(problem, backend, workspace=2**20)
    for case in (BY_OCTETS[3], BY_OCTETS[5]):
        problem = on_gpu(case, torch.bfloat16, requires_grad=False)
        contextual_attention(**problem, backend=backend)
        contextual_attention(**problem, backend=backend, workspace=3 * 2**20)
    torch.cuda.synchronize()
