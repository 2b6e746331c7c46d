"""The measuring steps of a session on a machine with a GPU: on the CPU, and on what tools there would say."""

import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from attention_bench.judge import Judge, Verdict
from contextual_attention import backends, contextual_attention
from tools.gpu import counters, facts, forms, memcheck, programs, sanitizer, times
from tools.gpu.records import Records, last_states, read
from tools.gpu.timing import clock, one_call, phases, profiles
from tools.gpu.timing.phases import Job, Work
from tools.gpu.timing.profiles import Event, short_name

ROOT = Path(__file__).resolve().parents[1]
TINY = "1x32x48"


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "records.jsonl", times.STEP)


def last(records):
    return {what: record for (_, what), record in last_states(read(records.path)).items()}


@pytest.fixture
def take(tmp_path, monkeypatch):
    """Run the program of a step: its status and its records."""

    def take(step, *options):
        records = Records(tmp_path / "records.jsonl", step.__name__)
        monkeypatch.setattr(sys, "argv", [step.__name__, "--records", str(records.path), *options])
        return step.main(), last(records)

    return take


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A Python script that is found in place of one of the machine's programs, of which no other is."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(name, script):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\n{script}")
        path.chmod(0o755)

    return make


def job(name="paper", direction="forward", backend="cpu"):
    return Job(backend, name, TINY, direction, budget=0.01)


PREFIX = "contextual_attention::cuda::"
UNNAMED = f"{PREFIX}(anonymous namespace)::"


class TestNames:
    def test_every_body_of_the_pipeline_is_recognised(self):
        """As they stand in the source, under both demanglers' spellings."""
        kinds = ["plain", "valid_only", "logits", "weights"]
        bodies = re.findall(r"^  X\((.+)\)", (ROOT / "csrc/cuda/kernels.h").read_text(), re.MULTILINE)
        assert bodies
        for body in bodies:
            qualified = re.sub(r"\b(?=[A-Z]\w*\b(?!::))", PREFIX, body)
            for i, kind in enumerate(kinds):
                qualified = qualified.replace(f"ScoreKind::{kind}", f"({PREFIX}ScoreKind){i}")
            expected = body.replace("ScoreKind::", "").replace(" ", "")
            for unnamed, columns in (("(anonymous namespace)", "4"), ("<unnamed>", "(int)4")):
                arguments = f"({qualified}, {PREFIX}{unnamed}::Combs)"
                name = f"void {PREFIX}{unnamed}::walk_paths<{qualified}, {columns}>{arguments}"
                assert short_name(name) == f"walk_paths<{expected},4>"

    @pytest.mark.parametrize(
        ("name", "short"),
        [
            # From a module built for sm_90, by c++filt.
            (
                f"void {UNNAMED}reduce_rows<{PREFIX}RowStatistics<{PREFIX}Bfloat16> >"
                f"({PREFIX}RowStatistics<{PREFIX}Bfloat16>)",
                "reduce_rows<RowStatistics<Bfloat16>>",
            ),
            (
                f"void {UNNAMED}visit_points<{PREFIX}Pack<unsigned short> >({PREFIX}Pack<unsigned short>)",
                "visit_points<Pack<unsigned short>>",
            ),
            ("nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NNT", "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_NNT"),
            ("diagonal_sum", "diagonal_sum"),
            ("Memcpy DtoD (Device -> Device)", "Memcpy DtoD"),
            (
                "void at::native::elementwise_kernel<128, 4, at::native::gpu_kernel_impl_nocast<at::native::"
                "direct_copy_kernel_cuda(at::TensorIteratorBase&)::{lambda()#3}::operator()() const::"
                "{lambda(float)#1}>(at::TensorIteratorBase&)::{lambda(int)#1}>(int, at::native::x)",
                "elementwise_kernel<direct_copy_kernel_cuda…",
            ),
            ("x" * 80, "x" * 59 + "…"),
        ],
    )
    def test_names(self, name, short):
        assert short_name(name) == short


