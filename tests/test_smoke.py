"""The smoke step of a session on a GPU, with faults planted: none is lost, each is named with its stage.

Children find the trials below by this module.
"""

import functools
import itertools
import math
import os
import signal
import stat
import sys
import time
from dataclasses import dataclass, replace

import pytest
import torch

from contextual_attention import available_backends, backends, cells, features, fused
from contextual_attention.interface import ATTEND_MAP
from contextual_attention.options import Options
from contextual_attention.problem import Problem, scoring
from contextual_attention.testing import Case, call_of, make_inputs
from contextual_attention.triton import plan as triton_plan
from tools.gpu import ROOT, isolation, sanitizer, smoke
from tools.gpu.records import Records, last_states, read
from tools.gpu.trials import again, dense_operator, stages
from tools.gpu.trials.cases import TRIALS, Trial
from tools.gpu.trials.runs import LINE, Runs, run_here

BY_NAME = {trial.name: trial for trial in TRIALS}
DENSE = stages.Operator("dense", dense_operator.attend, dense_operator.attend_backward)


def lose_the_context():
    isolation.context_is_lost = lambda: True
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def fail():
    raise ValueError(f"two\nlines of {ROOT}/a.py")


@dataclass
class Told:
    is_good: bool = True

    def why(self):
        return "off by much"

    def summary(self):
        return "as it should be"

    def data(self):
        return {"found": 1.5}


@dataclass(frozen=True)
class Planted:
    """A trial in which something happens."""

    name: str

    def run(self, backend, device):
        deeds = {
            "crash": os.abort,
            "hang": functools.partial(time.sleep, 60),
            "lost context": lose_the_context,
            "raise": fail,
        }
        deeds.get(self.name, lambda: None)()
        return Told(is_good=self.name != "wrong")


@pytest.fixture
def runs(tmp_path):
    return Runs(Records(tmp_path / "records.jsonl", "smoke"), "cpu", "cpu", time.monotonic() + 60, limit=2)


def told(runs):
    return {what: record for (_, what), record in last_states(read(runs.records.path)).items()}


def test_what_ends_a_process_ends_its_own_trial_alone(runs, capfd):
    names = ["right", "wrong", "crash", "raise", "lost context", "hang", "last"]
    states = runs.run([Planted(name) for name in names])
    assert [name for name in names if states[name] == "passed"] == ["right", "last"]
    assert [name for name in names if states[name] == "failed"] == names[1:-1]
    found = told(runs)
    assert found["cpu wrong"]["why"] == "off by much"
    assert found["cpu wrong"]["found"] == found["cpu right"]["found"] == 1.5
    assert found["cpu crash"]["why"].startswith("killed by SIGABRT, in run [test_smoke.py:")
    assert found["cpu raise"]["why"].startswith("ValueError: two lines of a.py [test_smoke.py:")
    assert "an illegal memory access" in found["cpu lost context"]["why"]
    assert found["cpu hang"]["why"].startswith("hung for 2 s, in run [test_smoke.py:")
    lines = capfd.readouterr().out.splitlines()
    assert [line[:22].split()[1] for line in lines] == [
        *("passed", "FAILED", "FAILED", "FAILED", "FAILED", "FAILED", "passed")
    ]
    assert all(len(line) <= LINE for line in lines)


def test_no_trial_begins_when_no_time_is_left(runs, capfd):
    late = Runs(runs.records, "cpu", "cpu", end=time.monotonic())
    assert late.run([Planted("right")]) == {"right": "left out"}
    assert told(late)["cpu right"]["why"] == "no time was left"
    assert capfd.readouterr().out == "cpu left out 1 cases: no time was left\n"


def test_a_backend_that_does_not_exist_here_is_said_once(runs, capfd):
    gone = Runs(runs.records, "triton", "cuda", runs.end)
    assert set(gone.run([Planted("right"), Planted("last")]).values()) == {"left out"}
    failed = [record for record in told(gone).values() if record["state"] == "failed"]
    assert [record["why"].split(" [")[0] for record in failed] == [
        f"RuntimeError: triton: {available_backends()['triton']}"
    ]
    out, error = capfd.readouterr()
    assert out.startswith("triton left out 2 cases: RuntimeError: triton: there is no")
    assert len(out.splitlines()) == 1
    assert "Traceback" not in error


