"""The discount against weights written out by hand and distances by brute force."""

import math

import numpy as np
import pytest
import torch

from contextual_attention.models.data.discount import discount_weights


def test_weights_of_a_box_by_hand():
    mask = torch.zeros(1, 1, 5, 6)
    mask[..., 1:4, 1:5] = 1
    assert discount_weights(mask, 0.5)[0, 0].tolist() == [
        [1, 1, 1, 1, 1, 1],
        [1, 0.5, 0.5, 0.5, 0.5, 1],
        [1, 0.5, 0.25, 0.25, 0.5, 1],
        [1, 0.5, 0.5, 0.5, 0.5, 1],
        [1, 1, 1, 1, 1, 1],
    ]


def test_weights_of_any_hole_is_the_distance_by_brute_force():
    random = np.random.default_rng(0)
    masks = random.random((3, 1, 9, 11)) < np.array([0.3, 0.8, 0.97]).reshape(3, 1, 1, 1)
    masks[2, 0, 4, 10] = False
    weights = discount_weights(torch.from_numpy(masks), 0.9)
    assert weights.dtype == torch.float32
    for mask, found in zip(masks[:, 0], weights[:, 0], strict=True):
        known = np.argwhere(~mask)
        for i, j in np.ndindex(mask.shape):
            nearest = min(math.dist((i, j), each) for each in known)
            assert found[i, j].item() == pytest.approx(0.9**nearest, rel=1e-6)


def test_refuses_what_has_no_distance():
    mask = torch.zeros(2, 1, 4, 4)
    mask[1] = 1
    with pytest.raises(ValueError, match="mask: sample 1 has no known pixel"):
        discount_weights(mask, 0.9)
    with pytest.raises(ValueError, match=r"mask: expected shape \(B, 1, height, width\), got \(4, 4\)"):
        discount_weights(mask[0, 0], 0.9)
    for gamma in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"gamma: .* got {gamma}"):
            discount_weights(mask[:1], gamma)
