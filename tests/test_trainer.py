"""The trainer: algorithm 1 against a plain loop, exact resumption, and every way in which a run may end."""

import itertools
import os
import signal
import time

import pytest
import torch
from helpers.runs import (
    SETTINGS,
    assert_equal,
    end,
    losses,
    make_trainer,
    start,
    tiny,
    train_command,
    wait_for,
)

from contextual_attention.files import remove
from contextual_attention.models.data.samples import Stream, collate
from contextual_attention.models.evaluation.evaluate import model_method
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.training.adversarial import (
    gradient_penalty,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
)
from contextual_attention.models.training.checkpoint import CheckpointError, Checkpoints, load_checkpoint
from contextual_attention.models.training.losses import discounted_l1
from contextual_attention.models.training.recipes import wasserstein
from contextual_attention.models.training.recipes.wasserstein import Critics
from contextual_attention.models.training.run_log import read_losses
from contextual_attention.models.training.trainer import NotFinite


def weights(trainer):
    return {
        f"{network}.{name}": tensor.clone()
        for network in ("generator", "critics", "average")
        for name, tensor in getattr(trainer, network).state_dict().items()
    }


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """Four steps in one go: the folder and the weights."""
    out = tmp_path_factory.mktemp("whole")
    trainer = make_trainer(out)
    assert trainer.run()
    return out, weights(trainer)


# ------------------------------------------------------------------------------------------------------------
# What a step computes


def test_a_step_is_algorithm_1(tmp_path):
    """Written out once more, without Fabric, feed and terms: the same weights to rounding."""
    config = tiny()
    trainer = make_trainer(tmp_path)
    trainer.run(1)

    torch.manual_seed(config.seed)
    generator, critics = InpaintGenerator(config.generator), Critics(config)
    adam = {"lr": 5e-4, "betas": (0.5, 0.9)}
    for_generator = torch.optim.Adam(generator.parameters(), **adam)
    for_critics = torch.optim.Adam(critics.parameters(), **adam)
    places = itertools.chain.from_iterable(Stream(len(trainer.samples), config.seed, chunk=4))
    batch = lambda: collate([trainer.samples[next(places)] for _ in range(4)])  # noqa: E731

    def crop(images, s):
        corners = s.box[:, :2].tolist()
        return torch.stack([x[:, t : t + 12, c : c + 12] for x, (t, c) in zip(images, corners, strict=True)])

    for _ in range(5):
        s = batch()
        with torch.no_grad():
            fake = generator(s.image, s.mask).completed
        loss = 0
        for critic, view in ((critics.local, crop), (critics.whole, lambda x, s: x)):
            real_view, fake_view, hole = view(s.image, s), view(fake, s), view(s.mask, s)
            loss = loss + wasserstein_critic_loss(critic(real_view), critic(fake_view))
            loss = loss + 10 * gradient_penalty(critic, real_view, fake_view, hole, position=s.blend)
        for_critics.zero_grad()
        loss.backward()
        for_critics.step()
    s = batch()
    result = generator(s.image, s.mask)
    loss = 0
    for output, factor in ((result.refined, 1.2), (result.coarse, 1.2 * 1.2)):
        loss = loss + factor * discounted_l1(output, s.image, s.discount * s.mask)
        loss = loss + factor * discounted_l1(output, s.image, ~s.mask)
    loss = loss + 0.001 * wasserstein_generator_loss(critics.local(crop(result.completed, s)))
    loss = loss + 0.001 * wasserstein_generator_loss(critics.whole(result.completed))
    loss.backward()
    for_generator.step()

    # Sums in another order: gradients that cancel may differ in sign, and Adam's first step is its rate.
    for name, expected in generator.state_dict().items():
        assert (trainer.generator.state_dict()[name] - expected).abs().max() < 1e-6, name
    for name, expected in critics.state_dict().items():
        assert (trainer.critics.state_dict()[name] - expected).abs().max() < 1e-6, name


