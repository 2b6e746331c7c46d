"""Everything that is measured of one case, in this process: error, times, launches, memory.

What a phase finds out is recorded before the next one begins, and one that fails stops none after it, unless
it has lost the CUDA context.
"""

from __future__ import annotations

import json
import math
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from attention_bench.cases import Problem, find_case
from attention_bench.devices import default_workspace, device_of, synchronize
from attention_bench.judge import Judge
from attention_bench.measure import Run, working_bytes
from attention_bench.variants import Variant
from contextual_attention import backends
from tools.gpu import programs
from tools.gpu.isolation import context_is_lost
from tools.gpu.records import Records, State
from tools.gpu.timing import profiles
from tools.gpu.timing.clock import calls_within, issue_milliseconds, milliseconds, rounded, summary

CHANNELS = 128
# Inputs that the cache could hold are taken in turns, so many that it cannot.
_MOST_SETS = 8
_WARM = 3
# From this many milliseconds on, once is enough for what only warms up or counts.
_SLOW = 100.0
_LONGEST_TROUBLE = 150
_TOP = 5

Report = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A case on a backend; `budget` in seconds for each kind of time."""

    backend: str
    preset: str
    shape: str
    direction: str
    budget: float = 0.3
    dtype: torch.dtype = torch.bfloat16

    @property
    def name(self) -> str:
        return f"{self.backend} {self.preset} {self.shape} {self.direction}"

    @property
    def problem(self) -> Problem:
        device = device_of(self.backend)
        return Problem(find_case(self.shape), CHANNELS, self.dtype, self.preset, device, self.direction)


def measure_case(job: Job, records: Records, profile: Path) -> None:
    """Measure a case and record it, at last as "measured", or as "failed" if anything of it did.

    Args:
        job: The case.
        records: Where to.
        profile: File to which the table of all its kernels is added.
    """
    told = Told(job, records)
    told.take(lambda: sizes(job.problem))
    work = told.take(lambda: Work(job))
    if work is not None:
        for phase in (work.check, work.plan, work.eager, work.memory, work.replayed):
            told.take(phase)
        told.take(lambda: work.profiled(profile))
    told.end()


class Told:
    """What is known of a case, recorded after every phase: all that the record has if this process ends."""

    def __init__(self, job: Job, records: Records) -> None:
        self._job, self._records = job, records
        self._report: Report = {
            "backend": job.backend,
            "preset": job.preset,
            "shape": job.shape,
            "direction": job.direction,
            "dtype": str(job.dtype).removeprefix("torch."),
        }
        self._troubles: list[str] = []

    def take(self, phase: Callable[[], Any]) -> Any:
        """What a phase returns, a report being added to this one; None if it failed."""
        found = None
        try:
            found = phase()
        except Exception as error:
            self._add(f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST_TROUBLE])
            if context_is_lost():
                self._record("started")
                raise
        if isinstance(found, dict):
            self._report |= found
        if self._report.get("wrong"):
            self._add(f"wrong: {self._report['verdict']}")
        self._record("started")
        return found

    def end(self) -> None:
        self._record("failed" if self._troubles else "measured")

    def _add(self, trouble: str) -> None:
        if trouble not in self._troubles:
            self._troubles.append(trouble)

    def _record(self, state: State) -> None:
        self._records.add(self._job.name, state, "; ".join(self._troubles) or None, **self._report)


def sizes(problem: Problem) -> Report:
    """What rates are made of."""
    return {"pairs": problem.pairs(), "flop": problem.flop()}


def last_tiling(direction: str) -> dict[str, Any]:
    """How the CUDA kernels have cut the last forward, or the last backward, of this process."""
    return backends.extension.last_cuda_tiling(backward=direction != "forward")


class Work:
    """The passes of a case, and what is measured of them."""

    def __init__(self, job: Job) -> None:
        self.job, self.device = job, device_of(job.backend)
        problem, learns = job.problem, job.problem.learns
        self._variant = Variant(job.backend)
        self._problem = problem
        self._is_slow = False
        self._inputs = problem.inputs(requires_grad=learns)
        self._upstream = problem.upstream() if learns else None
        self.runs = [Run(problem, self._variant, inputs, self._upstream) for inputs in self._sets(learns)]

    def _sets(self, learns: bool) -> list[dict[str, Any]]:
        """The inputs, and others of the same distribution as long as the cache holds them all."""
        maps = {name: self._inputs[name].detach() for name in ("foreground", "background")}
        count = 1
        if self.device == "cuda":
            cache = torch.cuda.get_device_properties(0).L2_cache_size
            count = min(_MOST_SETS, math.ceil(2 * cache / sum(x.nbytes for x in maps.values())))
        moved = [
            {name: x.roll(i, dims=1).requires_grad_(learns) for name, x in maps.items()}
            for i in range(1, count)
        ]
        return [self._inputs, *(self._inputs | each for each in moved)]

    def plan(self) -> Report:
        """How the CUDA kernels cut the problem, as `check` has them, with their own bound on the scores."""
        return {"plan": last_tiling(self.job.direction)} if self.job.backend == "cuda" else {}

    def check(self) -> Report:
        """The error of the result, by exact values: all of them or, of large problems, some cells."""
        result = self.runs[0].once()
        judge = Judge(self._problem, self._inputs, self._upstream)
        verdict = judge.verdict(self._variant, self._problem, result)
        errors = [rounded(error) if math.isfinite(error) else str(error) for error in verdict.errors]
        return {"errors": errors, "wrong": verdict.wrong, "verdict": str(verdict), "judge": verdict.judge}

    def eager(self) -> Report:
        """Time of calls one after the other, and how long one keeps the host."""
        one = self._milliseconds(1)[0]
        self._is_slow = one > _SLOW
        if not self._is_slow:
            one = self._milliseconds(_WARM)[-1]
        calls = calls_within(self.job.budget, one)
        found: Report = {"eager_ms": summary(self._milliseconds(calls))}
        if self.device == "cuda":
            host = issue_milliseconds(self._act, self._prepare, 1 if self._is_slow else 7)
            found["host_ms"] = summary(host)["median"]
        if self.job.backend == "cuda":
            prepared = self._prepare(0)
            backends.extension.take_launch_count()
            self._act(prepared)
            found["own_launches"] = backends.extension.take_launch_count()
        return found

    def _milliseconds(self, calls: int) -> list[float]:
        return milliseconds(self.device, self._act, self._prepare, calls)

    def memory(self) -> Report:
        """The most that is held beyond inputs, output and gradients; of a backward, with its forward."""
        return {
            "working_bytes": working_bytes(self.runs[0]),
            "workspace_bytes": default_workspace(self._problem.device),
        }

    def replayed(self) -> Report:
        """Time of a CUDA graph; of a backward, what it takes longer with it than without."""
        if self.device != "cuda":
            return {}
        whole = self._replays(lambda run: run.backward(run.forward()))
        if self.job.direction == "forward":
            return {"graph_ms": summary(whole)}
        forward = self._replays(lambda run: run.forward())
        both, alone = summary(whole), summary(forward)
        return {
            "graph_both_ms": both,
            "graph_forward_ms": alone,
            "graph_ms": {"median": rounded(both["median"] - alone["median"]), "calls": both["calls"]},
        }

    def _replays(self, act: Callable[[Run], object]) -> list[float]:
        """Of the graphs in turns."""
        graphs = self.captured(act)
        replay = torch.cuda.CUDAGraph.replay
        one = milliseconds(self.device, replay, graphs, 1 if self._is_slow else _WARM)[-1]
        return milliseconds(self.device, replay, graphs, calls_within(self.job.budget, one))

    def captured(self, act: Callable[[Run], object]) -> list[torch.cuda.CUDAGraph]:
        """A graph for each set of inputs."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(1 if self._is_slow else 2):
                act(self.runs[0])
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graphs: list[torch.cuda.CUDAGraph] = []
        for run in self.runs:
            graph = torch.cuda.CUDAGraph()
            # They run one after the other, and can use the same memory.
            with torch.cuda.graph(graph, pool=graphs[0].pool() if graphs else None):
                act(run)
            graphs.append(graph)
        return graphs

    def profiled(self, path: Path, title: str | None = None) -> Report:
        """Time on the device by kernel, over some calls, without that of a backward's forward.

        Args:
            path: File to which the table of all kernels is added.
            title: Of the table; default: the name of the job.
        """
        # Capturing has given back what torch keeps of memory: a first call asks for it anew.
        self._act(self._prepare(0))
        calls = 1 if self._is_slow else 3
        prepared = [self._prepare(i) for i in range(calls)]
        profile = profiles.summarised(self._trace(prepared))
        programs.append(path, profiles.table(title or self.job.name, profile, calls))
        return {
            "device_ms": rounded(profile.milliseconds / calls),
            "gap_ms": rounded((profile.span - profile.busy) / calls),
            "launches": round(profile.launches / calls, 1),
            "top": [
                {
                    "kernel": profiles.short_name(kernel.name),
                    "calls": round(kernel.calls / calls, 1),
                    "ms": rounded(kernel.milliseconds / calls),
                }
                for kernel in profile.kernels[:_TOP]
            ],
        }

    def _trace(self, prepared: Sequence[Any]) -> list[profiles.Event]:
        activity = torch.profiler.ProfilerActivity
        kind = activity.CUDA if self.device == "cuda" else activity.CPU
        synchronize(self.device)
        with warnings.catch_warnings(), torch.profiler.profile(activities=[kind]) as profiler:
            warnings.filterwarnings("ignore", message=".*Profiler clears events")
            for each in prepared:
                self._act(each)
            synchronize(self.device)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            profiler.export_chrome_trace(str(path))
            return profiles.device_events(json.loads(path.read_text(errors="replace")), self.device)

    def _prepare(self, i: int) -> tuple[Run, torch.Tensor | None]:
        """What comes before the time of the call number i."""
        run = self.runs[i % len(self.runs)]
        return run, None if self.job.direction == "forward" else run.forward()

    def _act(self, prepared: tuple[Run, torch.Tensor | None]) -> None:
        run, output = prepared
        if output is None:
            run.forward()
        else:
            run.backward(output)
