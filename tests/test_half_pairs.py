"""Pairs of float16 in a word (csrc/cuda/half_pairs.h), as the host computes with them."""

import ctypes

import numpy as np
import pytest
import torch
from helpers.emulated import build_probes

COUNT = 20_000


@pytest.fixture(scope="module")
def probes(emulator):
    return build_probes(emulator)


@pytest.fixture(scope="module")
def triples():
    """Of any float16, and of those that are near each other, whose sums and products are: (count, 3, 2)."""
    rng = np.random.default_rng(0)
    anything = rng.integers(0, 2**16, (COUNT, 3, 2), dtype=np.uint16).view(np.float16)
    near = np.exp2(rng.uniform(-6, 6, (COUNT, 3, 2))).astype(np.float16)
    return np.concatenate([anything, near])


@pytest.fixture(scope="module")
def made(probes, triples):
    """What is made of them: (count, 9, 2)."""
    words = np.zeros((len(triples), 9), np.uint32)
    given = np.ascontiguousarray(triples).view(np.uint32)
    pointers = (x.ctypes.data_as(ctypes.c_void_p) for x in (given, words))
    probes.probe_pairs(ctypes.c_int64(len(triples)), *pointers)
    return words.view(np.uint16).reshape(-1, 9, 2)


def assert_same(found, expected):
    """As bits, but any NaN for any other."""
    found, expected = found.view(np.float16), expected.astype(np.float16)
    both = np.isnan(found) & np.isnan(expected)
    assert np.array_equal(found.view(np.uint16)[~both], expected.view(np.uint16)[~both])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_operation_rounds_once(made, triples):
    """A product of two is exact in double, and its sum with a third but for what changes no rounding."""
    a, b, c = np.moveaxis(triples.astype(np.float64), 1, 0)
    for i, exact in enumerate((a + b, a * b, a * b + c)):
        assert_same(made[:, i], exact)


def test_halves_are_put_together(made, triples):
    a, b = triples[:, 0], triples[:, 1]
    expected = [(a[:, 0], a[:, 0]), (a[:, 1], a[:, 1]), (a[:, 1], b[:, 0]), (a[:, 0], b[:, 0])]
    for i, pair in enumerate(expected, start=3):
        assert np.array_equal(made[:, i], np.stack(pair, 1).view(np.uint16))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_power_of_two_is_taken_off(made, triples):
    a = triples[:, 0]
    assert_same(made[:, 7], a.astype(np.float64) / 4)
    expected = (torch.from_numpy(a.astype(np.float32)) / 4).bfloat16()
    found = torch.from_numpy(made[:, 8].copy().view(np.int16)).view(torch.bfloat16)
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.nan_to_num(), expected.nan_to_num())


def test_flags_become_masks(probes):
    for k in range(8):
        for i in range(9):
            assert probes.probe_flags(i, k) & 0xFFFFFFFF == (0xFFFF * (i == k) | 0xFFFF0000 * (i == k + 1))