class TestProfile:
    def test_gaps_are_what_no_kernel_fills(self):
        """Two streams at once, and an idle piece of 3 µs."""
        events = [Event("b", 8, 5), Event("a", 0, 4), Event("a", 2, 3), Event("a", 11, 1)]
        profile = profiles.summarised(events)
        assert [(kernel.name, kernel.calls) for kernel in profile.kernels] == [("a", 3), ("b", 1)]
        assert [kernel.milliseconds for kernel in profile.kernels] == pytest.approx([8e-3, 5e-3])
        assert profile.launches == 4
        assert profile.busy == pytest.approx(10e-3)
        assert profile.span == pytest.approx(13e-3)

    def test_nothing_was_profiled(self):
        assert profiles.summarised([]).span == 0

    def test_the_device_of_a_trace(self):
        """Launches by the host and marks are none of its work."""
        common = {"ph": "X", "ts": 1.5, "dur": 2.0, "name": "it"}
        kinds = ["kernel", "gpu_memset", "cuda_runtime", "gpu_user_annotation", "cpu_op"]
        trace = {
            "traceEvents": [{**common, "cat": kind} for kind in kinds] + [{"ph": "M", "name": "process"}]
        }
        assert profiles.device_events(trace, "cuda") == 2 * [Event("it", 1.5, 2.0)]

    def test_table(self):
        text = profiles.table("a case", profiles.summarised([Event("a", 0, 4000), Event("a", 5000, 2000)]), 2)
        assert text.splitlines()[0] == "== a case: 3.000 ms, 1 launches a call"
        assert text.splitlines()[1].split() == ["3.0000", "ms", "100.0", "%", "1", "x", "a"]


class TestClock:
    @pytest.mark.parametrize(
        ("one", "calls"),
        [(0.1, 100), (10, 30), (200, 5), (500, 5), (1000, 3), (5000, 1)],
    )
    def test_slow_calls_are_made_less_often(self, one, calls):
        assert clock.calls_within(0.3, one) == calls

    def test_summary(self):
        assert clock.summary([4, 1, 2, 3, 5]) == {"median": 3, "low": 2, "high": 4, "calls": 5}
        assert clock.summary([0.123456]) == {"median": 0.1235, "low": 0.1235, "high": 0.1235, "calls": 1}


class FakeEvent:
    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.time = time.perf_counter()

    def elapsed_time(self, end):
        return 1e3 * (end.time - self.time)


class FakeGraph:
    """Remembers that work was done while it was captured; a replay does nothing."""

    replays: Sequence["FakeGraph"] = ()

    def pool(self):
        return "a pool"

    def replay(self):
        type(self).replays = [*self.replays, self]


class FakeStream:
    def wait_stream(self, other):
        pass


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """The calls of a GPU, done by the CPU: whether they fit together is seen, not whether CUDA obeys."""
    captured = []

    @contextmanager
    def capture(graph, pool=None):
        captured.append(pool)
        yield

    @contextmanager
    def on_stream(stream):
        yield

    monkeypatch.setattr(FakeGraph, "replays", ())
    for name, fake in {
        "Event": FakeEvent,
        "CUDAGraph": FakeGraph,
        "graph": capture,
        "Stream": FakeStream,
        "current_stream": FakeStream,
        "stream": on_stream,
        "synchronize": lambda: None,
    }.items():
        assert hasattr(torch.cuda, name)
        monkeypatch.setattr(torch.cuda, name, fake)
    return captured


