"""What tests hang into the CPU kernels does something there, and nothing any more afterwards."""

import datetime
from contextlib import contextmanager

import pytest
import torch
from helpers.compare import ROUNDED_OTHERWISE, assert_solved, in_dtype, solve
from helpers.cpu_hooks import counted_work, perturb_products
from helpers.roads import PERTURBED

from contextual_attention import backends
from contextual_attention.testing import Case, make_inputs


@contextmanager
def perturbed(anew):
    perturb_products(1, anew)
    try:
        yield
    finally:
        perturb_products(PERTURBED, anew=False)


@pytest.fixture
def problem():
    return make_inputs(Case("small", (1, 4, 8, 8)), requires_grad=True)


def bits(problem):
    """Of the output and of all gradients."""
    output, _, slopes = solve(problem, "cpu")
    return torch.cat([each.flatten() for each in (output, *slopes.values())])


def test_counting_stops(problem):
    with counted_work() as first:
        bits(problem)
    bits(problem)
    with counted_work() as second:
        pass
    assert all(first[name] > 0 for name in ("gemm_calls", "gemm_flop", "score_visits", "scratch_bytes"))
    assert {kind.partition(",")[0] for kind in first["cuts"]} == {"forward", "backward"}
    assert not any(second.values())


def test_products_round_otherwise(problem):
    """By their sizes, or each time; and so little that the results are right."""
    exact = solve(in_dtype(problem, torch.float64), "reference")
    as_they_are = bits(problem)
    with perturbed(anew=False):
        by_size = [bits(problem) for _ in range(2)]
    with perturbed(anew=True):
        each_time = [bits(problem) for _ in range(2)]
        assert_solved(problem, solve(problem, "cpu"), exact, ROUNDED_OTHERWISE)
    assert by_size[0].equal(by_size[1])
    assert not each_time[0].equal(each_time[1])
    assert not by_size[0].equal(as_they_are)
    assert bits(problem).equal(as_they_are)


def test_products_are_counted_while_they_are_perturbed(problem):
    with counted_work() as work:
        bits(problem)
    with perturbed(anew=True):
        with counted_work() as meanwhile:
            bits(problem)
        assert not bits(problem).equal(bits(problem))
    assert meanwhile == work


def test_a_capsule_of_something_else_is_refused():
    with pytest.raises(ValueError, match="PyCapsule"):
        backends.extension.set_hooks(datetime.datetime_CAPI)
