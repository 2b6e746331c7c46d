"""The function inpaint: every kind of picture and method, what stays as it was, and what is refused."""

import sys

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from helpers.networks import tiny_structure
from helpers.striped import HEIGHT, MISSING, WIDTH, assert_restored, stripes, with_hole
from PIL import Image
from skimage import data

from contextual_attention.models import inpaint
from contextual_attention.models.filling.inpaint import METHODS
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.shipped import shipped_structure


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays(dtype, channels):
    truth = stripes(channels, dtype)
    # 16 bits pass through float32 in [-1, 1] and weights that sum to 1 up to 1e-6.
    tolerance = 1 if dtype == np.uint8 else 3
    assert_restored(inpaint(with_hole(channels, dtype), MISSING, "exemplar"), truth, tolerance)
    grey = inpaint(with_hole(channels, dtype)[..., 0], MISSING, "exemplar")
    assert_restored(grey, truth[..., 0], tolerance)


@pytest.fixture(scope="module")
def sticker():
    """Part of a photograph in a disc, transparent outside, (48, 48, 4), and holes in, out and across."""
    rows, columns = np.mgrid[:48, :48]
    opacity = np.clip(16 - np.hypot(rows - 24, columns - 24), 0, 1)  # its border is soft
    hole = np.zeros((48, 48), bool)
    hole[21:27, 36:44] = hole[0:4, 0:4] = hole[22:26, 22:26] = True
    return np.dstack([data.coffee()[150:198, 200:248], 255 * opacity]).astype(np.uint8), hole


@pytest.mark.parametrize("method", METHODS)
def test_what_is_transparent_has_no_colour(sticker, networks, method):
    """Whatever a fully transparent pixel holds, the result is the same, and the disc's border goes on."""
    picture, hole = sticker
    model = networks.get(method)
    results = []
    for invisible in (0, 255):
        given = np.where(picture[..., 3:] == 0, np.uint8(invisible), picture)
        given[..., 3] = picture[..., 3]
        results.append(inpaint(given, hole, method, model=model))
        assert np.array_equal(results[-1][~hole], given[~hole])
    assert np.array_equal(results[0][hole], results[1][hole])
    if method in networks:  # untrained ones
        return
    opacity = results[0][..., 3]
    assert (opacity[0:4, 0:4] == 0).all()
    assert (opacity[22:26, 22:26] == 255).all()
    # Two pixels beyond the border and two within, where blending lets levels run out: at most by a quarter.
    assert opacity[21:27, 42:].max() <= 64
    assert opacity[21:27, 36:38].min() >= 191
    # Nothing dark comes in from where nothing is: what is seen is as bright as what is known.
    seen = results[0][hole & (opacity == 255)]
    assert seen.sum(1).min() >= 0.8 * picture[~hole & (picture[..., 3] == 255)][:, :3].sum(1).min()


def test_opacity_is_filled():
    """A watermark that is 40 of 255 opaque everywhere stays so, and its colours come back."""
    picture = np.dstack([with_hole(), np.full((HEIGHT, WIDTH), 40, np.uint8)])
    result = inpaint(picture, MISSING, "exemplar")
    # One step of 40 levels of what is seen is six of the colour; stripes so faint are taken for grain, whose
    # levels are joined to the surroundings', not copied.
    assert_restored(result[..., :3], stripes(), 13)
    assert (result[..., 3] == 40).all()


