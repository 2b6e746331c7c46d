"""No result hinges on two products that round alike, in the CUDA pipeline on the host.

Every matrix product, forward and backward, is perturbed at random in its last bits: a score that the backward
or a second pass makes anew is another one. Triton's part is in triton_interpreted.py.
"""

from dataclasses import replace

import pytest
from helpers.compare import ROUNDED_OTHERWISE, assert_saturated, assert_solved, solve
from helpers.perturbed import ROUNDINGS, perturbed_products
from test_backends_agree import exact
from test_cuda_on_host import BY_NAME, CUT, WIDE, workspaces

from contextual_attention.options import PRESETS, Options
from contextual_attention.testing import Case, make_inputs

pytestmark = pytest.mark.usefixtures("cuda_on_host")


@pytest.fixture
def perturbed():
    with perturbed_products() as products:
        yield products


def assert_exact(case, products, workspace=None):
    problem = make_inputs(case, requires_grad=True)
    found = solve(problem, "cuda", workspace=workspace)
    assert products.count > 0
    assert_solved(problem, found, exact(case), ROUNDED_OTHERWISE)


@pytest.mark.parametrize("name", BY_NAME)
def test_float32(perturbed, name):
    assert_exact(BY_NAME[name], perturbed)


@pytest.mark.parametrize("name", WIDE)
def test_columns_side_by_side(perturbed, name):
    assert_exact(WIDE[name], perturbed)


@pytest.mark.parametrize("size", range(4))
@pytest.mark.parametrize("name", CUT)
def test_any_workspace(perturbed, name, size):
    workspace = workspaces(make_inputs(CUT[name], requires_grad=True))[size]
    assert_exact(CUT[name], perturbed, workspace)


# Features as a network without normalisation gives them: logits of 1e3 to 1e6, whose last bit is a part of
# their weight, and of which nearly every row has a single one.
UNNORMALISED = {"rate": 1, "normalize": "background"}
SATURATED = {
    **{name: replace(options, rate=1) for name, options in PRESETS.items() if name != "paper"},
    "after": Options(**UNNORMALISED),
    "after, multiply": Options(**UNNORMALISED, masking="multiply"),
    "after, long": Options(**UNNORMALISED, fuse_k=5),
    "none": Options(**UNNORMALISED, fuse=False),
    "none, multiply": Options(**UNNORMALISED, fuse=False, masking="multiply"),
    "before, multiply": Options(**UNNORMALISED, propagation="before", masking="multiply"),
}


@pytest.mark.parametrize("magnitude", [10.0, 1e3])
@pytest.mark.parametrize("name", SATURATED)
def test_saturated_softmax(perturbed, name, magnitude):
    """Whole, and in the least and in little workspace."""
    case = Case(name, (1, 4, 9, 8), (7, 10), mask="holes", magnitude=magnitude, options=SATURATED[name])
    problem = make_inputs(case, requires_grad=True)
    for workspace in (None, *workspaces(problem)[:2]):
        assert_saturated(problem, solve(problem, "cuda", workspace=workspace), exact(case), ROUNDINGS)