class TestCase:
    @pytest.mark.parametrize("direction", ["forward", "backward"])
    def test_replays_of_a_graph_for_each_set_of_inputs(self, as_on_a_gpu, direction):
        work = Work(job(direction=direction))
        work.device = "cuda"
        work.runs = 3 * work.runs
        report = work.eager() | work.replayed()
        assert report["eager_ms"]["median"] > 0
        assert report["host_ms"] > 0
        graphs = 1 if direction == "forward" else 2
        assert as_on_a_gpu == graphs * [None, "a pool", "a pool"]
        assert len({id(graph) for graph in FakeGraph.replays}) == 3 * graphs
        assert ("graph_both_ms" in report) == (direction == "backward")
        assert report["graph_ms"]["calls"] >= 5

    def test_cases_are_measured_one_by_one(self, records, tmp_path):
        jobs = [job("paper"), job("yu2018", "backward")]
        assert times.measure_all(jobs, records, tmp_path / "profile.txt", limit=120, case_limit=60)
        found = last(records)
        for each in jobs:
            record = found[each.name]
            assert record["state"] == "measured"
            assert record["eager_ms"]["median"] > 0
            assert not record["wrong"]
            assert len(record["errors"]) == (1 if each.direction == "forward" else 3)
            assert all(error < 1e-2 for error in record["errors"])
            assert record["pairs"] == (4 * 6) ** 2
            assert record["line"].startswith(each.name)
            assert record["kernels"]
        table = (tmp_path / "profile.txt").read_text()
        assert all(f"== {each.name}: " in table for each in jobs)
        # Of the backward the forward is not profiled.
        assert "contextual_attention::attend_backward" in table.split("== ")[2]
        assert "contextual_attention::attend\n" not in table.split("== ")[2]

    def test_a_wrong_result_is_timed_all_the_same(self, records, tmp_path, monkeypatch):
        wrong = Verdict((float("nan"),), (5e-3,), "a judge")
        monkeypatch.setattr(Judge, "verdict", lambda *_: wrong)
        phases.measure_case(job(), records, tmp_path / "profile.txt")
        record = last(records)[job().name]
        assert record["state"] == "failed"
        assert record["why"] == f"wrong: {wrong}"
        assert record["errors"] == ["nan"]
        assert record["eager_ms"]["median"] > 0
        assert times.line(record).startswith("WRONG, eager")

    def test_a_phase_that_fails_stops_none_after_it(self, records, tmp_path, monkeypatch):
        def fail(self):
            raise RuntimeError("no memory\n is known")

        monkeypatch.setattr(Work, "memory", fail)
        phases.measure_case(job(), records, tmp_path / "profile.txt")
        record = last(records)[job().name]
        assert record["why"] == "RuntimeError: no memory is known"
        assert record["device_ms"] > 0

    def test_a_lost_context_ends_the_process_and_leaves_what_is_known(self, records, tmp_path, monkeypatch):
        def fail(self):
            raise RuntimeError("an illegal memory access was encountered")

        monkeypatch.setattr(Work, "memory", fail)
        monkeypatch.setattr(phases, "context_is_lost", lambda: True)
        with pytest.raises(RuntimeError, match="illegal memory access"):
            phases.measure_case(job(), records, tmp_path / "profile.txt")
        record = last(records)[job().name]
        assert record["state"] == "started"
        assert "illegal memory access" in record["why"]
        assert record["eager_ms"]["median"] > 0


