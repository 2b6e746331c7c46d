"""The Triton backend where there is no GPU: in the interpreter, compiled ahead of time, and its plans."""

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from helpers import cut_problems

from contextual_attention import backends
from contextual_attention.interface import Masking, Propagation
from contextual_attention.problem import Problem, scoring
from contextual_attention.stages import Stage
from contextual_attention.testing import make_inputs
from contextual_attention.triton import plan
from contextual_attention.triton.windows import Window

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")

# Bytes of shared memory that a program can have, by compute capability.
SHARED_LIMIT = {80: 166_912, 90: 232_448}
# Two programs of 8 warps share a multiprocessor's 65,536 registers up to this many a thread.
REGISTERS_OF_TWO_PROGRAMS = 128


def python(*arguments, **environment):
    """A fresh interpreter: triton decides at its import whether it interprets."""
    command = [sys.executable, "-W", "ignore", *arguments]
    inherited = {name: x for name, x in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(
        command, cwd=HERE, env=inherited | environment, capture_output=True, text=True, check=False
    )


@needs_triton
def test_in_the_interpreter():
    options = ("-q", "-p", "no:cacheprovider", "--override-ini=addopts=-ra")
    run = python(
        "-m", "pytest", *options, "helpers/triton_interpreted.py", TRITON_INTERPRET="1", OMP_NUM_THREADS="1"
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr


@needs_triton
@pytest.mark.parametrize("capability", SHARED_LIMIT)
def test_compiled_ahead_of_time(capability):
    """One binary for all sizes, nothing spilled to the stack, and two programs fit into a multiprocessor."""
    run = python("helpers/aot_triton.py", str(capability))
    assert run.returncode == 0, run.stderr
    kernels = [json.loads(line) for line in run.stdout.splitlines()]
    assert len({each["kernel"] for each in kernels}) == len(kernels) > 40
    wanting = [
        each
        for each in kernels
        if each["binaries"] != 1
        or each["stack"] > 0
        or each["shared"] > SHARED_LIMIT[capability]
        or each["registers"] > REGISTERS_OF_TWO_PROGRAMS
    ]
    assert not wanting


@needs_triton
def test_import_of_the_package_does_not_import_triton():
    run = python("-c", "import sys, contextual_attention; sys.exit('triton' in sys.modules)")
    assert run.returncode == 0


class TestAbsence:
    """Why there is no Triton backend, where there is none."""

    @pytest.fixture(autouse=True)
    def fresh(self):
        backends._no_triton.cache_clear()
        yield
        backends._no_triton.cache_clear()

    def test_not_installed(self, monkeypatch):
        monkeypatch.setattr(backends, "find_spec", lambda name: None)
        assert backends.available_backends()["triton"] == "triton is not installed: pip install triton"

    def test_no_device(self, monkeypatch):
        monkeypatch.setattr(backends, "find_spec", lambda name: name)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.version, "cuda", None)
        expected = "there is no usable CUDA device, and this torch is built without CUDA"
        assert backends.available_backends()["triton"] == expected

    def test_too_old(self, monkeypatch):
        monkeypatch.setattr(backends, "find_spec", lambda name: name)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
        with pytest.raises(
            RuntimeError, match=r"Tesla T4 has compute capability 7\.5, and triton needs 8\.0"
        ):
            backends.choose("triton", torch.device("cuda"), torch.float32)


def problem(h=12, w=9, hb=10, wb=11, propagation=Propagation.AFTER_ZERO, **changes):
    options = {"softmax_scale": 10.0, "ksize": 3, "stride": 1, "fuse_k": 3, "masking": Masking.EXCLUDE}
    return Problem(8, 32, h, w, hb, wb, propagation=propagation, **options | changes)


WAYS = [
    {"propagation": each, **changes}
    for each in Propagation
    for changes in ({}, {"fuse_k": 7}, {"ksize": 1}, {"stride": 2})
    if each != Propagation.BEFORE_WRAP or "stride" not in changes
]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_plans_keep_to_the_workspace_and_cover_everything(way, backward):
    sizes = problem(40, 30, 35, 33, **way)
    least = plan.least_workspace(sizes, backward)
    for times in (1, 1.3, 3, 10, 100):
        found = plan.make_plan(sizes, 3, int(times * least), backward, plan.LEAST_DEFAULT)
        assert found.scratch <= times * least
        covered = [[0] * sizes.w for _ in range(sizes.h)]
        for tile in found.tiles(sizes):
            for row in range(tile.top, tile.top + tile.rows):
                for column in range(tile.left, tile.left + tile.columns):
                    covered[row][column] += 1
        assert all(count == 1 for row in covered for count in row)
        rows = [row for block in found.blocks(sizes) for row in range(block.top, block.top + block.rows)]
        assert rows == list(range(sizes.hb))
        assert found.whole_background == (len(list(found.blocks(sizes))) == 1)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_stages_fit_into_their_slots(way, backward):
    """For every strip of a cut, whatever its place: what the plan takes for a slot is enough."""
    sizes = problem(**way)
    found = plan.cut(sizes, backward, 1, 5, 4, 3)
    passes = (plan.Pass.CENTRES, plan.Pass.BACKWARD) if backward else (
        plan.Pass.STATISTICS, plan.Pass.FORWARD,
    )  # fmt: skip
    for strip in found.strips(sizes):
        for each in passes:
            for name, stage in plan.stages(sizes, each).items():
                area = strip.own_cells() if name is Stage.CELLS else strip.around(stage.p, stage.q)
                area = area.cells() if name is Stage.CELL_GRADIENT else area
                needed = 4 * area.p.pixels * plan.row_length(area.q.pixels)
                assert needed <= found.slots[stage.slot], (each, name)


def test_default_workspace_holds_large_images():
    """4096 x 4096: features of 1024 x 1024, downscaled to 512 x 512, where one row is 537 MB of scores."""
    large = problem(512, 512, 512, 512)
    for backward in (False, True):
        found = plan.make_plan(large, 1, 0, backward, plan.LEAST_DEFAULT)
        assert found.scratch <= plan.LEAST_DEFAULT
    forward = plan.make_plan(large, 1, 0, False, plan.LEAST_DEFAULT)
    pieces = ((forward.rows, large.h), (forward.columns, large.w), (forward.block_rows, large.hb))
    # What strips read around them is less than as much again: 3 rows before and 2 after.
    assert math.prod(min(full, piece + 5) / piece for piece, full in pieces) <= 2


# Some 5,000 took 7.5 s of an H100 that eight tests shared; a session gives a test 40.
MOST_STRIPS_OF_A_TEST = 10_000


@pytest.mark.parametrize("case", cut_problems.CUT, ids=lambda case: case.name)
def test_cut_problems_are_no_hang(case):
    """Of the tests for a GPU, forward and backward, every pass over the strips counted."""
    x = make_inputs(case)["foreground"][:, :, :: case.options.rate, :: case.options.rate]
    samples, channels, h, w = x.shape
    solved = Problem(channels, channels * case.options.rate**2, h, w, h, w, *scoring(case.options))
    least = max(plan.least_workspace(solved, backward) for backward in (False, True))
    for mib in cut_problems.MIB:
        workspace, strips = cut_problems.workspace_of(mib, least), 0
        for backward in (False, True):
            found = plan.make_plan(solved, samples, workspace, backward, plan.LEAST_DEFAULT)
            turns = math.ceil(samples / found.samples) * (1 if found.whole_background else 2)
            strips += turns * len(list(found.strips(solved)))
        assert strips <= MOST_STRIPS_OF_A_TEST


def test_small_maps_are_one_strip_of_all_samples():
    found = plan.make_plan(problem(32, 32, 32, 32), 16, 0, False, plan.LEAST_DEFAULT)
    assert found.samples == 16
    assert len(list(found.strips(problem(32, 32, 32, 32)))) == 1


class TestWindow:
    def test_ends_at_the_map(self):
        window = Window(1, 3, 4, 2, height=6, width=5).around(2, 3)
        assert (window.top, window.left, window.rows, window.columns) == (0, 1, 6, 4)

    def test_cyclic_ones_run_over_the_last_row(self):
        window = Window(0, 0, 2, 5, height=8, width=5, cyclic=True).around(1, 2)
        assert (window.top, window.rows, window.columns) == (7, 5, 5)
        # Rows 7, 0, 1, 2, 3 paste on cell rows 7 and 8, and on 0 to 4.
        assert (window.cells().top, window.cells().rows, window.cells().height) == (7, 7, 9)
        assert Window(3, 0, 2, 5, 8, 5, True).around(4, 4).rows == 8
        assert Window(0, 0, 2, 2, 8, 5, True).around(1, 1).left == 4

    def test_picks_what_it_covers(self):
        x = torch.arange(20).view(1, 4, 5, 1)
        picked = Window(3, 4, 2, 3, 4, 5, True).pick(x)
        assert picked[0, :, 0].tolist() == [19, 15, 16, 4, 0, 1]

    def test_each_cell_belongs_to_one_tile(self):
        tiles = [Window(top, 0, 2, 3, 4, 3).own_cells() for top in (0, 2)]
        assert [(each.top, each.rows, each.columns) for each in tiles] == [(0, 2, 4), (2, 3, 4)]
