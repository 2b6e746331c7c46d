"""The one command for a machine with a GPU, where there is none: its steps, their limits, what it tells."""

import os
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest

from tools.gpu import isolation, programs
from tools.gpu.course import digest, running, steps
from tools.gpu.course.running import ROOT, Command, Log, Step
from tools.gpu.records import COLLECTED, Records, last_states, read, unfinished
from tools.gpu.session import main, parse

STAND_IN = """
import os, time
import pytest
from tools.gpu import isolation

each_backend = pytest.mark.parametrize("backend", ["cuda", "triton"])


@each_backend
@pytest.mark.parametrize("case", range(3))
def test_good(backend, case):
    pass


@each_backend
def test_wrong(backend):
    assert 1e-3 < 2e-6, "output: error 1.00e-03"


def test_hang():
    time.sleep(600)


def test_crash():
    os.abort()


def test_lost(monkeypatch):
    monkeypatch.setattr(isolation, "context_is_lost", lambda: True)
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_not_here():
    pytest.skip("there is no such device")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A suite in the place of tests/gpu in which everything goes wrong that can."""
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "test_stand_in.py").write_text(STAND_IN)
    monkeypatch.setattr(steps, "SUITE", suite)
    monkeypatch.setattr(steps, "TESTED", suite)
    monkeypatch.setattr(steps, "TEST_LIMIT", 5)
    monkeypatch.setattr(steps, "PROCESSES", 2)
    return suite


def session(monkeypatch, folder, *options):
    """Runs the command in this process: its status."""
    monkeypatch.setattr(sys, "argv", ["session.py", str(folder), *options])
    return main()


def found(folder):
    return last_states(read(folder / "records.jsonl"))


