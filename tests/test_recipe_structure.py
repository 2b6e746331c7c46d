"""The structure network's recipe: its terms in plain numpy, its two phases as plain loops, and runs that
start from trained weights.
"""

import itertools
import re

import numpy as np
import pytest
import torch
from helpers.runs import assert_equal, make_trainer, tiny
from torch.nn import functional as F

from contextual_attention.models import load_model
from contextual_attention.models.data.samples import Sample, Stream, collate
from contextual_attention.models.network.faces import Inpainted
from contextual_attention.models.network.patch_critic import PatchCritic
from contextual_attention.models.network.structure import StructureNetwork
from contextual_attention.models.training.checkpoint import load_checkpoint
from contextual_attention.models.training.presets import PRESETS
from contextual_attention.models.training.recipes.structure import LossConfig, structure_terms

LOSS = LossConfig()


def make_sample(batch=2, height=13, width=18, seed=0):
    """Images with holes of their own that differ in size, and a result that is wrong everywhere."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(shape, generator=random, dtype=torch.float64)

    image = draw(batch, 3, height, width) * 2 - 1
    mask = torch.zeros(batch, 1, height, width, dtype=torch.bool)
    for each in range(batch):
        mask[each, :, 1 + each : 4 + 3 * each, 2 : 6 + 2 * each] = True
    refined = image + draw(*image.shape) - 0.5
    error = draw(batch, 1, height, width) + 0.1
    nothing = torch.empty(0)
    sample = Sample(image, mask, nothing, nothing, nothing, nothing, ())
    return sample, Inpainted(None, refined, torch.where(mask, refined, image), error=error)


def halved(x):
    """The mean of every whole block of 2 x 2 pixels."""
    batch, channels, height, width = x.shape
    blocks = x[..., : height // 2 * 2, : width // 2 * 2]
    return blocks.reshape(batch, channels, height // 2, 2, width // 2, 2).mean((3, 5))


def by_hand(sample, result, scales):
    """The terms, pixel by pixel of each sample."""
    image, refined, error = (x.numpy() for x in (sample.image, result.refined, result.error))
    l1, gradient, expected = [], [], []
    weights = sample.mask.numpy().astype(float)
    wrong = (refined - image) * weights
    for one, own, hole in zip(wrong, error, weights, strict=True):
        found = np.abs(one).mean(0)[hole[0] > 0]
        guess = own[0][hole[0] > 0]
        expected.append((found / guess + np.log(guess)).mean())
    for _ in range(scales):
        for one, (hole,) in zip(wrong, weights, strict=True):
            l1.append(np.average(np.abs(one).mean(0), weights=hole) if hole.any() else 0)
            for axis in (1, 2):
                steps = np.abs(np.diff(one, axis=axis)).mean(0)
                first, last = (np.delete(hole, end, axis - 1) for end in (-1, 0))
                touched = np.maximum(first, last)
                gradient.append(np.average(steps, weights=touched) if touched.any() else 0)
        wrong, weights = halved(wrong), halved(weights)
    return {"l1": np.mean(l1), "gradient": np.mean(gradient), "error": np.mean(expected)}


class TestTerms:
    @pytest.mark.parametrize("scales", [1, 2, 3])
    def test_are_those_of_the_docstring(self, scales):
        sample, result = make_sample()
        terms = structure_terms(sample, result, scales)
        for name, value in by_hand(sample, result, scales).items():
            assert terms[name].item() == pytest.approx(value, rel=1e-12), name

    def test_hole_l1_is_in_percent_of_the_range(self):
        sample, result = make_sample()
        expected = 100 * by_hand(sample, result, 1)["l1"] / 2
        assert structure_terms(sample, result, 3)["hole_l1"].item() == pytest.approx(expected, rel=1e-6)

    def test_a_hole_that_no_coarser_scale_has(self):
        """The last row of an odd number belongs to no block: the sample adds 0 there, and no NaN."""
        sample, result = make_sample()
        sample.mask[0] = False
        sample.mask[0, :, -1, -1] = True
        terms = structure_terms(sample, result, 2)
        for name, value in by_hand(sample, result, 2).items():
            assert terms[name].item() == pytest.approx(value, rel=1e-12), name

    def test_what_is_known_does_not_count(self):
        sample, result = make_sample(height=30, width=40)
        changed = result._replace(refined=torch.where(sample.mask, result.refined, 7.0))
        before, after = (structure_terms(sample, each, 3) for each in (result, changed))
        assert {name: each.item() for name, each in before.items()} == {
            name: each.item() for name, each in after.items()
        }

    def test_no_colour_learns_from_the_expected_error(self):
        sample, result = make_sample()
        refined, error = (x.clone().requires_grad_() for x in (result.refined, result.error))
        terms = structure_terms(sample, result._replace(refined=refined, error=error), 1)
        terms["error"].backward()
        assert refined.grad is None
        assert (error.grad[~sample.mask] == 0).all()
        # Least where the expected error is what it is found to be.
        found = (result.refined - sample.image).abs().mean(1, keepdim=True)
        too_small = (error < found)[sample.mask]
        assert torch.equal(error.grad[sample.mask] < 0, too_small)
        assert 0 < too_small.double().mean() < 1


def batches(trainer):
    """Those of a run, from its beginning."""
    config = trainer.config
    places = itertools.chain.from_iterable(Stream(len(trainer.samples), config.seed, chunk=4))
    while True:
        yield collate([trainer.samples[next(places)] for _ in range(config.optimiser.batch)])


class TestPhases:
    def test_without_a_critic_and_then_with_one(self, tmp_path):
        """Two steps of the network alone; then one of the critic, and on another batch one of the network."""
        trainer = make_trainer(tmp_path, recipe="structure")
        trainer.run(3)
        config = trainer.config
        torch.manual_seed(config.seed)
        network, critic = StructureNetwork(config.generator), PatchCritic(4, (4, 4), "same")
        adam = {"lr": 1e-3, "betas": (0.9, 0.99)}
        for_network, for_critic = (torch.optim.Adam(each.parameters(), **adam) for each in (network, critic))
        batch = batches(trainer)

        def step(optimiser, loss):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        def scores(image, s):
            return critic(torch.cat((image, s.mask.float()), 1))

        def own(s, result):
            terms = structure_terms(s, result, 3)
            return terms["l1"] + 0.5 * terms["gradient"] + 0.1 * terms["error"]

        for _ in range(2):
            s = next(batch)
            step(for_network, own(s, network(s.image, s.mask, s.drafts)))
        s = next(batch)
        with torch.no_grad():
            fake = network(s.image, s.mask, s.drafts).completed
        real_scores, fake_scores = scores(
            torch.cat((s.image, fake)), s._replace(mask=s.mask.repeat(2, 1, 1, 1))
        ).chunk(2)
        step(for_critic, (F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()) / 2)
        s = next(batch)
        result = network(s.image, s.mask, s.drafts)
        step(for_network, own(s, result) - 0.01 * scores(result.completed, s).mean())
        for mine, theirs in ((trainer.generator, network), (trainer.critics.patch, critic)):
            for name, expected in theirs.state_dict().items():
                # Sums in another order, which Adam's first steps lift: it divides by the gradient's own size.
                assert (mine.state_dict()[name] - expected).abs().max() <= 1e-5, name
        assert trainer.feed.position == 4 * 4

    def test_a_critic_may_be_there_from_the_beginning(self):
        recipe = make_trainer_recipe(optimiser__completion_steps="0", optimiser__critic_updates="3")
        alone, judged = recipe.phases()
        assert alone.steps == 0
        assert [update.learner for update in judged.updates] == 3 * ["critics"] + ["generator"]

    def test_weights_are_those_of_the_settings(self):
        settings = {"l1": 2.0, "gradient": 0.25, "error": 0.5, "adversarial": 0.125, "critic": 0.75}
        recipe = make_trainer_recipe(**{f"loss__{name}": str(value) for name, value in settings.items()})
        (alone,), (critic, judged) = (phase.updates for phase in recipe.phases())
        own = {"l1": 2.0, "gradient": 0.25, "error": 0.5, "hole_l1": 0.0}
        assert dict(alone.weights) == own
        assert dict(judged.weights) == own | {"patch_adversarial": 0.125}
        assert critic.weights["patch_hinge"] == 0.75


def make_trainer_recipe(**changes):
    from contextual_attention.models.training.recipes import make_recipe

    return make_recipe(tiny("structure", **changes))


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"loss__l1": "0"}, "loss.l1: expected more than 0, got 0"),
            ({"loss__critic": "0"}, "loss.critic: expected more than 0, got 0"),
            ({"loss__gradient": "-1"}, "loss.gradient: expected .* got -1"),
            ({"loss__error": "-1"}, "loss.error: expected .* got -1"),
            ({"loss__adversarial": "-1"}, "loss.adversarial: expected .* got -1"),
            ({"loss__scales": "0"}, "loss.scales: expected from 1 to 6, got 0"),
            ({"loss__scales": "7"}, "loss.scales: expected from 1 to 6, got 7"),
            ({"loss__scales": "5"}, "loss.scales: expected data.size of at least 32, got 5"),
            ({"optimiser__completion_steps": "-1"}, "completion_steps: expected .* got -1"),
            ({"critics__channels": "0,4"}, "critics.channels"),
        ],
    )
    def test_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            tiny("structure", **changes)

    def test_the_preset(self):
        preset = PRESETS["structure"]
        assert preset.generator == StructureNetwork.Config()
        assert (preset.data.size, preset.masks.kind) == (96, "varied")
        assert preset.loss == LOSS


class TestStart:
    """Runs that begin with trained weights."""

    @pytest.fixture
    def trained(self, tmp_path):
        torch.manual_seed(5)
        network = StructureNetwork(tiny("structure").generator)
        with torch.no_grad():
            for each in network.parameters():
                each.add_(torch.randn_like(each), alpha=0.1)
        network.save_pretrained(tmp_path / "trained")
        return network.state_dict()

    def test_network_and_average_begin_with_them(self, trained, tmp_path):
        trainer = make_trainer(tmp_path / "run", recipe="structure", start=str(tmp_path / "trained"))
        assert_equal(dict(trainer.generator.state_dict()), dict(trained))
        assert_equal(dict(trainer.average.module.state_dict()), dict(trained))
        critics = make_trainer(tmp_path / "other", recipe="structure").critics
        assert_equal(dict(trainer.critics.state_dict()), dict(critics.state_dict()))

    def test_a_resumed_run_goes_on_from_its_own(self, trained, tmp_path):
        start = str(tmp_path / "trained")
        whole, halves = tmp_path / "whole", tmp_path / "halves"
        make_trainer(whole, recipe="structure", start=start).run()
        make_trainer(halves, recipe="structure", start=start).run(2)
        (tmp_path / "trained").rename(tmp_path / "gone")
        make_trainer(halves, resume=True, recipe="structure", start=start).run()
        states = [load_checkpoint(out / "checkpoints/step_000000004.ckpt") for out in (whole, halves)]
        assert_equal(*states)
        assert_equal(dict(load_model(whole).state_dict()), dict(load_model(halves).state_dict()))

    def test_what_is_refused(self, trained, tmp_path):
        given = {"recipe": "structure", "generator__dilations": "1,2,4"}
        message = r"start: expected .* of structure with StructureConfig.*1, 2, 4.*, but "
        with pytest.raises(ValueError, match=message + re.escape(str(tmp_path))):
            make_trainer(tmp_path / "run", start=str(tmp_path / "trained"), **given)
        with pytest.raises(
            ValueError, match=r"start: expected the weights of deepfill with .* those of structure"
        ):
            make_trainer(tmp_path / "run", start=str(tmp_path / "trained"))
        with pytest.raises(ValueError, match="is no folder here"):
            make_trainer(tmp_path / "run", recipe="structure", start=str(tmp_path / "nowhere"))
        assert not (tmp_path / "run").exists()
