"""The recipes: steps against plain loops, exact resumption, and what a run of each says."""

import itertools

import pytest
import torch
from helpers.runs import FAMILIES, assert_equal, losses, make_trainer, tiny
from torch.nn import functional as F

from contextual_attention.models.data.samples import Stream, collate
from contextual_attention.models.network.context_encoder import ContextEncoder
from contextual_attention.models.network.context_encoder_critic import ContextEncoderCritic
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.iizuka import CompletionNetwork
from contextual_attention.models.network.iizuka_critics import JointCritic
from contextual_attention.models.network.patch_critic import PatchCritic
from contextual_attention.models.network.pretrained import load_model
from contextual_attention.models.training.checkpoint import load_checkpoint
from contextual_attention.models.training.recipes import context_encoder, iizuka, patch_gan, structure
from contextual_attention.models.training.trainer import NotFinite

NEW = [recipe for recipe in FAMILIES if recipe != "wasserstein"]


# ------------------------------------------------------------------------------------------------------------
# What a step computes, written out once more without Fabric, feed, updates and terms


def batches(trainer):
    """Those of a run, from its beginning."""
    config = trainer.config
    places = itertools.chain.from_iterable(Stream(len(trainer.samples), config.seed, chunk=4))
    while True:
        yield collate([trainer.samples[next(places)] for _ in range(config.optimiser.batch)])


def step(optimiser, loss):
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def assert_close(network, other, tolerance=1e-6):
    """Sums in another order, which Adam's first step lifts: it divides by the gradient's own size."""
    for name, expected in other.state_dict().items():
        assert (network.state_dict()[name] - expected).abs().max() <= tolerance, name


def test_a_step_of_deepfill_v2(tmp_path):
    trainer = make_trainer(tmp_path, recipe="sn-patchgan", optimiser__critic_updates="2")
    trainer.run(1)
    config = trainer.config
    torch.manual_seed(config.seed)
    generator, critic = InpaintGenerator(config.generator), PatchCritic(4, (4, 4), "same")
    adam = {"lr": 1e-3, "betas": (0.9, 0.99)}
    for_generator = torch.optim.Adam(generator.parameters(), **adam)
    for_critic = torch.optim.Adam(critic.parameters(), **adam)
    batch = batches(trainer)
    for _ in range(2):
        s = next(batch)
        with torch.no_grad():
            fake = generator(s.image, s.mask).completed
        seen = torch.cat([torch.cat((x, s.mask.float()), 1) for x in (s.image, fake)])
        real_scores, fake_scores = critic(seen).chunk(2)
        step(for_critic, (F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()) / 2)
    s = next(batch)
    result = generator(s.image, s.mask)
    reconstruction = F.l1_loss(result.refined, s.image) + F.l1_loss(result.coarse, s.image)
    scores = critic(torch.cat((result.completed, s.mask.float()), 1))
    step(for_generator, reconstruction - scores.mean())
    assert_close(trainer.generator, generator)
    assert_close(trainer.critics.patch, critic)


def test_the_phases_of_iizuka(tmp_path):
    """Two steps of the network, two of the critics, one of both on one batch."""
    phases = {"optimiser__completion_steps": "2", "optimiser__critic_steps": "2"}
    trainer = make_trainer(tmp_path, recipe="iizuka", loss__adversarial="0.1", **phases)
    trainer.run(5)
    config = trainer.config
    torch.manual_seed(config.seed)
    network = CompletionNetwork(config.generator)
    critic = JointCritic((4, 4), (4, 4, 4), local_size=(12, 12), whole_size=(24, 24), features=4)
    for_network, for_critic = (torch.optim.Adadelta(each.parameters()) for each in (network, critic))
    batch = batches(trainer)

    def score(images, s):
        corners = s.box[:, :2].tolist()
        local = [x[:, t : t + 12, c : c + 12] for x, (t, c) in zip(images, corners, strict=True)]
        return critic(torch.stack(local), images)

    def error(result, s):
        """As published: of images in [0, 1]."""
        return F.mse_loss(*((x + 1) / 2 * s.mask for x in (result.refined, s.image)))

    def update_critic(s):
        with torch.no_grad():
            fake = network(s.image, s.mask).completed
        real_scores, fake_scores = score(s.image, s), score(fake, s)
        real, fake = torch.ones_like(real_scores), torch.zeros_like(fake_scores)
        loss = F.binary_cross_entropy_with_logits(real_scores, real)
        step(for_critic, loss + F.binary_cross_entropy_with_logits(fake_scores, fake))

    for _ in range(2):
        s = next(batch)
        step(for_network, error(network(s.image, s.mask), s))
    for _ in range(2):
        update_critic(next(batch))
    s = next(batch)
    update_critic(s)
    result = network(s.image, s.mask)
    scores = score(result.completed, s)
    fooled = F.binary_cross_entropy_with_logits(scores, torch.ones_like(scores))
    step(for_network, error(result, s) + 0.1 * fooled)
    assert_close(trainer.generator, network, 1e-5)
    assert_close(trainer.critics.joint, critic, 1e-5)
    assert trainer.feed.position == 5 * 4