@pytest.mark.parametrize("method", ["structure", "exemplar"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_opacity_that_says_nothing_changes_nothing(networks, dtype, method):
    """What is opaque outside the hole is filled as without opacity, and opaque."""
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    colours = (with_hole() / 255 * white).astype(dtype)
    opacity = np.where(MISSING, 0, white).astype(dtype)
    given = {"method": method, "model": networks.get(method)}
    result = inpaint(np.dstack([colours, opacity]), MISSING, **given)
    assert np.array_equal(result[..., :3], inpaint(colours, MISSING, **given))
    assert (result[..., 3] == white).all()


@pytest.mark.parametrize(
    ("method", "feather"),
    [("structure", 0), ("structure", 2), ("exemplar", 0), ("exemplar", 2), ("patchmatch", 0), ("model", 2)],
)
def test_what_nobody_sees_may_be_no_number(networks, method, feather):
    """Under the hole, and where a picture is transparent."""
    truth = np.dstack([stripes(), np.full((HEIGHT, WIDTH), 255)]).astype(np.float32) / 255
    truth[:4] = 0
    given = truth.copy()
    given[MISSING], given[:4, :, :3] = np.nan, np.nan
    model = networks.get(method)
    result = inpaint(given, MISSING, method, model=model, feather=feather)
    assert np.isfinite(result[4:]).all()
    assert np.array_equal(result[4:], inpaint(truth, MISSING, method, model=model, feather=feather)[4:])


def test_a_feather_fades_opacity_too(sticker):
    picture, hole = sticker
    result = inpaint(picture, hole, feather=3)
    near = np.zeros_like(hole)
    for row, column in np.argwhere(hole):
        near[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4] = True
    assert np.array_equal(result[~near], picture[~near])
    assert (result[..., 3] != picture[..., 3])[near & ~hole].any()


def test_floats_are_from_0_to_1_in_arrays_and_minus_1_to_1_in_tensors():
    unit = stripes().astype(np.float32) / 255
    result = inpaint(np.where(MISSING[..., None], 0, unit), MISSING, "exemplar")
    assert_restored(result, unit, 1e-3)
    tensor = torch.from_numpy(unit * 2 - 1).permute(2, 0, 1)
    mask = torch.from_numpy(MISSING)
    result = inpaint(tensor.masked_fill(mask, 0), mask, "exemplar")
    assert_restored(result.permute(1, 2, 0).numpy(), tensor.permute(1, 2, 0).numpy(), 2e-3)


def test_batches_have_masks_of_their_own_and_offsets():
    truth = torch.from_numpy(stripes()).permute(2, 0, 1)[None].repeat(2, 1, 1, 1)
    mask = torch.from_numpy(MISSING)[None, None].repeat(2, 1, 1, 1)
    mask[1] = mask[1].roll(5, 2)
    seen = []
    result, offsets = inpaint(
        truth.masked_fill(mask, 0), mask, "exemplar", return_offsets=True, progress=seen.append
    )
    assert result.dtype == torch.uint8
    assert (result.int() - truth.int()).abs().max() <= 1
    assert offsets.shape == (2, 2, HEIGHT, WIDTH)
    assert torch.equal((offsets != 0).any(1, keepdim=True), mask)
    assert seen[-1] == 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pillow_images_keep_mode_and_size(mode):
    grey = Image.fromarray(with_hole(1, np.uint16)[..., 0])
    image = grey if mode == "I;16" else Image.fromarray(with_hole()).convert(mode)
    result = inpaint(image, Image.fromarray(MISSING))
    assert (result.mode, result.size) == (mode, image.size)
    known = ~MISSING
    assert np.array_equal(np.asarray(result)[known], np.asarray(image)[known])


@pytest.mark.parametrize("mask", [Image.fromarray(MISSING.astype(np.uint8)), Image.fromarray(MISSING)])
def test_pillow_masks_are_read_as_in_files(mask):
    assert np.array_equal(inpaint(with_hole(), mask), inpaint(with_hole(), MISSING))


def test_a_picture_of_several_may_have_nothing_missing():
    pictures = torch.from_numpy(with_hole()).permute(2, 0, 1)[None].repeat(2, 1, 1, 1)
    mask = torch.from_numpy(MISSING)[None, None].repeat(2, 1, 1, 1)
    mask[1] = False
    assert torch.equal(inpaint(pictures, mask)[1], pictures[1])


def test_a_method_is_offered_everywhere():
    """The command has a list of its own, and the page a name for each."""
    from contextual_attention.commands import inpaint as command

    pytest.importorskip("gradio", reason="gradio, which the page is made with, is not installed")
    from contextual_attention.models.filling import page

    assert command.METHODS == METHODS == tuple(page._METHODS)


def test_methods_join_the_evaluation():
    from contextual_attention.models.evaluation.evaluate import METHODS as EVALUATED

    image = torch.from_numpy(stripes()).permute(2, 0, 1)[None] / 127.5 - 1
    mask = torch.from_numpy(MISSING)[None, None]
    assert torch.equal(EVALUATED["structure"](image, mask), inpaint(image, mask))
    assert torch.equal(EVALUATED["exemplar"](image, mask), inpaint(image, mask, "exemplar"))
    assert torch.equal(EVALUATED["patchmatch"](image, mask), inpaint(image, mask, "patchmatch"))


def test_patchmatch_and_its_seed():
    assert_restored(inpaint(with_hole(), MISSING, "patchmatch", seed=3), stripes(), 12)


def test_a_feather_fades_into_what_is_known():
    truth = stripes()
    truth[:, 30:] //= 2
    result = inpaint(truth, MISSING, feather=3).astype(int)
    near = np.zeros_like(MISSING)
    near[9:23, 12:28] = True
    assert np.array_equal(result[~near], truth[~near])


def test_a_model_is_asked_for_what_is_missing():
    class Black(torch.nn.Module):
        def forward(self, image, mask):
            assert image.shape[1] == 3
            completed = torch.where(mask, -1.0, image)
            return type("Inpainted", (), {"completed": completed})

    for channels in (1, 3):
        result = inpaint(with_hole(channels), MISSING, "model", model=Black())
        assert np.array_equal(result, np.where(MISSING[..., None], 0, with_hole(channels)))


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return InpaintGenerator(cnum=2)


@pytest.fixture(scope="module")
def networks(generator):
    """Small ones, by the methods that take one."""
    return {"model": generator, "structure": tiny_structure()}


@pytest.mark.parametrize("method", METHODS)
@hypothesis.settings(max_examples=6)
@hypothesis.given(
    height=st.integers(8, 24), width=st.integers(8, 24), share=st.floats(0, 0.9), seed=st.integers(0, 99)
)
def test_known_pixels_are_bit_identical(networks, method, height, width, share, seed):
    random = np.random.default_rng(seed)
    missing = random.uniform(size=(height, width)) < share
    missing[0, 0], missing[-1, -1] = False, True
    image = random.uniform(0, 1, (height, width, 3)).astype(np.float32)
    result = inpaint(image, missing, method, model=networks.get(method), seed=seed)
    assert np.array_equal(result[~missing], image[~missing])
    assert np.isfinite(result).all()
    assert not np.array_equal(result[missing], image[missing])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (33, 50)])
