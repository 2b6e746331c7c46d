"""A pytest plugin: every test's start and end as a record at once, and a fresh process after a lost context.

    pytest -p on_gpu.session.pytest_records --records FILE [-n 8 ...]

A killed run then tells all that it has found out; and a test that leaves the CUDA context lost ends its
process, so that xdist goes on with the next test in a new one, where it would fail for the same reason.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from on_gpu import isolation
from on_gpu.records import Records, last_states, read

_STEP = "tests"
_STATES = {"passed": "passed", "failed": "failed", "skipped": "left out"}


def pytest_addoption(parser):
    parser.addoption("--records", type=Path, required=True, help="file of records to append to")


def pytest_runtest_logstart(nodeid, location):
    # Called in the process that runs the test, and by xdist once more in the one that collects the reports.
    if _config is not None and _runs_tests(_config):
        _records().add(nodeid, "started", process=os.getpid())


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
    last = last_states(read(_records().path)).get((_STEP, crashitem))
    if last is not None and last["state"] == "started":
        seconds, limit = time.time() - last["time"], getattr(_config.option, "timeout", None)
        how = "it hung" if limit and seconds >= limit else "it crashed"
        _records().add(
            crashitem, "failed", f"{how}: its process ended after {seconds:.0f} s", seconds=round(seconds, 2)
        )


_config: pytest.Config | None = None


def pytest_configure(config):
    global _config
    _config = config


def _records() -> Records:
    return Records(_config.getoption("records"), _STEP)


def _runs_tests(config: pytest.Config) -> bool:
    """Not where xdist's processes run them."""
    return hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None)


def _why(report: pytest.TestReport, call: pytest.CallInfo) -> str:
    if report.skipped:
        return str(call.excinfo.value)
    crash = getattr(report.longrepr, "reprcrash", None)
    where = f" ({Path(crash.path).name}:{crash.lineno})" if crash else ""
    return f"{report.when}: " * (report.when != "call") + str(call.excinfo.value).strip() + where
