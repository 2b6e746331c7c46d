"""Procedural scenes: a seed is a picture, every part occurs, edges go on; scenes among others in a run."""

import itertools
import sys
import types
from pathlib import Path

import pytest
import torch

from contextual_attention.models.data import scenes
from contextual_attention.models.data.samples import Place, Samples
from contextual_attention.models.data.scenes import draw_scene, shapes, things
from contextual_attention.models.data.scenes.canvas import Canvas
from contextual_attention.models.data.sources import Mixed, ProceduralPictures, open_source
from contextual_attention.models.training.feed import make_samples
from contextual_attention.models.training.presets import PRESETS
from contextual_attention.models.training.settings import change, frozen_changes

FOLDER = Path(scenes.__file__).parent


def scene(seed, size=(40, 56)):
    return draw_scene(size, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(40, 56), (56, 40), (16, 16), (16, 100)])
def test_a_seed_is_a_picture(size):
    for seed in range(8):
        first = scene(seed, size)
        assert first.shape == (3, *size)
        assert first.dtype == torch.float32
        assert first.abs().max() <= 1  # and so it is finite
        assert torch.equal(first, scene(seed, size))
        assert not torch.equal(first, scene(seed + 1, size))


def test_torchs_own_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    scene(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_scene_has_the_same_composition_at_every_size():
    """Noise apart, which is drawn pixel by pixel."""
    likeness = []
    for seed in range(12):
        small, large = scene(seed, (32, 40)), scene(seed, (96, 120))
        reduced = torch.nn.functional.avg_pool2d(large, 3)
        likeness.append(torch.corrcoef(torch.stack([small.flatten(), reduced.flatten()]))[0, 1])
    assert torch.stack(likeness).median() > 0.9


def lines_of(code):
    """The lines of the functions in a module's code, each by the name of the file."""
    for inner in (each for each in code.co_consts if isinstance(each, types.CodeType)):
        if inner.co_flags & 2:  # new locals: a function, and no class
            yield from {(code.co_filename, line) for _, _, line in inner.co_lines() if line}
        yield from lines_of(inner)


def lines_never_run(expected, most):
    """Of the expected lines those that no seed before ``most`` runs."""
    seen = set()

    def trace(frame, event, _):
        name = frame.f_code.co_filename
        if not name.startswith(str(FOLDER)):
            return None
        seen.add((name, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for seed in range(most):
            scene(seed, (24, 32))
            if expected <= seen:
                break
    finally:
        sys.settrace(before)
    return expected - seen


def test_every_part_occurs():
    """Every line of every file is run for some seed: nothing is dead, and nothing too rare to learn from."""
    files = [file for file in FOLDER.glob("*.py") if file.name != "__init__.py"]
    expected = set().union(
        *(set(lines_of(compile(file.read_text(encoding="utf-8"), str(file), "exec"))) for file in files)
    )
    assert len(expected) > 300
    assert lines_never_run(expected, 400) == set()


def test_a_horizon_parts_the_picture_in_two():
    """It goes on through the whole picture, straight, and each side has one colour up to it."""
    canvas = Canvas((48, 72), torch.Generator().manual_seed(0))
    above, below = torch.tensor([0.8, 0.9, 1.0])[:, None, None], torch.tensor([0.2, 0.3, 0.1])[:, None, None]
    canvas.fill(above)
    slope, middle = 0.1, (0.75, 0.5)
    edge = shapes.half_plane(middle, torch.pi / 2 + slope)
    canvas.cover(edge(canvas.x, canvas.y), below)
    height = middle[1] + (canvas.x - middle[0]) * torch.tan(torch.tensor(slope))
    pixels_below = ((canvas.y - height) / canvas.pixel).expand(48, 72)
    assert (canvas.picture[:, pixels_below < -1] == above[..., 0]).all()
    assert (canvas.picture[:, pixels_below > 1] - below[..., 0]).abs().max() < 1e-6
    # In every column the share of the one colour tells where the edge is, to a tenth of a pixel.
    share = (above[0] - canvas.picture[0]) / (above[0] - below[0])
    found = 1 - share.sum(0) * canvas.pixel
    assert (found - height[0]).abs().max() < 0.1 * canvas.pixel


def test_pictures_are_neither_flat_nor_noise():
    """As photographs, they are smooth in most places: steps from pixel to pixel are mostly small."""
    steps, deviations = [], []
    for seed in range(40):
        grey = scene(seed, (96, 96)).mean(0)
        steps.append(grey.diff(dim=1).abs().median())
        deviations.append(grey.std())
    assert torch.stack(steps).median() < 0.03
    assert torch.stack(deviations).median() > 0.15
    assert min(deviations) > 0.005


def test_a_row_is_the_same_thing_in_perspective(monkeypatch):
    placed = []

    def thing(canvas, foot, radius):
        placed.append((foot, radius, canvas.draws.uniform(0, 1)))

    monkeypatch.setattr(things, "STANDING", (thing,))
    far, near = (0.2, 0.4), (0.9, 1.1)
    canvas = Canvas((24, 24), torch.Generator().manual_seed(3))
    things.row(canvas, far, near, 0.3)
    following = canvas.draws.uniform(0, 1)
    assert len(placed) >= 3
    assert len({draw for *_, draw in placed}) == 1 != following
    for foot, radius, _ in placed:  # all on the lines from the far point
        for axis in range(2):
            assert foot[axis] - far[axis] == pytest.approx((near[axis] - far[axis]) * radius / 0.3)
    assert placed[-1][:2] == (pytest.approx(near), pytest.approx(0.3))
    depths = [0.3 / radius for _, radius, _ in placed]
    steps = [a - b for a, b in itertools.pairwise(depths)]
    assert steps == pytest.approx([steps[0]] * len(steps))
    assert steps[0] > 0


class TestAmongThePicturesOfARun:
    """`DataConfig.scenes`."""

    config = change(PRESETS["small"], {"data.pictures": "5", "data.size": "24", "masks.box": "12"})

    def test_they_come_after_the_others(self):
        samples = make_samples(change(self.config, {"data.scenes": "3"}))
        assert len(samples) == 8
        assert isinstance(samples.source.source, Mixed)
        others, drawn = open_source("procedural", 24, 5), open_source("scenes", 24, 3)
        for index in range(8):
            expected = others.read(index) if index < 5 else drawn.read(index - 5)
            assert torch.equal(samples.source.read(index), expected)

    def test_without_them_samples_are_as_ever(self):
        assert self.config.data.scenes == 0
        samples, config = make_samples(self.config), self.config
        plain = Samples(
            ProceduralPictures(5, 36), samples.draw_masks, (24, 24), config.seed, config.data.least_crop,
            config.data.flip, samples.gamma,
        )  # fmt: skip
        assert len(samples) == len(plain) == 5
        for place in (Place(0, 0), Place(3, 4)):
            assert all(torch.equal(a, b) for a, b in zip(samples[place][:-1], plain[place][:-1], strict=True))

    def test_a_resumed_run_cannot_change_their_number(self):
        assert frozen_changes(self.config, change(self.config, {"data.scenes": "3"})) == [
            "data.scenes: 0 became 3"
        ]