def test_a_generator_fills_any_size_kind_and_number_of_holes(generator, tmp_path, size, channels):
    generator.save_pretrained(tmp_path)
    random = np.random.default_rng(0)
    image = random.integers(0, 2**16, (*size, channels)).astype(np.uint16)
    missing = np.zeros(size, bool)
    missing[1:3, 2:4] = missing[5:7, 1:5] = missing[-1, -1] = True
    result, offsets = inpaint(image, missing, "model", model=tmp_path, return_offsets=True)
    assert (result.dtype, result.shape) == (image.dtype, image.shape)
    assert np.array_equal(result[~missing], image[~missing])
    assert offsets.shape == (1, 2, -(-size[0] // 8), -(-size[1] // 8))
    if channels == 3:
        scaled = torch.from_numpy(image / np.float32(65535) * 2 - 1).permute(2, 0, 1)[None]
        hole = torch.from_numpy(missing)[None, None]
        expected = generator(scaled.masked_fill(hole, 0), hole).completed[0].permute(1, 2, 0)
        expected = (expected.detach().numpy() + 1) / 2 * 65535
        assert np.abs(result - expected)[missing].max() <= 1


class TestStructure:
    """The method that is the default; what it makes of pictures is tested with fill_structure."""

    wide = np.zeros((HEIGHT, WIDTH), bool)
    wide[8:32, 12:36] = True

    def test_is_the_default_with_the_network_of_the_package(self):
        assert METHODS[0] == "structure"
        found = inpaint(stripes(), self.wide)
        assert np.array_equal(found, inpaint(stripes(), self.wide, "structure", model=shipped_structure()))

    def test_a_network_or_where_it_is(self, tmp_path):
        sure = tiny_structure()
        sure.last.bias.data[-4:] = -9.0
        sure.save_pretrained(tmp_path / "model")
        noise = np.random.default_rng(0).integers(0, 256, (*self.wide.shape, 3)).astype(np.uint8)
        expected = inpaint(noise, self.wide, model=sure)
        assert np.array_equal(inpaint(noise, self.wide, model=tmp_path), expected)
        assert not np.array_equal(inpaint(noise, self.wide), expected)

    def test_a_network_is_taken_in_evaluation(self):
        network = tiny_structure().train()
        inpaint(with_hole(), MISSING, model=network)
        assert not network.training

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    @pytest.mark.parametrize("size", [(8, 8), (33, 50)])
    def test_any_size_kind_and_number_of_holes(self, networks, size, channels):
        random = np.random.default_rng(0)
        image = random.integers(0, 2**16, (*size, channels)).astype(np.uint16)
        missing = np.zeros(size, bool)
        missing[1:3, 2:4] = missing[5:7, 1:5] = missing[-1, -1] = True
        missing[12:24, 20:34] = True  # wide enough for the network, where the picture is
        result, offsets = inpaint(image, missing, model=networks["structure"], return_offsets=True)
        assert (result.dtype, result.shape) == (image.dtype, image.shape)
        assert np.array_equal(result[~missing], image[~missing])
        assert offsets.shape == (1, 2, *size)
        assert not offsets[0][:, ~torch.from_numpy(missing)].any()

    @pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
    def test_pillow_images(self, networks, mode):
        grey = Image.fromarray(with_hole(1, np.uint16)[..., 0])
        image = grey if mode == "I;16" else Image.fromarray(with_hole()).convert(mode)
        result = inpaint(image, Image.fromarray(MISSING), model=networks["structure"])
        assert (result.mode, result.size) == (mode, image.size)
        assert np.array_equal(np.asarray(result)[~MISSING], np.asarray(image)[~MISSING])

    def test_pictures_of_a_batch_do_not_know_each_other(self, networks):
        pictures = torch.from_numpy(stripes()).permute(2, 0, 1)[None].repeat(2, 1, 1, 1)
        pictures[1] = 255 - pictures[1]
        masks = torch.from_numpy(self.wide)[None, None].repeat(2, 1, 1, 1)
        masks[1] = masks[1].roll(9, 2)
        given, seen = {"model": networks["structure"], "return_offsets": True}, []
        together, offsets = inpaint(pictures, masks, progress=seen.append, **given)
        for i in range(2):
            alone, its_offsets = inpaint(pictures[i], masks[i, 0], **given)
            assert torch.equal(together[i], alone)
            assert torch.equal(offsets[i : i + 1], its_offsets)
        assert seen == sorted(seen)
        assert seen[-1] == 1

    def test_the_seed_reaches_the_search(self):
        unsure = tiny_structure()
        unsure.last.bias.data[-4:] = 5.0
        random = np.random.default_rng(0)
        image = random.integers(0, 256, (48, 48, 3)).astype(np.uint8)
        missing = np.zeros((48, 48), bool)
        missing[16:32, 16:32] = True
        given = {"model": unsure, "return_offsets": True}
        first, again, other = (inpaint(image, missing, seed=seed, **given)[1] for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_the_workspace_reaches_the_layer(self, networks):
        with pytest.raises(ValueError, match="workspace"):
            inpaint(with_hole(), MISSING, model=networks["structure"], workspace=1)

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"poisson": True}, 'poisson: is for method "model"; "structure" joins its copies'),
            (
                {"model": torch.nn.Identity()},
                'takes a StructureNetwork, got a Identity; method "model" takes',
            ),
            ({"seed": 0.5}, "seed: expected a whole number"),
        ],
    )
    def test_what_is_refused(self, options, reason):
        with pytest.raises(ValueError, match=reason):
            inpaint(with_hole(), MISSING, **options)

    def test_a_folder_of_another_system(self, generator, tmp_path):
        generator.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="takes a StructureNetwork, got a InpaintGenerator"):
            inpaint(with_hole(), MISSING, model=tmp_path)

    @pytest.mark.parametrize("options", [{}, {"method": "model", "model": "folder"}])
    def test_without_the_packages_of_networks(self, monkeypatch, options):
        monkeypatch.delitem(sys.modules, "contextual_attention.models.network.pretrained", raising=False)
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(
            ImportError, match=r'needs the package huggingface_hub: pip install .*\[models\]".*exemplar'
        ):
            inpaint(with_hole(), MISSING, **options)


