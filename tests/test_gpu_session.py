"""The one command for a machine with a GPU, gone through on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import gpu_session
from gpu_session import Step

ROOT = Path(gpu_session.__file__).resolve().parents[1]


def run(folder, *options):
    command = [sys.executable, "benchmarks/gpu_session.py", str(folder), "--device", "cpu", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_dry_run(tmp_path):
    """Every step is reached; without a GPU the tests of one are skipped, and the benchmark is the CPU's."""
    done = run(tmp_path, "--quick", "--no-build")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [each["step"] for each in summary] == ["machine", "backends", "tests", "benchmark 1x64x64"]
    rows = json.loads((tmp_path / "cpu.json").read_text())["rows"]
    assert {"cpu", "textbook"} <= {row["variant"] for row in rows}
    log = (tmp_path / "session.log").read_text()
    assert "there is no CUDA device" in log
    assert log == done.stdout


def test_a_step_that_fails_or_hangs_stops_none_after_it(tmp_path, monkeypatch, capsys):
    steps = [
        Step("good", [sys.executable, "-c", "print('hello')"], 60),
        Step("bad", [sys.executable, "-c", "raise SystemExit(3)"], 60),
        # Its child must not outlive it: the output would stay open, and the session hang.
        Step("slow", [sys.executable, "-c", "import os; os.system('sleep 60')"], 5),
        Step("last", [sys.executable, "-c", "print('bye')"], 60),
    ]
    monkeypatch.setattr(gpu_session, "_steps", lambda arguments: steps)
    monkeypatch.setattr(sys, "argv", ["gpu_session.py", str(tmp_path)])
    assert gpu_session.main() == 1
    summary = {each["step"]: each for each in json.loads((tmp_path / "summary.json").read_text())}
    assert [each["status"] for each in summary.values()] == [0, 3, -9, 0]
    assert summary["slow"]["note"] == "ended after 5 s"
    assert "hello" in capsys.readouterr().out


def test_what_no_time_is_left_for_counts_as_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_session, "_steps", lambda arguments: [Step("never", ["true"], 60)])
    monkeypatch.setattr(sys, "argv", ["gpu_session.py", str(tmp_path), "--minutes", "0.01"])
    assert gpu_session.main() == 1
    assert json.loads((tmp_path / "summary.json").read_text())[0]["note"] == "no time was left"


def test_steps_of_a_whole_session(tmp_path):
    """In the order of their worth: they need not all fit into the time if many are slow."""
    arguments = gpu_session._parser().parse_args([str(tmp_path)])
    names = [step.name for step in gpu_session._steps(arguments)]
    assert names[:6] == ["machine", "build", "backends", "tests", "benchmark bfloat16", "benchmark large"]
    assert arguments.minutes < 9
