"""Several processes: the numbers of one, exact resumption, signals, machines."""

import os
import shutil
import signal
import socket
import time

import pytest
import torch
from helpers.runs import (
    FAMILIES,
    SETTINGS,
    assert_equal,
    end,
    forkserver,
    losses,
    make_trainer,
    start,
    tiny,
    train_command,
    wait_for,
)
from lightning_fabric import Fabric

from contextual_attention.cli import main
from contextual_attention.files import remove
from contextual_attention.models.training.checkpoint import load_checkpoint
from contextual_attention.models.training.run_log import read_validation
from contextual_attention.models.training.trainer import Trainer

PROCESSES = 2


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def take_part(rank, port, threads, arguments):
    """A process of torchrun's, without torchrun, which would import torch in each of them once more."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "tests",
        "WORLD_SIZE": str(PROCESSES), "LOCAL_WORLD_SIZE": str(PROCESSES),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(threads)
    raise SystemExit(main(arguments))


class Group:
    """Two processes that train together."""

    def __init__(self, out, *arguments, settings=SETTINGS):
        given = train_command(out, *arguments, settings=settings)[2:]
        common = free_port(), torch.get_num_threads(), given
        self.processes = [
            forkserver().Process(target=take_part, args=(rank, *common)) for rank in range(PROCESSES)
        ]
        for process in self.processes:
            process.start()

    def poll(self):
        """As of Popen: None while all of them run."""
        return None if all(process.is_alive() for process in self.processes) else 1

    def wait(self):
        for process in self.processes:
            process.join(300)
        return [process.exitcode for process in self.processes]

    def kill(self):
        for process in self.processes:
            process.kill()
            process.join()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Four steps of two processes in one go."""
    out = tmp_path_factory.mktemp("pair")
    group = Group(out, "--preset", "small")
    try:
        assert group.wait() == [0, 0]
    finally:
        group.kill()
    return out


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Four steps of one process."""
    out = tmp_path_factory.mktemp("single")
    assert Trainer(tiny(), Fabric(accelerator="cpu", devices=1), out).run()
    return out


def assert_close(one, other):
    """Sums in another order. Adam divides by the gradient's own size, which lifts rounding."""
    for step, step_of_other in zip(losses(one), losses(other), strict=False):
        for name, value in step.items():
            assert step_of_other[name] == pytest.approx(value, rel=1e-4, abs=1e-5), (step["step"], name)


def test_two_processes_compute_what_one_does(single, pair):
    assert_close(single, pair)


def test_a_killed_pair_goes_on_as_if_it_had_not_been(pair, tmp_path):
    group = Group(tmp_path, "--preset", "small", settings=SETTINGS | {"steps": "1000", "keep": "100"})
    second, last = (tmp_path / "checkpoints" / f"step_{step:09d}.ckpt" for step in (2, 4))
    try:
        wait_for(second.exists, group)
    finally:
        group.kill()
    for later in second.parent.iterdir():  # a fast machine was further when the kill came
        if later != second:
            remove(later)
    # What a resumed run may change, it takes from its command line.
    group = Group(tmp_path, "--resume", settings={"steps": "4", "keep": "3"})
    try:
        assert group.wait() == [0, 0]
    finally:
        group.kill()
    assert_equal(load_checkpoint(last), load_checkpoint(pair / "checkpoints" / last.name))
    assert losses(tmp_path) == losses(pair)


def test_a_pair_is_resumed_by_one(pair, tmp_path):
    """The position counts the samples of all processes, so that their number may change."""
    for name in ("checkpoints", "losses.jsonl"):
        source = pair / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    remove(tmp_path / "checkpoints" / "step_000000004.ckpt")
    assert Trainer(tiny(), Fabric(accelerator="cpu", devices=1), tmp_path, resume=True).run()
    assert_close(pair, tmp_path)


