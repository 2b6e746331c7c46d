"""A pytest plugin: every test's start and end as a record at once, and a fresh process after a lost context.

    pytest -p tools.gpu.course.pytest_records --records FILE --step tests [--again EARLIER] [-n 8 ...]

A killed run then tells all that it has found out, and what it has not come to. A test that leaves the CUDA
context lost ends its process, so that xdist goes on with the next test in a new one: in the old one it would
fail for the same reason.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tools.gpu import isolation
from tools.gpu.records import COLLECTED, Records, last_states, read, unfinished

_STATES = {"passed": "passed", "failed": "failed", "skipped": "left out"}


def pytest_addoption(parser):
    parser.addoption("--records", type=Path, required=True, help="file of records to append to")
    parser.addoption("--step", required=True, help="the step that they are of")
    parser.addoption("--again", type=Path, help="only what failed or was not reached in this step of EARLIER")


_config: pytest.Config | None = None


def pytest_configure(config):
    global _config
    _config = config


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    earlier = _config.getoption("again")
    if earlier is None:
        return
    wanted = set(unfinished(earlier, _step()))
    for name in wanted - {item.nodeid for item in items}:
        _records().add(name, "failed", "there is no such test any more")
    items[:] = [item for item in items if item.nodeid in wanted]


def pytest_collection_finish(session):
    if _runs_tests() and not hasattr(_config, "workerinput"):
        _tell_collected([item.nodeid for item in session.items])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node, ids):
    """Of xdist's processes, which all collect the same."""
    if COLLECTED not in {what for step, what in last_states(read(_records().path)) if step == _step()}:
        _tell_collected(ids)


def _tell_collected(ids: list[str]) -> None:
    _records().add(COLLECTED, "measured", tests=list(ids))


def pytest_collectreport(report):
    """What cannot be imported."""
    if report.failed:
        last = str(report.longrepr).strip().splitlines()[-1:]
        _records().add(report.nodeid or "collection", "failed", last[0] if last else None)


def pytest_runtest_logstart(nodeid, location):
    # Called in the process that runs the test, and by xdist once more in the one that collects the reports.
    if _runs_tests():
        _records().add(nodeid, "started")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    is_lost = report.failed and isolation.context_is_lost()
    if report.when == "call" or not report.passed:
        why = "the CUDA context was lost: " * is_lost + _why(report, call) if not report.passed else None
        _records().add(item.nodeid, _STATES[report.outcome], why, seconds=round(report.duration, 2))
    if is_lost:
        os._exit(isolation.LOST)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem, report, sched):
    """Of a test whose process has ended; what it still could say stands in its own record."""
    last = last_states(read(_records().path)).get((_step(), crashitem))
    if last is not None and last["state"] == "started":
        seconds, limit = time.time() - last["time"], getattr(_config.option, "timeout", None)
        how = "it hung" if limit and seconds >= limit else "it crashed"
        told = f"{how}: its process ended after {seconds:.0f} s"
        _records().add(crashitem, "failed", told, seconds=round(seconds, 2))


def _step() -> str:
    return _config.getoption("step")


def _records() -> Records:
    return Records(_config.getoption("records"), _step())


def _runs_tests() -> bool:
    """Not where xdist's processes run them."""
    return hasattr(_config, "workerinput") or not getattr(_config.option, "numprocesses", None)


def _why(report: pytest.TestReport, call: pytest.CallInfo) -> str:
    if report.skipped:
        return str(call.excinfo.value)
    crash = getattr(report.longrepr, "reprcrash", None)
    where = f" ({Path(crash.path).name}:{crash.lineno})" if crash else ""
    return f"{report.when}: " * (report.when != "call") + str(call.excinfo.value).strip() + where