def test_a_suite_in_which_everything_goes_wrong(stand_in, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "results"
    assert session(monkeypatch, folder, "--only", "tests", "--minutes", "1.5") == 1
    records = found(folder)
    states = {
        what.split("::")[-1]: each["state"] for (step, what), each in records.items() if step == "tests"
    }
    assert states.pop(COLLECTED) == "measured"
    good = {f"test_good[{case}-{backend}]": "passed" for case in range(3) for backend in ("cuda", "triton")}
    wrong = {f"test_wrong[{backend}]": "failed" for backend in ("cuda", "triton")}
    ended = dict.fromkeys(("test_hang", "test_crash", "test_lost"), "failed")
    assert states == good | wrong | ended | {"test_not_here": "left out"}

    text = (folder / "digest.txt").read_text()
    assert text.startswith("== failures")
    for said in (
        "test_wrong[cuda]: output: error 1.00e-03",
        "test_wrong[triton]",
        "test_hang: it hung: its process ended after",
        "test_crash: it crashed: its process ended after",
        "test_lost: the CUDA context was lost: CUDA error: an illegal memory access",
        "6 passed",
        "5 failed",
    ):
        assert said in text
    assert capsys.readouterr().out.endswith(text + "\n"), "the digest is what is printed last"

    assert "it never ended" not in text


def test_the_next_session_takes_what_is_unfinished(stand_in, tmp_path, monkeypatch):
    """What failed, never ended or was not reached; and what there is no more is told."""
    earlier, folder = tmp_path / "records.jsonl", tmp_path / "results"
    name = "test_stand_in.py::{}".format
    records = Records(earlier, "tests")
    collected = [
        "test_good[0-cuda]",
        "test_good[1-cuda]",
        "test_good[2-cuda]",
        "test_wrong[cuda]",
        "test_gone",
    ]
    records.add(COLLECTED, "measured", tests=[name(each) for each in collected])
    records.add(name("test_good[0-cuda]"), "passed")
    records.add(name("test_good[1-cuda]"), "started")
    records.add(name("test_wrong[cuda]"), "failed", "of old")
    records.add(name("test_gone"), "failed", "of old")
    Records(earlier, "rest").add(name("test_hang"), "failed", "of old")

    assert session(monkeypatch, folder, "--only", "tests", "--failed", str(earlier)) == 1
    states = {what: each["state"] for (step, what), each in found(folder).items() if step == "tests"}
    del states[COLLECTED]
    assert states == {
        name("test_good[1-cuda]"): "passed",
        name("test_good[2-cuda]"): "passed",
        name("test_wrong[cuda]"): "failed",
        name("test_gone"): "failed",
    }
    assert "test_gone: there is no such test any more" in (folder / "digest.txt").read_text()
    # Those of another step are that step's.
    again = parse([str(folder), "--failed", str(earlier)])
    (command,) = steps.make("rest", again, steps.Files(folder)).commands
    assert f"--again={earlier}" in command.arguments
    records = Records(earlier, "rest")
    records.add(name("test_hang"), "passed")
    assert steps.make("rest", again, steps.Files(folder)) is None


def test_what_was_not_reached_is_counted(stand_in, tmp_path, monkeypatch):
    (stand_in / "test_stand_in.py").write_text(
        "import time\ndef test_slow(): time.sleep(60)\ndef test_b(): pass\n"
    )
    monkeypatch.setattr(steps, "PROCESSES", 1)
    monkeypatch.setattr(steps, "TEST_LIMIT", 60)
    folder = tmp_path / "results"
    assert session(monkeypatch, folder, "--only", "tests", "--minutes", "0.15") == 1
    text = (folder / "digest.txt").read_text()
    assert "tests: ended after 9 s" in text
    assert "test_slow: it never ended" in text
    assert "1 never ended, 1 not reached" in text
    assert len(unfinished(folder / "records.jsonl", "tests")) == 2


@pytest.mark.parametrize("file", ["test_broken.py", "conftest.py"])
def test_what_cannot_be_imported_is_told(stand_in, tmp_path, monkeypatch, file):
    (stand_in / "test_stand_in.py").write_text("def test_b(): pass\n")
    (stand_in / file).write_text("import nothere\n")
    folder = tmp_path / "results"
    assert session(monkeypatch, folder, "--only", "tests") == 1
    assert "No module named 'nothere'" in (folder / "digest.txt").read_text()


def test_a_suite_that_is_skipped_has_not_passed(stand_in, tmp_path, monkeypatch):
    (stand_in / "test_stand_in.py").write_text(
        "import pytest\ndef test_b(): pytest.skip('there is no device')\n"
    )
    folder = tmp_path / "results"
    assert session(monkeypatch, folder, "--only", "tests") == 1
    assert "tests: no test ran: there is no device" in (folder / "digest.txt").read_text()


def test_a_dry_run(tmp_path):
    """The whole command where there is no GPU: every step that has something to do there ends well."""
    command = [sys.executable, "tools/gpu/session.py", str(tmp_path), "--device", "cpu", "--quick"]
    done = subprocess.run([*command, "--minutes", "9"], cwd=ROOT, capture_output=True, text=True, check=False)
    states = {what: each["state"] for (step, what), each in found(tmp_path).items() if step == "session"}
    # On a machine with other work not all of smoke's cases are reached.
    assert states.pop("smoke")
    good = dict.fromkeys(("facts", "load", "tests", "times", "forms"), "passed")
    assert states == good | dict.fromkeys(("counters", "memcheck", "rest"), "left out"), done.stdout
    smoke = [each["state"] for (step, _), each in found(tmp_path).items() if step == "smoke"]
    assert smoke.count("passed") >= 3
    assert set(smoke) <= {"passed", "left out"}
    assert done.stdout.endswith((tmp_path / "digest.txt").read_text() + "\n")
    assert len(list(tmp_path.iterdir())) <= 7


# Steps and their limits


def take(command, limit=30.0, left=60.0, lines=None):
    """Runs one program as a step; its outcome, and what the log holds."""
    text = StringIO()
    step = Step("step", (Command([sys.executable, "-c", command]),), limit)
    return running.run(step, left, Log(text)), text.getvalue()


def test_how_a_program_ends_is_told():
    assert take("print('hello')")[0].why is None
    assert take("print('for a reason'); raise SystemExit(3)")[0].why == "status 3: for a reason"
    assert take("import os; os.abort()")[0].why == "killed by SIGABRT: "


def test_what_exceeds_its_limit_may_say_where_it_was():
    outcome, log = take("import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('at the pole')", 2)
    assert outcome.why == "ended after 2 s"
    assert "at the pole" in log


def test_what_does_not_listen_is_killed_with_its_children(monkeypatch):
    monkeypatch.setattr(running, "GRACE", 1.0)
    deaf = "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); os.system('sleep 60')"
    start = time.monotonic()
    assert take(deaf, 2)[0].why == "ended after 2 s"
    assert time.monotonic() - start < 10


def test_children_that_outlive_their_program_hold_nothing_up():
    start = time.monotonic()
    outcome, _ = take("import subprocess; subprocess.Popen(['sleep', '60'])")
    assert outcome.why is None
    assert time.monotonic() - start < 10


def test_what_holds_an_output_open_is_not_waited_for(monkeypatch):
    """As a process does that hangs within the driver: here one in a session of its own."""
    holding = (
        "import subprocess, time; subprocess.Popen(['sleep', '20'], start_new_session=True); time.sleep(60)"
    )
    start = time.monotonic()
    assert take(holding, 2)[0].why == "ended after 2 s"
    said = programs.output([sys.executable, "-c", holding], 2)
    assert said[1] == "ended after 2 s, and its output is held open"
    assert time.monotonic() - start < 18


def test_what_cannot_be_ended_is_given_up(monkeypatch):
    monkeypatch.setattr(running, "GRACE", 0.5)
    monkeypatch.setattr(running, "_GIVEN_UP", 0.5)
    monkeypatch.setattr(running._Running, "_end", lambda self, how: None)
    start = time.monotonic()
    assert take("import time; time.sleep(10)", 1)[0].why == "could not be ended after 1 s"
    assert time.monotonic() - start < 8


def test_what_is_left_limits_a_step():
    assert take("import time; time.sleep(60)", limit=60, left=2)[0].why == "ended after 2 s"


def test_programs_of_a_step_run_side_by_side(tmp_path):
    """Each waits for what only the other does."""
    wait = (
        "import pathlib, time\n"
        "pathlib.Path({!r}).touch()\n"
        "while not pathlib.Path({!r}).exists(): time.sleep(0.01)\n"
        "print('x')"
    )
    a, b = (str(tmp_path / name) for name in "ab")
    commands = [Command([sys.executable, "-c", wait.format(*each)], each[0][-1]) for each in ((a, b), (b, a))]
    text = StringIO()
    assert running.run(Step("step", tuple(commands), 30), 60, Log(text)).why is None
    assert {"a: x", "b: x"} <= set(text.getvalue().splitlines())


def test_the_terminal_shows_how_a_step_begins_and_the_log_everything(capsys):
    _, log = take("for i in range(100): print('line', i)")
    shown = capsys.readouterr().out
    assert "line 99" in log
    assert "line 5" in shown
    assert "line 50" not in shown
    assert "the rest is in session.log" in shown


def test_a_log_that_grows_without_end_stops(monkeypatch):
    monkeypatch.setattr(running, "_LONGEST_LOG", 5000)
    outcome, log = take("for i in range(10000): print('line', i)")
    assert outcome.why is None
    assert 4000 < len(log) <= 5000


@pytest.mark.parametrize("has_failed", [False, True])
def test_steps_after_a_failure(tmp_path, monkeypatch, has_failed):
    """Then only times follow, and those shortly; --only takes what it names."""
    taken = []
    folder = tmp_path / "results"
    files = steps.Files(folder)

    def run(step, left, log):
        taken.append((step.name, step.limit))
        if step.name == "smoke":
            Records(files.records, "smoke").add("cuda paper", "failed" if has_failed else "passed")
        return running.Outcome(1.0, "status 1" if has_failed and step.name == "smoke" else None)

    monkeypatch.setattr(running, "run", run)
    assert session(monkeypatch, folder) == has_failed
    names = [name for name, _ in taken]
    assert names[:5] == ["facts", "load", "smoke", "tests", "times"]
    assert (names[5:] == []) == has_failed
    assert has_failed or [name.split()[0] for name in names[5:]][:4] == [
        "counters",
        "memcheck",
        "rest",
        "forms",
    ]
    assert dict(taken)["times"] == (30 if has_failed else 90)
    recorded = {what: each["state"] for (step, what), each in found(folder).items() if step == "session"}
    assert list(recorded) == list(steps.NAMES)
    assert (recorded["counters"] == "left out") == has_failed

    taken.clear()
    session(monkeypatch, folder, "--only", "smoke,counters")
    assert [name for name, _ in taken] == ["smoke", "counters"]


def test_a_step_that_no_time_is_left_for(tmp_path, monkeypatch):
    assert session(monkeypatch, tmp_path, "--only", "facts", "--minutes", "0.01") == 1
    assert "facts: no time was left" in (tmp_path / "digest.txt").read_text()


def test_what_a_session_leaves_is_no_more_than_comes_back(tmp_path):
    files = steps.Files(tmp_path)
    names = [each for each in vars(steps.Files) if isinstance(vars(steps.Files)[each], property)]
    assert {getattr(files, each) for each in names} == set(files.all())
    assert len(names) == 7


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--only", "smoke,test"], "expected names of facts, load, smoke"),
        (["--failed", "nowhere.jsonl"], "there is no file nowhere.jsonl"),
        (["--failed", __file__, str(Path(__file__).parent)], "would be written anew"),
        (["--device", "tpu"], "invalid choice"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, said, capsys):
    with pytest.raises(SystemExit) as refusal:
        parse(options if len(options) == 3 else ["results", *options])
    assert refusal.value.code == 2
    assert said in capsys.readouterr().err


# The digest


def test_a_digest_fits_and_begins_with_failures(tmp_path):
    """However much has failed: of one reason the first by name, and how many there are."""
    path = tmp_path / "records.jsonl"
    for backend in ("cuda", "triton"):
        for i in range(200):
            why = f"gradient of value: error {i}e-3 of norm 1.0, allowed 2e-6 " + 50 * "and so on "
            Records(path, "tests").add(f"tests/gpu/test_a.py::test_b[{backend}-{i}]", "failed", why)
    for i in range(60):
        Records(path, "tests").add(
            f"tests/gpu/test_a.py::test_{i}", "failed", f"{chr(97 + i % 26) * (1 + i)}"
        )
        Records(path, "times").add(f"{i}", "measured", line=f"time {i} " + 200 * "x")
    Records(path, "smoke").add("cuda paper float32", "failed", "statistics are wrong")
    Records(path, "smoke").add("cuda yu2018 float32", "started")
    digest.write(path, tmp_path / "digest.txt")
    text = (tmp_path / "digest.txt").read_text()
    lines = text.splitlines()
    assert len(text) <= 9000
    assert lines[:3] == [
        "== failures",
        "smoke: cuda paper float32: statistics are wrong",
        "smoke: cuda yu2018 float32: it never ended",
    ]
    assert "200 in all" in lines[3]
    assert "200 in all" in lines[4]
    assert "more in records.jsonl" in lines[26]
    assert "== cases" in lines
    assert "460 failed" in text


def test_a_digest_of_success_tells_what_the_steps_say(tmp_path):
    path = tmp_path / "records.jsonl"
    Records(path, "session").add("facts", "passed", seconds=3.25)
    Records(path, "times").add(
        "a", "measured", line="paper 1x1024x1024: 1.5 ms", kernels=["walk_paths 0.7 ms"]
    )
    Records(path, "times").add("b", "measured", line="yu2018 1x1024x1024: 1.2 ms")
    assert digest.digest(list(read(path))) == (
        "== steps\nok        3.2 s  facts\n\n"
        "== times, in ms\npaper 1x1024x1024: 1.5 ms\nyu2018 1x1024x1024: 1.2 ms\n\n"
        "== kernels, in ms\nwalk_paths 0.7 ms\n"
    )


def test_a_line_that_a_kill_has_cut_spoils_no_other(tmp_path):
    path = tmp_path / "records.jsonl"
    Records(path, "tests").add("a", "passed")
    with path.open("a") as file:
        file.write('{"step": "tests", "wh')
    assert [each["what"] for each in read(path)] == ["a"]


# Work in processes of its own


def works():
    print("worked", flush=True)


def fails():
    raise ValueError("as was planned")


def crashes():
    os.abort()


def hangs():
    time.sleep(60)


def loses_its_context():
    isolation.context_is_lost = lambda: True
    raise RuntimeError("CUDA error")


@pytest.mark.parametrize(
    ("work", "limit", "told"),
    [
        (works, 60, None),
        (fails, 60, "ended with status 1"),
        (crashes, 60, "killed by SIGABRT"),
        (hangs, 1, "ended after 1 s"),
        (loses_its_context, 60, "the CUDA context was lost"),
    ],
)
def test_how_a_child_ends_is_told(work, limit, told):
    assert isolation.in_child(work, limit=limit) == told


def test_a_child_prints_where_its_parent_does(capfd, tmp_path):
    """Wherever that was when the first of them was started."""
    with (tmp_path / "elsewhere").open("w") as file:
        terminal = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            isolation.in_child(works, limit=60)
        finally:
            os.dup2(terminal, 1)
            os.close(terminal)
    isolation.in_child(works, limit=60)
    assert (tmp_path / "elsewhere").read_text() == "worked\n"
    assert capfd.readouterr().out == "worked\n"