@pytest.mark.parametrize("output", ["centre", "whole"])
def test_a_step_of_context_encoders(tmp_path, output):
    changes = {"generator__output": "whole", "masks__kind": "region", "critics__channels": "2,2,2,2,2"}
    trainer = make_trainer(tmp_path, recipe="context-encoder", **(changes if output == "whole" else {}))
    trainer.run(1)
    config = trainer.config
    torch.manual_seed(config.seed)
    network, critic = ContextEncoder(config.generator), ContextEncoderCritic(config.critics.channels)
    for_network = torch.optim.Adam(network.parameters(), lr=2e-3, betas=(0.5, 0.999))
    for_critic = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
    s = next(batches(trainer))
    near = slice(32, 96) if output == "centre" else slice(None)
    target = s.image[..., near, near]

    def predict():
        fill = 2 * torch.tensor([117.0, 104.0, 123.0]).view(3, 1, 1) / 255 - 1
        return network.predict(torch.where(s.mask, fill, s.image))

    with torch.no_grad():
        fake = predict()
    real_scores, fake_scores = critic(target), critic(fake)
    loss = F.binary_cross_entropy_with_logits(real_scores, torch.ones_like(real_scores))
    step(for_critic, loss + F.binary_cross_entropy_with_logits(fake_scores, torch.zeros_like(fake_scores)))
    output = predict()
    weights = torch.where(s.mask[..., near, near], 1.0, 10.0)
    scores = critic(output)
    fooled = F.binary_cross_entropy_with_logits(scores, torch.ones_like(scores))
    step(for_network, 0.999 * (weights * (output - target) ** 2).mean() + 0.001 * fooled)
    # Biases before a normalisation are cancelled by it: none here. Adam's first step is its rate.
    assert_close(trainer.generator, network, 1e-5)
    assert_close(trainer.critics.patch, critic, 1e-5)


# ------------------------------------------------------------------------------------------------------------
# Runs


@pytest.fixture(scope="module", params=NEW)
def whole_run(request, tmp_path_factory):
    """Four steps in one go: the recipe and the folder."""
    out = tmp_path_factory.mktemp("whole")
    assert make_trainer(out, recipe=request.param).run()
    return request.param, out


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_four_steps_are_some_and_the_rest(whole_run, tmp_path, stop):
    recipe, out = whole_run
    make_trainer(tmp_path, recipe=recipe).run(stop)
    resumed = make_trainer(tmp_path, resume=True, recipe=recipe)
    assert resumed.step == stop
    assert resumed.run()
    assert losses(tmp_path) == losses(out)
    last, whole = (load_checkpoint(each / "checkpoints/step_000000004.ckpt") for each in (tmp_path, out))
    assert_equal(last, whole)


PATCH = {"patch_hinge", "patch_real", "patch_fake", "patch_adversarial"}
STRUCTURE = {"l1", "gradient", "error", "hole_l1"}
# Of each of the four steps.
TERMS = {
    "sn-patchgan": 4 * [PATCH | {"refined_l1", "coarse_l1", "hole_l1"}],
    "iizuka": [
        {"hole_l2", "hole_l1"},
        {"joint_critic"},
        *(2 * [{"hole_l2", "hole_l1", "joint_critic", "joint_adversarial"}]),
    ],
    "context-encoder": 4 * [{"patch_critic", "patch_l2", "patch_adversarial", "hole_l1"}],
    "structure": 2 * [STRUCTURE] + 2 * [STRUCTURE | PATCH],
}


def test_a_run_leaves_its_losses_and_its_model(whole_run):
    recipe, out = whole_run
    terms = [line.keys() - {"step"} for line in losses(out)]
    assert terms == TERMS[recipe]
    config = tiny(recipe)
    network = load_model(out / "model")
    assert network.config == config.generator
    assert not network.training
    state = load_checkpoint(out / "checkpoints/step_000000004.ckpt")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state["average"][f"module.{name}"]), name
    if config.optimiser.average == 0:  # the network itself, with the statistics of its own activations
        for name, tensor in state["generator"].items():
            assert torch.equal(tensor, state["average"][f"module.{name}"]), name


@pytest.mark.parametrize("recipe", NEW)
@pytest.mark.parametrize("changes", [{"precision": "bf16-mixed"}, {"optimiser__accumulate": "2"}])
def test_variants_take_a_step(tmp_path, recipe, changes):
    trainer = make_trainer(tmp_path, recipe=recipe, **changes)
    assert trainer.run(3)
    assert all(abs(value) < 100 for line in losses(tmp_path) for value in line.values())


POISONED = {
    "sn-patchgan": (patch_gan, "hinge_critic_loss", "patch_hinge of the critics' update"),
    "iizuka": (iizuka, "cross_entropy_critic_loss", "joint_critic of the critics' update"),
    "context-encoder": (context_encoder, "weighted_l2", "patch_l2 of the generator's update"),
    "structure": (structure, "_gradient_l1", "gradient of the generator's update"),
}


@pytest.mark.parametrize("recipe", NEW)
def test_nan_is_named(tmp_path, monkeypatch, recipe):
    module, name, says = POISONED[recipe]
    loss = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *arguments: loss(*arguments) * float("nan"))
    first = 2 if recipe == "iizuka" else 1
    with pytest.raises(NotFinite, match=f"step {first}: the term {says} is nan"):
        make_trainer(tmp_path, recipe=recipe).run()


def test_parts_of_a_batch_that_decide_cannot_change(whole_run):
    recipe, out = whole_run
    with pytest.raises(ValueError, match=r"^optimiser\.accumulate: 1 became 2 .* data\.cache alone"):
        make_trainer(out, resume=True, recipe=recipe, optimiser__accumulate="2")


def test_a_checkpoint_of_another_recipe_is_refused(whole_run):
    recipe, out = whole_run
    with pytest.raises(ValueError, match=f"^recipe: '{recipe}' became 'wasserstein' since the checkpoint"):
        make_trainer(out, resume=True)