def test_the_average_follows_the_weights(tmp_path):
    trainer = make_trainer(tmp_path, optimiser__average="0.75")
    name, parameter = next(iter(trainer.generator.named_parameters()))
    expected = None
    for _ in range(3):
        trainer.iterate()
        now = parameter.detach().double()
        expected = now if expected is None else 0.75 * expected + 0.25 * now
    averaged = dict(trainer.average.module.named_parameters())[name]
    assert torch.allclose(averaged.double(), expected, atol=1e-7)


def test_parts_of_a_batch_add_up(tmp_path):
    """Two halves: the same losses to rounding."""
    whole, halves = make_trainer(tmp_path / "a"), make_trainer(tmp_path / "b", optimiser__accumulate="2")
    first, second = whole.iterate(), halves.iterate()
    assert whole.feed.position == halves.feed.position == 24
    for one, other in zip(first, second, strict=True):
        for name, value in one.items():
            assert float(other[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16-mixed"},
        {"loss__clip": "0.01"},
        {"masks__kind": "free-form"},
        {"masks__kind": "boxes", "generator__attention": "None"},
        {"data__workers": "1", "generator__attention": "yu2018", "generator__padding": "same"},
    ],
    ids=lambda changes: ",".join(changes.values()),
)
def test_variants_take_a_step(tmp_path, changes):
    trainer = make_trainer(tmp_path, show_every="1", **changes)
    assert trainer.run(1)
    (line,) = losses(tmp_path)
    assert all(abs(value) < 100 for value in line.values())
    if "loss__clip" in changes:
        assert all(parameter.abs().max() <= 0.01 for parameter in trainer.critics.parameters())


def test_a_batch_that_cannot_be_shared(tmp_path):
    with pytest.raises(ValueError, match=r"optimiser\.batch: expected a multiple of .* 1 x 3, got 4"):
        make_trainer(tmp_path, optimiser__accumulate="3")


# ------------------------------------------------------------------------------------------------------------
# What it leaves behind


def test_a_run_leaves_losses_pictures_checkpoints_and_the_model(whole_run):
    out, final = whole_run
    lines = read_losses(out)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {"local_distance", "whole_distance", "refined_l1", "hole_l1", "seconds"} <= lines[0].keys()
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == [
        "step_000000002.ckpt",
        "step_000000004.ckpt",
    ]
    assert [path.name for path in (out / "samples").iterdir()] == ["step_000000003.png"]
    assert any(path.stat().st_size > 1000 for path in (out / "tensorboard").iterdir())
    generator = InpaintGenerator.from_pretrained(out / "model")
    assert generator.config == tiny().generator
    for name, weight in generator.state_dict().items():
        assert torch.equal(weight, final[f"average.module.{name}"])
    assert callable(model_method(str(out)))


def test_a_checkpoint_holds_the_whole_state(whole_run):
    state = load_checkpoint(whole_run[0] / "checkpoints" / "step_000000004.ckpt")
    assert state["step"] == 4
    assert state["position"] == 4 * 6 * 4
    assert state["pictures"] == 10
    assert state["config"]["optimiser"]["batch"] == 4


# ------------------------------------------------------------------------------------------------------------
# Stopping and going on


def test_four_steps_are_two_and_two(whole_run, tmp_path):
    make_trainer(tmp_path).run(2)
    resumed = make_trainer(tmp_path, resume=True)
    assert resumed.step == 2
    assert resumed.run()
    assert_same(weights(resumed), whole_run[1])
    assert losses(tmp_path) == losses(whole_run[0])
    last = os.path.join("checkpoints", "step_000000004.ckpt")
    assert_equal(load_checkpoint(tmp_path / last), load_checkpoint(whole_run[0] / last))


def test_a_killed_run_goes_on_as_if_it_had_not_been(whole_run, tmp_path):
    process = start(train_command(tmp_path, "--preset", "small", settings=SETTINGS | {"steps": "1000"}))
    try:
        wait_for((tmp_path / "checkpoints" / "step_000000002.ckpt").exists, process)
    finally:
        end(process)
        process.wait()
    for later in (tmp_path / "checkpoints").glob("step_*.ckpt"):
        if later.name > "step_000000002.ckpt":  # a fast machine was further when the kill came
            remove(later)
    resumed = make_trainer(tmp_path, resume=True)
    assert resumed.step == 2
    assert resumed.run()
    assert_same(weights(resumed), whole_run[1])
    assert losses(tmp_path) == losses(whole_run[0])


