"""The comparison of Gram matrices in memory and on the chip (tools/gpu/compare.py), on the CPU."""

import pytest
from test_gpu_times import (
    TINY,
    FakeGraph,
    as_on_a_gpu,  # noqa: F401  (a fixture)
    job,
    last,
)

from contextual_attention import backends
from tools.gpu import compare, times
from tools.gpu.records import Records
from tools.gpu.timing import phases
from tools.gpu.timing.phases import Job, Work


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path / "records.jsonl", compare.STEP)


@pytest.fixture
def kernels_on_host(cuda_on_host, monkeypatch):
    """The CUDA kernels' code in plain loops, with its switch."""
    for name in ("place_cuda_gram", "GramPlace", "last_cuda_tiling"):
        monkeypatch.setattr(backends.extension, name, getattr(cuda_on_host, name), raising=False)
    monkeypatch.setattr(phases, "device_of", lambda backend: "cpu")
    return cuda_on_host


def tiny(preset):
    return Job("cuda", preset, TINY, "forward", budget=0.01)


@pytest.mark.parametrize("preset", times.PRESETS)
def test_both_ways_are_measured(kernels_on_host, records, tmp_path, preset):
    case, profile = tiny(preset), tmp_path / "profile.txt"
    compare.measure_case(case, records, profile)
    record = last(records)[case.name]
    assert record["state"] == "measured", record.get("why")
    assert not record["in_memory_plan"]["gram_on_chip"]
    assert record["on_chip_plan"]["gram_on_chip"]
    assert 0 <= record["differs"] < 1e-2
    for way in compare.WAYS:
        assert record[f"{way}_ms"]["median"] > 0
        assert record[f"{way}_top"]
        assert f"== {case.name}, {way}: " in profile.read_text()
    assert "in memory" in times.line(record)
    assert "on chip" in times.line(record)
    assert "differs by" in times.line(record)


def test_a_way_that_is_not_taken_fails(kernels_on_host, records, tmp_path, monkeypatch):
    place, places = kernels_on_host.place_cuda_gram, kernels_on_host.GramPlace
    monkeypatch.setattr(backends.extension, "place_cuda_gram", lambda _: place(places.in_memory))
    compare.measure_case(tiny("paper"), records, tmp_path / "profile.txt")
    place(places.in_memory)
    record = last(records)[tiny("paper").name]
    assert record["state"] == "failed"
    assert "on_chip: the Gram matrix was placed otherwise" in record["why"]


@pytest.mark.usefixtures("as_on_a_gpu")
def test_graphs_take_turns():
    """Every set of inputs of one way is followed by the same one of the other."""
    work = Work(job())
    work.device, work.runs = "cuda", 2 * work.runs
    passes = [work.captured(lambda run: run.forward()) for _ in compare.WAYS]
    report = compare.interleaved("cuda", passes, budget=0.01)
    in_turns = [passes[0][0], passes[1][0], passes[0][1], passes[1][1]]
    for i, graph in enumerate(FakeGraph.replays[4:]):
        assert graph is in_turns[i % 4]
    assert [report[f"{way}_ms"]["calls"] >= 5 for way in compare.WAYS] == [True, True]


def test_the_cases():
    cases = list(compare.jobs())
    assert len({case.name for case in cases}) == len(cases) == 8
    assert {case.backend for case in cases} == {"cuda"}
    assert all(case.problem.options for case in cases)