# Of an H100 and an H200: bytes of level 2 cache and, about, of memory.
L2, MEMORY = 50 * 2**20, 80 * 2**30
# Tiles that a run may have, over both passes and all samples. On CUDA one takes the host 50 to 200 us; on
# Triton a strip takes a dozen launches of 20 us, or two with the backward.
MOST = {"cuda": 3000, "triton": 500}


@dataclass
class Planned:
    """How a run of a trial is cut by a planner: the tile, and the maps that it is cut from."""

    tile: tuple[int, ...]
    maps: tuple[int, ...]
    samples: int

    @property
    def way(self):
        if self.tile == self.maps:
            return "whole"
        return "tiles" if self.tile[2:] == self.maps[2:] else "two passes"

    @property
    def tiles(self):
        counts = [-(-full // piece) for piece, full in zip(self.tile, self.maps, strict=True)]
        return math.prod(counts) * self.samples * (2 if self.way == "two passes" else 1)


def plan_of(module, backend, trial, kib, backward):
    """As the operators ask for it."""
    problem = make_inputs(trial.case, trial.dtype)
    call = call_of(problem)
    given, _ = fused.operands(call, features.TENSOR_CODE)
    solved = Problem.of(given, scoring(call.options))
    bound = kib and kib * 1024
    if backend == "triton":
        default = triton_plan.default_workspace(MEMORY)
        found = triton_plan.make_plan(solved, solved.batch, bound or 0, backward, default)
        tile = (found.rows, found.columns, found.block_rows, solved.wb)
        assert found.whole_background == (found.block_rows >= solved.hb)
    else:
        workspace = bound or module.default_cuda_workspace(MEMORY)
        found = module.plan(solved, workspace, L2, backward)
        assert found["samples"] > 0
        tile = (*found["foreground"], *found["background"])
    return Planned(tile, (solved.h, solved.w, solved.hb, solved.wb), solved.batch)


@pytest.mark.parametrize("backend", ["cuda", "triton"])
@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_each_trial_is_cut_as_it_says(cuda_module, trial, backend):
    for cut in trial.cuts:
        own = plan_of(cuda_module, backend, trial, cut.kib, cut.learns)
        assert own.way == cut.way, f"{cut}: {own}"
        # Its forward, too, which takes place in the same workspace.
        forward = plan_of(cuda_module, backend, trial, cut.kib, backward=False)
        assert forward.tiles + (own.tiles if cut.learns else 0) <= MOST[backend], cut
        assert (forward.way == "whole") == (cut.way == "whole"), f"{cut}: its forward {forward}"


def test_every_way_of_cutting_has_a_trial(cuda_module):
    """For a propagation before and after the softmax, and for logits that have no bound."""
    ways = {(way, learns) for way in ("tiles", "two passes") for learns in (False, True)}
    for name in ("tiles float32", "tiles, wrap bfloat16", "saturated float32"):
        assert {(cut.way, cut.learns) for cut in BY_NAME[name].cuts} >= ways
    assert BY_NAME["tiles float32"].case.options.propagation == "after"
    for name in ("tiles, wrap bfloat16", "saturated float32"):
        options = BY_NAME[name].case.options
        # csrc/cuda/tile_stages.h: the forward's tiles then lie in pieces.
        assert (options.boundary, options.ksize, options.fuse_k) == ("wrap", 3, 3)
    # Along both sides of both maps, forward and backward.
    for learns in (False, True):
        axes = {
            axis
            for trial in TRIALS
            for cut in trial.cuts
            if cut.learns == learns
            for plan in [plan_of(cuda_module, "cuda", trial, cut.kib, learns)]
            for axis, (piece, full) in enumerate(zip(plan.tile, plan.maps, strict=True))
            if piece < full
        }
        assert axes == {0, 1, 2, 3}


SMALL = Case("small", (2, 3, 14, 12), mask="hole", options=Options())
HOST = "attend_on_host"


def faulty(operator, forward=None, backward=None):
    """The operator, with something done to what it returns."""

    def change(function, fault):
        def changed(*arguments):
            results = tuple(x.clone() for x in function(*arguments))
            fault(*results)
            return results

        return function if fault is None else changed

    return stages.Operator("faulty", change(operator.forward, forward), change(operator.backward, backward))


def wrong_stages(case, operator, judge, dtype=torch.float32, **keywords):
    problem = make_inputs(case, dtype, requires_grad=True)
    return [str(each) for each in stages.Examined(problem, "cpu", operator, **keywords).wrong(judge)]


@pytest.fixture(params=["host loops", "dense"])
def judge(request, cuda_on_host):
    return stages.registered(HOST) if request.param == "host loops" else DENSE


@pytest.mark.parametrize(
    "name",
    [
        *("paper bfloat16", "tiles float32", "tiles, wrap bfloat16", "stride 2 float32"),
        *("value at 2x float32", "rebuild float32", "daa233 float32"),
    ],
)
def test_nothing_is_wrong_of_a_right_backend(judge, name):
    """The CPU's rows have other offsets than the CUDA pipeline's; and the judges agree with each other."""
    trial = BY_NAME[name]
    offsets = trial.dtype == torch.float32  # without them half precision stores weights in another way
    for operator in (stages.registered("attend"), stages.registered(HOST)):
        assert wrong_stages(trial.case, operator, judge, trial.dtype, return_offsets=offsets) == []


def shift_rows(summed, offsets, statistics):
    statistics[1, 1, 2:4, 3] *= 1.01


def spoil_totals(summed, offsets, statistics):
    statistics[:, 2, ::2] *= 1.01


def spoil_cells(summed, offsets, statistics):
    summed[0, 5, 6, 1::4] = torch.nan


def move_offsets(summed, offsets, statistics):
    offsets[0, 1, 4] += 1


def spoil_alpha(foreground, background, alpha, beta, value):
    alpha[1, 6] *= 1.01


def lose_value(foreground, background, alpha, beta, value):
    value.zero_()


@pytest.mark.parametrize(
    ("forward", "backward", "stage", "place"),
    [
        (shift_rows, None, "row sums", "2.4% wrong, sample 1 of 2, row 2,3 of 7, column 3 of 6,"),
        (spoil_totals, None, "sums of propagated weights", "57% wrong, row 0..6 step 2 of 7,"),
        (spoil_cells, None, "cells", "sample 0 of 2, row 5 of 8, column 6 of 7, channel 1,5,9 of 12,"),
        (spoil_cells, None, "cells", "at (0, 5, 6, 1), 3 NaN or inf"),
        (None, spoil_alpha, "gradient of alpha by the operator", "sample 1 of 2, row 6 of 7,"),
        (None, lose_value, "gradient of value by the operator", "0 for"),
    ],
)
def test_a_fault_of_the_operator_is_named_with_its_place(judge, forward, backward, stage, place):
    operator = faulty(stages.registered(HOST), forward, backward)
    (found,) = wrong_stages(SMALL, operator, judge)
    assert found.startswith(stage)
    assert place in found


def test_wrong_offsets_are_told_by_the_host_loops(cuda_on_host):
    host = stages.registered(HOST)
    (found,) = wrong_stages(SMALL, faulty(host, move_offsets), host)
    assert found.startswith(
        "offsets to the largest weight: 3.6% wrong, sample 0 of 2, channel 1 of 2, row 4 of 7,"
    )


def test_a_wrong_forward_hides_no_wrong_backward(judge):
    operator = faulty(stages.registered(HOST), shift_rows, spoil_alpha)
    found = wrong_stages(SMALL, operator, judge)
    assert [each.split(" ")[0] for each in found] == ["row", "gradient"]


def test_wrong_operands_come_first(judge, monkeypatch):
    """Everything after them is judged by the operands that the device has."""
    moved = stages.moved

    def spoiled(problem, device):
        there = moved(problem, device)
        background = there["background"].detach().clone()
        background[0, :, 10, 8] += 1
        return {**there, "background": background.requires_grad_()}

    monkeypatch.setattr(stages, "moved", spoiled)
    found = wrong_stages(SMALL, stages.registered(HOST), judge, learns=False)
    assert [each.split(":")[0] for each in found] == ["operand background", "operand beta", "operand value"]
    assert "sample 0 of 2, row 5 of 7, column 4 of 6," in found[0]


def test_a_stage_that_raises_is_named(judge):
    def broken(*arguments):
        raise RuntimeError("no kernel image")

    operator = faulty(stages.registered(HOST), spoil_cells)
    first, last = wrong_stages(SMALL, stages.Operator("broken", operator.forward, broken), judge)
    assert first.startswith("cells")
    assert last.startswith("the operator's backward: RuntimeError: no kernel image [test_smoke.py:")


def test_columns_of_a_lane_are_told():
    options = Options(rate=1)
    case = Case("wide", (1, 2, 3, 4), (2, 135), value=(1, 1), mask=None, options=options)

    def spoil(foreground, background, alpha, beta, value):
        beta[:, 0, 5::32] += 1
        beta[:, 0, 37] -= 1
        beta[:, 0, 38] += 1

    (found,) = wrong_stages(case, faulty(stages.registered("attend"), backward=spoil), DENSE)
    assert "row 0 of 2, column 5 in 5..133 (5,6 mod 32) of 135" in found


@pytest.fixture
def backend(cuda_on_host, monkeypatch):
    """Makes the backend "cuda" one of a fault, judged by the host loops."""
    monkeypatch.setattr(stages, "judge", lambda: stages.registered(HOST))

    def plant(forward=None):
        operator = faulty(stages.registered(HOST), forward)

        def attend_map(*inputs):
            """With the gradients of the right one."""
            given, pasting, scores, how = ATTEND_MAP.unpack(inputs)
            output, _, _ = cuda_on_host.attend(*inputs)
            with torch.no_grad():
                summed, offsets, statistics = operator.forward(*given, *scores, *how)
                off = cells.paste(summed, *pasting) - output
            return output + off, offsets, statistics

        cuda = backends._BACKENDS["cuda"]
        off = replace(cuda, kernels=cuda.kernels._replace(attend_map=attend_map))
        monkeypatch.setitem(backends._BACKENDS, "cuda", off)
        monkeypatch.setattr(stages, "operator_of", lambda backend: operator)

    return plant


@pytest.mark.parametrize(
    "name", ["tiles float32", "tiles, wide bfloat16", "tiles, wrap bfloat16", "saturated float32"]
)
def test_a_right_backend_passes(backend, name):
    backend()
    outcome = BY_NAME[name].run("cuda", "cpu")
    assert outcome.is_good, outcome.why()
    assert outcome.same_bits
    assert outcome.not_finite == 0
    assert all(error <= bound for error, bound in outcome.errors.values())
    assert {"output", "gradient of foreground", "output of the forward alone"} <= outcome.errors.keys()


def test_a_wrong_result_names_the_stage_first(backend, runs, capfd):
    backend(spoil_cells)
    cuda = Runs(runs.records, "cuda", "cpu", runs.end, limit=60)
    assert not run_here(cuda, Trial(replace(SMALL, mask=None)), sys.stderr)
    record = told(cuda)["cuda small float32"]
    assert record["state"] == "failed"
    assert record["why"].startswith("cells (cell sums or second product): ")
    assert "output inf, allowed" in record["why"]
    assert f"judged by {HOST}" in record["why"]
    assert record["not_finite"] > 0
    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith("cuda FAILED small float32          cells (cell sums")
    assert len(line) <= LINE


def test_other_bits_the_second_time_are_a_fault(backend):
    counted = itertools.count(1)

    def drift(summed, offsets, statistics):
        summed *= 1 + 2**-23 * next(counted)

    backend(drift)
    outcome = Trial(SMALL).run("cuda", "cpu")
    assert "other bits the second time" in outcome.complaints
    assert not outcome.same_bits


def test_an_error_is_told_with_what_was_being_done(backend):
    def fail(*results):
        raise RuntimeError("an illegal memory access was encountered")

    backend(fail)
    outcome = Trial(SMALL).run("cuda", "cpu")
    assert outcome.complaints[0].startswith("forward and backward: RuntimeError: an illegal memory access")
    assert outcome.complaints[1:] == ["backward whole"]
    assert outcome.stages[0].startswith("the operator: RuntimeError: an illegal memory access was enc")


def test_a_judge_that_fails_loses_nothing(backend, monkeypatch):
    backend(spoil_cells)
    monkeypatch.setattr(stages, "judge", fail)
    outcome = Trial(SMALL).run("cuda", "cpu")
    assert outcome.why().startswith("the stage was not found: ValueError: two lines of a.py [")
    assert outcome.complaints[0].startswith("output inf, allowed")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_slight_fault_is_beyond_the_bounds(backend, dtype):
    """A third of the weights of one cell are lost."""

    def lessen(summed, offsets, statistics):
        summed[0, 3, 3] *= 0.67

    backend(lessen)
    outcome = Trial(SMALL, dtype).run("cuda", "cpu")
    assert outcome.complaints[0].startswith("output ")
    assert outcome.stages[0].startswith("cells ")


def test_without_host_loops_float64_stands_in(monkeypatch):
    monkeypatch.setattr(stages.emulated, "load_ready_made", lambda: None, raising=False)
    assert stages.judge().name == "float64, there being no host loops"

    def refuse():
        raise ImportError(f"{ROOT}/build/loops.so was built from another state")

    monkeypatch.setattr(stages.emulated, "load_ready_made", refuse, raising=False)
    assert stages.judge().name == "float64, for build/loops.so was built from another state"


# As compute-sanitizer 2025.3 writes it.
SANITIZED = """\
========= COMPUTE-SANITIZER
a line of the program
========= Invalid __global__ read of size 4 bytes
=========     at void walk_paths<DiagonalSum<3>>(T1)+0x5b0 in kernels.cu:41
=========     by thread (3,0,0) in block (7,0,0)
=========     Access to 0x7f2ad1c00004 is out of bounds
=========     and is 5 bytes after the nearest allocation at 0x7f2ad1c00000 of size 4 bytes
=========     Saved host backtrace up to driver entry point at kernel launch time
=========         Host Frame: main [0x1234] in python3
=========
========= Program hit cudaErrorLaunchFailure (error 719) due to "unspecified launch failure"
=========     Saved host backtrace up to driver entry point at error
========= ERROR SUMMARY: 2 errors
"""


def test_the_first_error_of_memcheck_has_kernel_and_place():
    assert sanitizer.parse(SANITIZED.splitlines()).first == (
        "Invalid __global__ read of size 4 bytes; at void walk_paths<DiagonalSum<3>>(T1)+0x5b0 in "
        "kernels.cu:41; by thread (3,0,0) in block (7,0,0); Access to 0x7f2ad1c00004 is out of bounds; and "
        "is 5 bytes after the nearest allocation at 0x7f2ad1c00000 of size 4 bytes"
    )
    assert sanitizer.parse(["========= COMPUTE-SANITIZER", "========= ERROR SUMMARY: 0 errors"]).first == ""


def test_bad_trials_run_again_alone_and_under_memcheck(runs, tmp_path, monkeypatch, capfd):
    """Where there is no GPU a fresh process says so, and a stand-in for the sanitizer what it would."""
    stand_in = tmp_path / "compute-sanitizer"
    stand_in.write_text(f"#!/bin/sh\ncat <<'END'\n{SANITIZED}END\nenv | grep -c CACHING\nexit 1\n")
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    cuda, log = Runs(runs.records, "cuda", "cuda", runs.end), tmp_path / "memcheck.log"
    log.write_text("earlier\n")
    again.run_again(cuda, [BY_NAME["tiles float32"]], log, seconds=60)
    found = told(cuda)
    assert found["cuda tiles float32, memcheck"]["why"].startswith("Invalid __global__ read of size 4 bytes")
    alone = found["cuda tiles float32, launch blocking"]
    assert alone["state"] == "failed"
    assert "CUDA" in alone["why"]
    assert log.read_text().startswith("earlier\n===== cuda tiles float32\n========= COMPUTE-SANITIZER")
    assert "\n1\n" in log.read_text()
    assert len(capfd.readouterr().out.splitlines()) == 2


# Called as `python -m tools.gpu.smoke --records FILE ... --only NAME`.
STAND_IN = f"""#!/bin/sh
for name; do :; done
case $name in
right) echo '{{"step": "smoke", "what": "cpu right", "state": "passed"}}' > "$4" ;;
hangs) echo $$ > "$PID"; exec sleep 60 ;;
raises) echo "ImportError: {ROOT}/loops.so: no version"; exit 1 ;;
late) printf 'Timeout (0:00:01)!\\n  File "/usr/a.py", line 2 in f\\n'
  echo '  File "{ROOT}/b.py", line 7 in g'
  exit 1 ;;
esac
"""


@pytest.fixture
def python(tmp_path, monkeypatch):
    stand_in = tmp_path / "python"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    monkeypatch.setenv("PID", str(tmp_path / "pid"))


@pytest.mark.usefixtures("python")
def test_each_look_is_told_as_soon_as_it_ends(runs, capfd):
    again.run_again(runs, [Planted(name) for name in ("hangs", "raises", "late", "right")], None, seconds=2)
    found = {what.removesuffix(", launch blocking"): each for what, each in told(runs).items()}
    assert found["cpu right"]["state"] == "passed"
    assert found["cpu raises"]["why"] == "status 1: ImportError: loops.so: no version"
    assert found["cpu late"]["why"] == "hung, in g [b.py:7]"
    assert found["cpu hangs"]["why"] == "ended after 2 s: it said nothing"
    assert found["cpu hangs"]["time"] - found["cpu right"]["time"] > 1
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("cpu hangs, launch blocking: ended after 2 s")


@pytest.mark.usefixtures("python")
def test_an_interrupt_loses_only_the_looks_that_have_not_ended(runs, monkeypatch, tmp_path):
    looks, start, pid = [], again._start, tmp_path / "pid"

    def started(*arguments):
        looks.append(start(*arguments))
        return looks[-1]

    def interrupt(seconds):
        """When `right` has ended and is not told yet."""
        looks[1].process.wait()
        while not (pid.exists() and pid.read_text().endswith("\n")):
            pause(0.01)
        again.time.sleep = pause
        raise KeyboardInterrupt

    pause = time.sleep
    monkeypatch.setattr(again, "_start", started)
    monkeypatch.setattr(again.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        again.run_again(runs, [Planted("hangs"), Planted("right")], None, seconds=60)
    found = told(runs)
    assert found["cpu right, launch blocking"]["state"] == "passed"
    assert found["cpu hangs, launch blocking"]["state"] == "started"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.usefixtures("python")
def test_a_look_that_cannot_be_ended_is_not_waited_for(runs, monkeypatch):
    """A process that waits for the device within the driver outlives its kill."""
    kill = os.killpg
    groups = []
    monkeypatch.setattr(again, "_GRACE", 0.2)
    monkeypatch.setattr(again.os, "killpg", lambda group, how: groups.append(group))
    again.run_again(runs, [Planted("hangs")], None, seconds=0.3)
    kill(groups[0], signal.SIGKILL)
    assert told(runs)["cpu hangs, launch blocking"]["why"] == "could not be ended after 0 s: it said nothing"


@pytest.mark.parametrize(
    ("seconds", "options", "left"), [(48, [], 18), (66, [], 5), (90, [], 5), (48, ["--limit", "100"], 50)]
)
def test_the_second_look_has_what_is_left_of_the_limit(monkeypatch, tmp_path, seconds, options, left):
    given = []
    monkeypatch.setattr(Runs, "run", lambda self, trials: {each.name: "failed" for each in trials})
    monkeypatch.setattr(smoke, "run_again", lambda runs, bad, log, seconds: given.append(seconds))
    monkeypatch.setattr(smoke, "START", time.monotonic() - seconds)
    command = ["smoke", "--records", str(tmp_path / "records"), "--backend", "triton", *options]
    monkeypatch.setattr(sys, "argv", command)
    assert smoke.main() == 1
    assert given == [pytest.approx(left, abs=0.5)]


def test_one_by_itself_says_where_it_hangs_within_the_limit(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(smoke, "run_here", lambda runs, trial, words: given.append(runs.seconds) or True)
    command = ["smoke", "--records", str(tmp_path / "records"), "--backend", "cuda"]
    monkeypatch.setattr(sys, "argv", [*command, "--only", "tiles float32", "--limit", "12"])
    monkeypatch.setattr(smoke, "START", time.monotonic() - 4)
    assert smoke.main() == 0
    assert given == [pytest.approx(6, abs=0.5)]