@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]],
    ids=lambda numbers: "+".join(number.name for number in numbers),
)
def test_a_signal_saves_and_leaves(tmp_path, numbers):
    """Sent to the whole group: a worker that ended by it would take the step, and with it the save, along."""
    # A step of some seconds, so that the second signal of two still meets it.
    long = {"steps": "100000", "save_every": "100000", "data.workers": "1", "optimiser.critic_updates": "50"}
    process = start(train_command(tmp_path, "--preset", "small", settings=SETTINGS | long))
    try:
        wait_for(lambda: (tmp_path / "losses.jsonl").exists() and losses(tmp_path), process)
        for number in numbers:
            os.killpg(process.pid, number)
            time.sleep(0.2)
        said, _ = process.communicate(timeout=300)
    finally:
        end(process)
    assert process.returncode == 0, said
    assert "stopped as asked; go on with --resume" in said
    (saved,) = (tmp_path / "checkpoints").iterdir()
    assert load_checkpoint(saved)["step"] == losses(tmp_path)[-1]["step"]


def test_a_time_that_is_over_stops_as_a_signal_does(whole_run, tmp_path):
    """After the step that it ends in; time changes nothing of what is computed."""
    trainer = make_trainer(tmp_path, save_every="100")
    assert not trainer.run(ends=time.monotonic())
    assert trainer.is_late
    assert trainer.step == 1
    assert load_checkpoint(trainer.checkpoints.newest())["step"] == 1
    resumed = make_trainer(tmp_path, resume=True)
    assert resumed.run(ends=time.monotonic() + 3600)
    assert not resumed.is_late
    assert_same(weights(resumed), whole_run[1])


def test_the_last_step_is_the_end_whatever_the_time(tmp_path):
    assert make_trainer(tmp_path, steps="1").run(ends=time.monotonic())


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_nan_in_a_loss_stops_and_names_step_and_term(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path)
    trainer.run(2)
    before = contents(tmp_path / "checkpoints")
    terms = wasserstein.generator_terms

    def poisoned(*arguments):
        return terms(*arguments) | {"coarse_l1": torch.tensor(float("nan"), requires_grad=True)}

    monkeypatch.setattr(wasserstein, "generator_terms", poisoned)
    with pytest.raises(NotFinite, match="step 3: the term coarse_l1 of the generator's update is nan"):
        trainer.run()
    assert contents(tmp_path / "checkpoints") == before
    monkeypatch.undo()
    assert make_trainer(tmp_path, resume=True).run(3)


def test_the_first_nan_of_a_step_is_the_one_named(tmp_path, monkeypatch):
    """The penalty of the first update spoils the critics' weights, and with them every later term."""
    calls = itertools.count()
    penalty = wasserstein.gradient_penalty

    def poisoned(*arguments, **options):
        return penalty(*arguments, **options) * (float("nan") if next(calls) == 0 else 1)

    monkeypatch.setattr(wasserstein, "gradient_penalty", poisoned)
    with pytest.raises(NotFinite, match="step 1: the term local_penalty of update 1 of the critics is nan"):
        make_trainer(tmp_path).run()


@pytest.mark.parametrize("echo", ["1", "2"])
def test_nan_ends_a_run_that_has_workers(tmp_path, echo):
    """They take no signals: if anything held their loader, the command would wait for them for ever."""
    changes = {"data.workers": "1", "data.echo": echo, "optimiser.learning_rate": "1e30"}
    run = start(train_command(tmp_path, settings=SETTINGS | changes))
    try:
        said, _ = run.communicate(timeout=120)
    finally:
        end(run)
    assert run.returncode == 2, said
    assert "nothing is saved" in said