@pytest.mark.parametrize(
    ("image", "mask", "options", "error", "reason"),
    [
        ("photo.png", MISSING, {}, TypeError, "image: expected a Pillow image, a NumPy array or a tensor"),
        (with_hole(), "mask.png", {}, TypeError, "mask: expected a Pillow image"),
        (with_hole(), MISSING.T, {}, ValueError, "expected the size of the image, 48 x 40, got 40 x 48"),
        (with_hole(), MISSING | True, {}, ValueError, "mask: every pixel is missing"),
        (with_hole(), MISSING & False, {}, ValueError, "mask: marks nothing"),
        (with_hole(), Image.new("L", (48, 40)), {}, ValueError, "marks nothing .* grey value 0 of 255"),
        (with_hole(), Image.new("L", (48, 40), 255), {}, ValueError, "marks everything .* grey value 255"),
        (with_hole().astype(np.int32), MISSING, {}, TypeError, "expected uint8, uint16 or floating"),
        (with_hole(), MISSING, {"method": "magic"}, ValueError, "expected one of 'structure', 'exemplar'"),
        (with_hole(), MISSING, {"method": "model"}, ValueError, 'method "model" needs one'),
        (with_hole(), MISSING, {"feather": -1}, ValueError, "feather: expected a number of pixels"),
        (
            with_hole(),
            MISSING,
            {"feather": np.uint8(130)},
            ValueError,
            "feather: 130 pixels around the mask leave",
        ),
        (with_hole(), MISSING, {"feather": 1.0}, ValueError, "feather: expected a number of pixels"),
        (
            torch.zeros(2, 3, 8, 8),
            torch.arange(2).view(2, 1, 1, 1).expand(2, 1, 8, 8),
            {},
            ValueError,
            "mask: every",
        ),
        (torch.zeros(5, 8, 8), MISSING, {}, ValueError, r"expected \(C, H, W\)"),
    ],
)
def test_pictures_and_masks_that_are_refused(image, mask, options, error, reason):
    with pytest.raises(error, match=reason):
        inpaint(image, mask, **options)