@pytest.mark.parametrize("recipe", [recipe for recipe in FAMILIES if recipe != "wasserstein"])
def test_two_processes_train_by_every_recipe_as_one_does(tmp_path, recipe):
    """Batch normalisation takes the samples of both. They are stopped and go on between steps 2 and 3."""
    preset, settings = FAMILIES[recipe]
    # Layers that begin with 0 have first gradients of nothing but rounding, which Adam lifts to whole steps.
    rate = {"optimiser.learning_rate": "1e-5"} if recipe == "structure" else {}
    settings = settings | rate
    make_trainer(tmp_path / "single", recipe=recipe, **rate).run()
    pair = tmp_path / "pair"
    for group in (
        lambda: Group(pair, "--preset", preset, settings=settings | {"steps": "2"}),
        lambda: Group(pair, "--resume", settings={"steps": "4"}),
    ):
        running = group()
        try:
            assert running.wait() == [0, 0]
        finally:
            running.kill()
    assert [line["step"] for line in losses(pair)] == [1, 2, 3, 4]
    assert_close(tmp_path / "single", pair)
    states = [load_checkpoint(out / "checkpoints/step_000000004.ckpt") for out in (tmp_path / "single", pair)]
    for name, value in states[0]["average"].items():  # Adam has lifted rounding in the weights
        if "running" in name:
            assert torch.allclose(states[1]["average"][name], value, rtol=0.01, atol=1e-3), name


def test_two_processes_measure_and_stop_by_the_clock_of_the_first(tmp_path):
    """Both stop after the same step, and go on; what is measured in the meantime is what one measures."""
    measured = {"validation.path": "procedural:5", "validation.samples": "7", "validation.every": "1"}
    out = tmp_path / "pair"
    group = Group(out, "--preset", "small", "--minutes", "1e-6", settings=SETTINGS | measured)
    try:
        assert group.wait() == [0, 0]
    finally:
        group.kill()
    assert [line["step"] for line in losses(out)] == [1]
    group = Group(out, "--resume", settings={"steps": "2"})
    try:
        assert group.wait() == [0, 0]
    finally:
        group.kill()
    changes = {name.replace(".", "__"): text for name, text in measured.items()}
    make_trainer(tmp_path / "single", **changes).run(2)
    single, pair = (read_validation(tmp_path / name) for name in ("single", "pair"))
    assert [line["step"] for line in pair] == [1, 2]
    for one, other in zip(single, pair, strict=True):
        assert other["hole_l1"] == pytest.approx(one["hole_l1"], rel=1e-4)
        assert other["hole_psnr"] == pytest.approx(one["hole_psnr"], rel=1e-4)


def torchrun(*options):
    return ["-m", "torch.distributed.run", *options]


def test_two_machines_compute_what_one_process_does(single, tmp_path):
    """Two launchers, which meet as those of two machines do; each process takes its share in two parts."""
    settings = SETTINGS | {"steps": "1", "optimiser.accumulate": "2"}
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}", "--rdzv-id=tests"]
    launcher = torchrun("--nnodes=2", "--nproc-per-node=1", "--local-addr=127.0.0.1", *meeting)
    machines = [
        start([*launcher, *train_command(tmp_path, "--preset", "small", settings=settings)]) for _ in range(2)
    ]
    try:
        said = [machine.communicate(timeout=300)[0] for machine in machines]
    finally:
        for machine in machines:
            end(machine)
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert sum("step 1 of 1: finished" in text for text in said) == 1  # the first process alone speaks
    assert [line["step"] for line in losses(tmp_path)] == [1]
    assert_close(single, tmp_path)


def test_a_signal_to_torchrun_saves_and_leaves(tmp_path):
    """Schedulers signal the launcher, which hands it on to its processes."""
    settings = SETTINGS | {"steps": "100000", "save_every": "100000"}
    launcher = torchrun("--standalone", f"--nproc-per-node={PROCESSES}")
    process = start([*launcher, *train_command(tmp_path, "--preset", "small", settings=settings)])
    try:
        wait_for(lambda: (tmp_path / "losses.jsonl").exists() and losses(tmp_path), process)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=300)
    finally:
        end(process)
    assert "stopped as asked; go on with --resume" in said
    (saved,) = (tmp_path / "checkpoints").iterdir()
    assert load_checkpoint(saved)["step"] == losses(tmp_path)[-1]["step"]
    # torchrun itself ends with an error that names the signal, not with one of a process.
    assert "SignalException" in said
    assert "ChildFailedError" not in said