def test_a_cut_is_told_as_the_kernels_made_it(cuda_on_host, monkeypatch):
    """By octets and not, whole and in tiles; those of the last call."""
    monkeypatch.setattr(backends.extension, "last_cuda_tiling", cuda_on_host.last_cuda_tiling, raising=False)
    x = torch.randn(1, 3, 24, 24).bfloat16().requires_grad_()
    whole = contextual_attention(x, x, backend="cuda", rate=1)
    assert phases.last_tiling("forward")["octets"]
    bytes_of_all = phases.last_tiling("forward")["bytes"]
    assert one_call.tile_scores() == 24**4
    contextual_attention(x, x, backend="cuda", rate=1, workspace=bytes_of_all // 2)
    assert phases.last_tiling("forward")["octets"]
    assert one_call.tile_scores() < 24**4
    whole.sum().backward()
    assert not phases.last_tiling("backward")["octets"]


# What may happen to a case, by the name of its preset: found by its module and name in another process.
def broken(job, records, profile):
    records.add(job.name, "started", "known before" if job.preset == "crashes" else None, host_ms=3.0)
    if job.preset == "fails":
        raise ValueError("as it should")
    if job.preset == "crashes":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.preset == "hangs":
        time.sleep(60)
    if job.preset != "forgets":
        records.add(job.name, "measured", host_ms=3.0)


class TestProcesses:
    def test_what_fails_or_crashes_stops_none_after_it(self, records, tmp_path):
        names = ["fails", "crashes", "forgets", "good"]
        jobs = [job(name) for name in names]
        assert not times.measure_all(jobs, records, tmp_path / "p", limit=120, measure=broken, case_limit=60)
        found = [last(records)[each.name] for each in jobs]
        assert [record["state"] for record in found] == ["failed", "failed", "failed", "measured"]
        assert [record.get("why") for record in found] == [
            "ended with status 1",
            "killed by SIGKILL; known before",
            "its process ended well, but it was not measured",
            None,
        ]
        # What it knew before is not lost with it.
        assert [record["host_ms"] for record in found] == 4 * [3.0]
        assert [record["line"] for record in found] == [f"{each.name}: host 3 ms" for each in jobs]

    def test_a_backend_that_hangs_leaves_time_for_the_others(self, records, tmp_path):
        jobs = [Job("cuda", "hangs", f"{i}x32x32", "forward") for i in (1, 2, 3)]
        start = time.monotonic()
        assert not times.measure_all(jobs, records, tmp_path / "p", limit=60, measure=broken, case_limit=0.5)
        assert time.monotonic() - start < 40
        found = [last(records)[each.name] for each in jobs]
        assert [record["state"] for record in found] == ["failed", "failed", "left out"]
        assert all(record["why"].startswith("ended after") for record in found[:2])
        assert found[2]["why"] == "2 cases of cuda have hung"

    def test_what_no_time_is_left_for(self, records, tmp_path):
        assert not times.measure_all([job()], records, tmp_path / "p", limit=1)
        assert last(records)[job().name]["state"] == "left out"

    def test_an_interrupt_is_told(self, records, tmp_path, monkeypatch):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(times, "in_child", interrupted)
        assert not times.measure_all([job("one"), job("two")], records, tmp_path / "p", limit=60)
        found = last(records)
        assert [found[job(name).name]["why"] for name in ("one", "two")] == 2 * ["interrupted"]


class TestNumbers:
    def test_the_worthiest_first(self):
        names = [each.name for each in times.jobs(["cuda", "triton"], quick=False)]
        assert names[:3] == [
            "cuda paper 1x1024x1024 forward",
            "cuda yu2018 1x1024x1024 forward",
            "cuda paper 16x256x256 forward",
        ]
        assert len(names) == len(set(names)) == 28
        assert all(name.startswith("triton") for name in names[14:])

    def test_aims_and_rates(self):
        told = {
            "shape": "1x1024x1024",
            "preset": "yu2018",
            "direction": "forward",
            "pairs": 2**28,
            "flop": 10 * 128 * 2**28,
            "eager_ms": {"median": 4.0},
            "graph_ms": {"median": 2.0},
            "host_ms": 3.9,
        }
        found = times.derived(told, card=790)
        # 2 ms for 2.7e8 scores of 1,280 operations each.
        assert found["aim_graph_ms"] == found["aim_eager_ms"] == 1.3
        assert found["ps_a_score"] == 7.45
        assert found["tflops"] == 172
        assert found["share_of_card"] == 0.218
        numbers = "graph 2 aim 1.3, eager 4 aim 1.3, host-bound 3.9 ms, 7.45 ps 22 %"
        assert times.line(told | found) == numbers
        assert not times.derived(told | {"host_ms": 2.0}, card=None)["host_bound"]
        assert times.aim(told | {"direction": "backward", "shape": "1x512x680"}) == (0.6, 0.75)
        assert times.aim(told | {"shape": "1x64x64"}) is None

    def test_a_whole_line_fits_into_the_digest(self):
        told = {
            "eager_ms": {"median": 0.50123},
            "graph_ms": {"median": 0.25123},
            "aim_graph_ms": 0.12,
            "aim_eager_ms": 0.2,
            "device_ms": 0.2212,
            "launches": 44.0,
            "gap_ms": 0.2123,
            "host_ms": 0.4623,
            "host_bound": True,
            "ps_a_score": 14.9,
            "share_of_card": 0.114,
            "working_bytes": 256 * 2**20,
            "errors": [0.002391],
        }
        assert len(f"cuda yu2018 16x256x256 forward: {times.line(told)}") <= 160

    def test_the_share_of_the_card_comes_from_the_facts(self, records):
        assert times._card_rate(records) is None
        Records(records.path, "facts").add(facts.PRODUCT, "measured", tflops=790.0)
        assert times._card_rate(records) == 790.0


class TestFacts:
    def test_on_the_cpu(self, take):
        status, found = take(facts, "--device", "cpu")
        assert status == 0
        assert set(found) == {"import torch", "software", facts.PRODUCT, facts.COPY}
        assert all(each["state"] == "measured" and each["line"] for each in found.values())
        assert found[facts.COPY]["gb_per_s"] > 0
        assert torch.__version__.split("+")[0] in found["software"]["line"]

    def test_a_fact_that_cannot_be_found_out_stops_none_after_it(self, take, program):
        """Without a GPU most cannot."""
        program("nvidia-smi", "raise SystemExit('no devices were found')")
        program("nvcc", "print('Cuda compilation tools, release 13.0, V13.0.88')")
        status, found = take(facts)
        assert status == 1
        assert found["GPU"]["why"] == "RuntimeError: nvidia-smi: status 1: no devices were found"
        assert found["compiler"]["line"].startswith("nvcc release 13.0, V13.0.88, ")
        assert "started" not in {each["state"] for each in found.values()}


COLUMNS = """ID,Process ID,Process Name,Host Name,Kernel Name,Context,Stream,Block Size,Grid Size,Device,CC,\
Section Name,Metric Name,Metric Unit,Metric Value"""


def ncu_csv(*launches):
    """As Nsight Compute writes it: its own lines first, thousands with a comma, a line for each metric."""
    text = io.StringIO()
    write = csv.writer(text, quoting=csv.QUOTE_ALL)
    write.writerow(COLUMNS.split(","))
    for i, (kernel, metrics) in enumerate(launches):
        for name, (unit, value) in metrics.items():
            about = [
                i,
                4711,
                "python3.12",
                "127.0.0.1",
                kernel,
                1,
                7,
                "(128, 1, 1)",
                "(4096, 1, 1)",
                0,
                "9.0",
            ]
            write.writerow([*about, "Command line profiler metrics", name, unit, value])
    first = "==PROF== Connected to process 4711 (/usr/bin/python3.12)\n"
    return first + text.getvalue() + "==PROF== Disconnected from process 4711\n"


F1 = (
    "void contextual_attention::cuda::<unnamed>::walk_paths<contextual_attention::cuda::DiagonalSum3<"
    "contextual_attention::cuda::Plain, contextual_attention::cuda::ScoreSink<(contextual_attention::cuda::"
    "ScoreKind)3>>, (int)4>(T1, contextual_attention::cuda::<unnamed>::Combs)"
)
METRICS = {
    "gpu__time_duration.sum": ("ns", "50,000"),
    "sm__inst_executed.sum": ("inst", "2,097,152"),
    "smsp__issue_active.avg.pct_of_peak_sustained_active": ("%", "71.25"),
    "sm__warps_active.avg.pct_of_peak_sustained_active": ("%", "31.00"),
    "dram__bytes_read.sum": ("byte", "70,000,000"),
    "dram__bytes_write.sum": ("byte", "30,000,000"),
    "lts__t_bytes.sum": ("Mbyte", "250"),
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio": ("inst", "4.20"),
    "smsp__average_warps_issue_stalled_wait_per_issue_active.ratio": ("inst", "1.10"),
    "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio": ("inst", "n/a"),
}


class TestCounters:
    def test_launches(self):
        found = list(counters.parse(ncu_csv((F1, METRICS), ("nvjet_a", {})).splitlines()))
        assert [launch.kernel for launch in found] == ["walk_paths<DiagonalSum3<Plain,ScoreSink<weights>>,4>"]
        assert found[0].metrics["gpu__time_duration.sum"] == pytest.approx(50e-6)
        assert found[0].metrics["lts__t_bytes.sum"] == 250e6
        assert len(found[0].metrics) == 9

    def test_line(self):
        """64 thread instructions a score: 2**21 of 32 lanes for 2**20 scores."""
        (launch,) = counters.parse(ncu_csv((F1, METRICS)).splitlines())
        text = counters.line(launch, 2**20)
        assert text == (
            "walk_paths<DiagonalSum3<Plain,ScoreSink<weights>>,4>: 50 µs, 64 inst/score, dram 2000, "
            "L2 5000 GB/s, issue 71 %, warps 31 %, long_scoreboard 4.2"
        )
        # What the digest shows of a line.
        assert len(f"yu2018 {text}") <= 160

    @pytest.mark.parametrize(
        "said",
        ["", "==PROF== Connected\n", "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission\n"],
    )
    def test_nothing_was_profiled(self, said):
        assert list(counters.parse(said.splitlines())) == []

    def test_a_cut_file(self):
        text = ncu_csv((F1, METRICS))
        assert list(counters.parse(text[: len(text) // 2].splitlines()))

    @pytest.fixture
    def run(self, tmp_path, take, program):
        """The step with another program as Nsight Compute."""

        def run(script):
            program("ncu", script)
            path = tmp_path / "counters.csv"
            return *take(counters, "--csv", str(path), "--limit", "60"), path.read_text()

        return run

    def test_the_step(self, run):
        """Nsight Compute knows one metric less than it is asked for, and says so."""
        unknown = "lts__t_bytes.sum"
        text = ncu_csv((F1, METRICS))
        status, found, file = run(
            "import sys, pathlib\n"
            "log = pathlib.Path(sys.argv[sys.argv.index('--log-file') + 1])\n"
            f"if {unknown!r} in sys.argv[sys.argv.index('--metrics') + 1].split(','):\n"
            f"    log.write_text('==ERROR== Failed to find metric {unknown}\\n')\n"
            "    sys.exit(1)\n"
            "print('{\"tile_scores\": 1048576}')\n"
            f"log.write_text({text!r})\n"
        )
        assert status == 0
        assert found["paper 1x1024x1024"]["state"] == found["yu2018 1x1024x1024"]["state"] == "measured"
        assert found["yu2018 1x1024x1024 0"]["instructions_a_score"] == 64
        assert found["paper 1x1024x1024 0"]["line"].startswith("paper walk_paths<DiagonalSum3")
        assert "Failed to find metric" in file
        assert file.count("DiagonalSum3") == 2 * len(METRICS)

    def test_a_refusal_is_told(self, run):
        status, found, _ = run("import sys\nsys.exit('==ERROR== ERR_NVGPUCTRPERM: no permission')")
        assert status == 1
        assert all(each["state"] == "failed" and "ERR_NVGPUCTRPERM" in each["why"] for each in found.values())

    @pytest.mark.usefixtures("program")
    def test_there_is_none(self, tmp_path, take, monkeypatch):
        monkeypatch.setattr(counters, "_PLACES", (str(tmp_path),))
        status, found = take(counters, "--csv", str(tmp_path / "counters.csv"))
        assert status == 1
        assert "there is no ncu on PATH" in found["Nsight Compute"]["why"]


CLEAN = """========= COMPUTE-SANITIZER
.                                                                        [100%]
1 passed, 40 deselected in 9.21s
========= ERROR SUMMARY: 0 errors
"""
BAD = """========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 4 bytes
=========     at void contextual_attention::cuda::(anonymous namespace)::walk_paths<int>(T1)+0x1b0
=========     by thread (3,0,0) in block (7,0,0)
=========     Access to 0x7f0000000400 is out of bounds
=========     and is 1 bytes after the nearest allocation at 0x7f0000000000 of size 1024 bytes
=========
========= Invalid __global__ read of size 4 bytes
=========     at another
=========
E   RuntimeError: CUDA error: unspecified launch failure
FAILED tests/gpu/test_agreement.py::test_memcheck[cuda] - RuntimeError: CUDA error
========= ERROR SUMMARY: 2 errors
"""
CUT = "========= COMPUTE-SANITIZER\n========= Error: process didn't terminate successfully\n"


class TestMemcheck:
    def test_logs(self):
        assert sanitizer.parse(CLEAN.splitlines()) == sanitizer.Findings(0, "")
        found = sanitizer.parse(BAD.splitlines())
        assert found.errors == 2
        assert found.first.startswith(
            "Invalid __global__ read of size 4 bytes; at void contextual_attention::cuda"
        )
        assert found.first.endswith("of size 1024 bytes")
        assert sanitizer.parse(CUT.splitlines()).errors is None

    def test_every_kernel_is_checked(self):
        source = "".join(path.read_text() for path in (ROOT / "csrc/cuda").glob("*.cu"))
        launched = set(re.findall(r"__launch_bounds__\([^)]*\)\s+(\w+)\(", source))
        assert launched == set(memcheck.KERNELS["cuda"])
        files = (ROOT / "contextual_attention/triton").glob("kernels*.py")
        source = "".join(path.read_text() for path in files)
        launched = set(re.findall(r"^@triton\.jit\(.*\n(?:def )(\w+)\(", source, re.MULTILINE))
        assert launched == set(memcheck.KERNELS["triton"])

    @pytest.mark.parametrize(
        ("said", "status", "state", "why"),
        [
            (CLEAN, 0, "passed", None),
            (BAD, 9, "failed", "Invalid __global__ read"),
            (CUT, 1, "failed", "has not come to its summary; Error: process didn't"),
            ("E  AssertionError: far\n" + CLEAN, 1, "failed", "status 1; E AssertionError: far"),
        ],
        ids=["clean", "bad", "cut", "wrong result"],
    )
    def test_the_step(self, tmp_path, take, program, said, status, state, why):
        program("compute-sanitizer", f"print({said!r})\nraise SystemExit({status})\n")
        log = tmp_path / "memcheck.log"
        ended, found = take(memcheck, "--log", str(log), "--backend", "cuda")
        assert ended == (0 if state == "passed" else 1)
        assert found["cuda"]["state"] == state
        assert (why is None and "why" not in found["cuda"]) or why in found["cuda"]["why"]
        assert "COMPUTE-SANITIZER" in log.read_text()


class TestPrograms:
    def test_they_start(self):
        """As a session starts them, from a checkout that is not installed."""
        paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
        environment = {**os.environ, "PYTHONPATH": paths}
        programs = ("facts", "times", "compare", "counters", "timing.one_call", "memcheck", "forms")
        started = [
            subprocess.Popen(
                [sys.executable, "-m", f"tools.gpu.{name}", "--help"],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in programs
        ]
        for name, process in zip(programs, started, strict=True):
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0
            assert f"python -m tools.gpu.{name}" in output


class TestOtherPrograms:
    def test_a_program_that_hangs_is_ended_with_its_children(self):
        """Its child would hold the output open."""
        start = time.monotonic()
        script = "print('here', flush=True); import subprocess; subprocess.run(['sleep', '60'])"
        said, why = programs.output([sys.executable, "-c", script], limit=2)
        assert said == "here\n"
        assert why == "ended after 2 s"
        assert time.monotonic() - start < 30

    def test_all_can_be_ended_from_another_thread(self):
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(programs.output, ["sh", "-c", "echo here; sleep 60"], 60)
            while not programs._running:
                time.sleep(0.01)
            programs.end_all()
            assert waiting.result(timeout=30)[1] == "killed by SIGKILL"
        assert not programs._running

    def test_how_it_ended(self):
        assert programs.output(["sh", "-c", "echo a; exit 3"], 10) == ("a\n", "status 3")
        assert programs.output(["sh", "-c", "kill -SEGV $$"], 10)[1] == "killed by SIGSEGV"


class TestForms:
    @pytest.fixture
    def run(self, tmp_path, take):
        """The step on a small problem."""
        return lambda *backends: take(
            forms, "--json", str(tmp_path / "forms.json"), "--quick", "--backend", *backends
        )

    def test_a_backend_that_is_not_there_stops_no_other(self, run):
        status, found = run("nonsense", "cpu")
        assert status == 1
        assert found["backend nonsense"]["why"] == "unknown"
        assert found["1x64x64 float32 textbook"]["state"] == "measured"
        told = found["1x64x64 float32 textbook forward"]["line"]
        assert re.fullmatch(r"1x64x64 float32 forward, ms: textbook \S+, cpu \S+", told)

    def test_a_wrong_result(self, run, monkeypatch):
        """What the benchmark says of its rows is why the table has failed."""
        row = {"shape": "a", "dtype": "b", "direction": "forward", "label": "cpu", "median": None}
        rows = [[], [{**row, "wrong": True, "note": "RuntimeError: CUDA error"}]]
        monkeypatch.setattr(forms, "_rows", lambda path: rows.pop(0))
        monkeypatch.setattr(programs, "output", lambda *_: ("", "status 1"))
        status, found = run("cpu")
        assert status == 1
        why = found["1x64x64 float32 textbook"]["why"]
        assert why == "status 1; cpu forward: RuntimeError: CUDA error"

    def test_line(self):
        row = {"shape": "1x512x680", "dtype": "bfloat16", "direction": "both"}
        rows = [{**row, "label": "dense", "median": None}, {**row, "label": "cuda", "median": 0.00123456}]
        assert forms.line(rows) == "1x512x680 bfloat16 both, ms: dense -, cuda 1.23"