def test_learning_rates_fall(tmp_path):
    """From a step on, along a line, of both networks; and as far when the run is taken up again."""
    changes = {
        "optimiser__decay_start": "1",
        "optimiser__decay_steps": "4",
        "optimiser__learning_rate": "8e-4",
    }
    found = []

    def look(trainer, until):
        while trainer.step < until:
            before = weights(trainer)
            trainer.iterate()
            optimisers = trainer.generator_optimiser, trainer.critic_optimiser
            found.append([optimiser.param_groups[0]["lr"] for optimiser in optimisers])
            learnt = {
                name.split(".")[0] for name, x in weights(trainer).items() if not torch.equal(x, before[name])
            }
            assert ({"generator", "critics"} & learnt == set()) == (found[-1] == [0, 0])

    trainer = make_trainer(tmp_path, steps="5", **changes)
    look(trainer, 3)
    trainer.save()
    look(make_trainer(tmp_path, resume=True, steps="5", **changes), 6)
    assert found == [pytest.approx([rate, rate]) for rate in (8e-4, 8e-4, 6e-4, 4e-4, 2e-4, 0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay_start": "2"}, r"optimiser\.decay_start: expected 0 without optimiser\.decay_steps, got 2"),
        ({"decay_steps": "3"}, r"steps: expected at most 3, where learning rates have fallen to 0, got 4"),
        ({"decay_start": "4", "decay_steps": "3"}, r"optimiser\.decay_start: expected at most 3, got 4"),
        ({"decay_steps": "-1"}, r"optimiser\.decay_steps: expected at least 0, got -1"),
    ],
)
def test_decays_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**{f"optimiser__{name}": text for name, text in changes.items()})


def test_nan_in_a_weight_is_not_saved(tmp_path):
    trainer = make_trainer(tmp_path)
    with torch.no_grad():
        trainer.critics.whole.score.bias.fill_(float("inf"))
    with pytest.raises(NotFinite, match=r"step 0: the weight whole\.score\.bias"):
        trainer.save()
    assert not (tmp_path / "checkpoints").exists()


def test_runs_are_not_mixed_up(whole_run, tmp_path):
    with pytest.raises(ValueError, match=r"out: .*step_000000004\.ckpt is of another run"):
        make_trainer(whole_run[0])
    with pytest.raises(ValueError, match="resume: there is no checkpoint in"):
        make_trainer(tmp_path, resume=True)
    shown = str(whole_run[0] / "samples")
    with pytest.raises(ValueError, match="data: the run was trained on 10 pictures, but there are 1"):
        make_trainer(whole_run[0], resume=True, data__path=shown)


def test_what_decides_the_numbers_cannot_change(whole_run):
    with pytest.raises(ValueError, match=r"^loss\.gamma: 0\.99 became 0\.9; seed: 0 became 1 since the"):
        make_trainer(whole_run[0], resume=True, loss__gamma="0.9", seed="1")
    changes = {"steps": "9", "keep": "1", "data__workers": "1", "optimiser__accumulate": "2"}
    assert make_trainer(whole_run[0], resume=True, **changes).step == 4


def without(name):
    return lambda state: state.pop(name)


def nan_in_a_weight(state):
    next(iter(state["generator"].values())).fill_(float("nan"))


def another_shape(state):
    name = next(iter(state["critics"]))
    state["critics"][name] = state["critics"][name][:1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("position"), "lacks 'position'"),
        (without("config"), "lacks 'config'"),
        (without("random"), "lacks 'random'"),
        (nan_in_a_weight, r"its weight coarse\.0\.weight is not finite"),
        (another_shape, r"Error\(s\) in loading state_dict for Critics"),
        (lambda state: state.update(config=[1]), "expected settings by name"),
        (lambda state: state.update(step="two"), "invalid literal for int"),
    ],
)
def test_a_state_of_something_else_is_named(whole_run, tmp_path, change, says):
    newest = whole_run[0] / "checkpoints" / "step_000000004.ckpt"
    state = load_checkpoint(newest)
    change(state)
    Checkpoints(tmp_path / "checkpoints", keep=1).save(4, state)
    expected = rf"step_000000004\.ckpt: not the state of this run \(.*{says}.*; remove it to go on from"
    with pytest.raises(CheckpointError, match=expected):
        make_trainer(tmp_path, resume=True)