class TestSketch:
    """A guided network gets the lines of each picture, and none where none are given."""

    class Drawn(torch.nn.Module):
        """White on lines, black beside them."""

        config = type("Config", (), {"sketch": True})

        def forward(self, image, mask, sketch):
            assert sketch.shape == mask.shape
            assert sketch.dtype == torch.bool
            drawn = torch.where(sketch, 1.0, -1.0).expand_as(image)
            return type("Inpainted", (), {"completed": torch.where(mask, drawn, image)})

    lines = np.zeros_like(MISSING)
    lines[:, 20] = True

    def test_lines_are_drawn_in_the_hole(self):
        found = inpaint(with_hole(3), MISSING, "model", model=self.Drawn(), sketch=self.lines)
        drawn = np.where(self.lines[..., None], 255, 0)
        assert np.array_equal(found, np.where(MISSING[..., None], drawn, with_hole(3)))

    def test_no_lines(self):
        found = inpaint(with_hole(3), MISSING, "model", model=self.Drawn())
        assert (found[MISSING] == 0).all()

    def test_every_picture_has_its_own(self):
        image = torch.zeros(2, 3, *MISSING.shape)
        lines = torch.stack([torch.from_numpy(self.lines), torch.from_numpy(~self.lines)])[:, None]
        mask = torch.from_numpy(MISSING)
        found = inpaint(image, mask, "model", model=self.Drawn(), sketch=lines)
        assert torch.equal(found[0][:, mask], -found[1][:, mask])

    @pytest.mark.parametrize("method", ["structure", "exemplar", "patchmatch"])
    def test_is_for_models(self, method):
        with pytest.raises(ValueError, match=f'sketch: is for method "model" .*; got "{method}"'):
            inpaint(with_hole(3), MISSING, method, sketch=self.lines)

    def test_is_for_guided_networks(self, generator):
        with pytest.raises(ValueError, match="sketch: expected none: this network is not guided"):
            inpaint(with_hole(3), MISSING, "model", model=generator, sketch=self.lines)

    @pytest.mark.parametrize(
        ("sketch", "message"),
        [
            (np.zeros((4, 4)), "sketch: expected the size of the image"),
            (np.zeros((3, 4, 4, 4)), "sketch: expected one channel and 1 pictures or 1"),
        ],
    )
    def test_another_shape(self, sketch, message):
        with pytest.raises(ValueError, match=message):
            inpaint(with_hole(3), MISSING, "model", model=self.Drawn(), sketch=sketch)

    def test_another_kind(self):
        with pytest.raises(TypeError, match="sketch: expected a Pillow image"):
            inpaint(with_hole(3), MISSING, "model", model=self.Drawn(), sketch="lines.png")
