"""The step `load`, as a program in a checkout whose torch, package and build are stand-ins."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools.gpu import load

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ("__init__.py", "gpu/__init__.py", "gpu/load.py", "gpu/looking.py", "gpu/records.py")

TORCH = """
__version__ = "2.11.0"
float32 = "float32"
def device(*place): return place
class cuda:
    def init(): {init}
    def get_device_capability(): return (9, 0)
"""
BACKENDS = """
class extension:
    __file__ = __file__
    def build_info(): return {"cuda_architectures": ["9.0a"]}
def refusals(device, dtype): return {"reference": "slow"}
"""
REFUSED = """
extension = None
def refusals(device, dtype): return dict.fromkeys(("cuda", "cpu"), f"{__file__} is of another state")
"""
CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
NONE = "def load_ready_made(): return None"
OTHER = "def load_ready_made(): raise ImportError('built from other sources')"


class Checkout:
    """The step's program, and round it what the tests write."""

    def __init__(self, root):
        self.root = root
        for name in PROGRAMS:
            self.write(f"tools/{name}", (ROOT / "tools" / name).read_text())
        self.write("torch.py", TORCH.format(init="pass"))
        self.write("contextual_attention/__init__.py", "")
        self.write("contextual_attention/backends.py", BACKENDS)
        self.write("contextual_attention/triton/operator.py", "")
        self.write("tests/helpers/emulated.py", NONE)
        self.write("setup.py", "raise SystemExit('error: nothing was to be built')")

    def write(self, name, text):
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def start(self, device="cuda"):
        """In a session of its own, as the whole session starts its steps."""
        command = [sys.executable, "-m", "tools.gpu.load", "--records", "records", "--device", device]
        return subprocess.Popen(
            command,
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, device="cuda"):
        process = self.start(device)
        self.output = process.communicate(timeout=60)[0]
        return process.returncode

    def records(self):
        return [json.loads(line) for line in (self.root / "records").read_text().splitlines()]

    def states(self):
        return [(each["what"], each["state"]) for each in self.records()]

    def why(self, what):
        return next(each["why"] for each in self.records() if each["what"] == what and "why" in each)


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def a_build(*lines, status=0, repairs=True):
    """In setup.py's place: notes what it was asked for, prints, and may leave a package that works."""
    return "\n".join(
        [
            "import json, os, sys",
            "from pathlib import Path",
            "names = ('CA_CUDA', 'TORCH_CUDA_ARCH_LIST', 'MAX_JOBS')",
            "asked = {name: os.environ.get(name) for name in names} | {'arguments': sys.argv[1:]}",
            "Path('asked').write_text(json.dumps(asked))",
            *(f"print({line!r}, flush=True)" for line in lines),
            f"Path('contextual_attention/backends.py').write_text({BACKENDS!r})" if repairs else "",
            f"if {status}: sys.exit({status})",
        ]
    )


def test_what_works_is_not_built(checkout):
    assert checkout.run() == 0, checkout.output
    assert checkout.states() == [
        ("ready-made module", "passed"),
        ("host loops", "left out"),
        ("cuda", "passed"),
        ("triton", "passed"),
    ]
    module = checkout.records()[0]
    assert module["file"] == str(checkout.root / "contextual_attention/backends.py")
    assert module["bytes"] == len(BACKENDS)
    assert module["build"] == {"cuda_architectures": ["9.0a"]}
    assert set(module["import_seconds"]) == {"torch", "contextual_attention"}


def test_a_module_of_another_state_is_built_anew(checkout):
    checkout.write("contextual_attention/backends.py", REFUSED)
    checkout.write("setup.py", a_build("[1/2] g++ a", "a.cpp: warning: odd", "[2/2] g++ b"))
    assert checkout.run() == 0, checkout.output
    assert checkout.states() == [
        ("ready-made module", "failed"),
        ("build", "started"),
        ("build", "passed"),
        ("module built here", "passed"),
        ("host loops", "left out"),
        ("cuda", "passed"),
        ("triton", "passed"),
    ]
    # The checkout's own folder says nothing, and lines of the digest are short.
    assert checkout.why("ready-made module") == "contextual_attention/backends.py is of another state"
    said = checkout.output.splitlines()
    assert said[0] == "ready-made module: contextual_attention/backends.py is of another state"
    assert "a.cpp: warning: odd" in said
    assert "g++" not in checkout.output
    asked = json.loads((checkout.root / "asked").read_text())
    assert asked["CA_CUDA"] == "1"
    assert asked["TORCH_CUDA_ARCH_LIST"] == "9.0a"
    assert asked["MAX_JOBS"] == str(len(os.sched_getaffinity(0)))
    assert asked["arguments"][:3] == ["build_ext", "--inplace", "--force"]


def test_on_a_cpu_nothing_of_cuda_is_built(checkout):
    checkout.write("contextual_attention/backends.py", REFUSED)
    checkout.write("setup.py", a_build())
    assert checkout.run("cpu") == 0, checkout.output
    assert checkout.states()[-1] == ("cpu", "passed")
    asked = json.loads((checkout.root / "asked").read_text())
    assert (asked["CA_CUDA"], asked["TORCH_CUDA_ARCH_LIST"]) == ("0", None)


def test_a_build_that_fails_says_why_first(checkout):
    checkout.write("contextual_attention/backends.py", REFUSED)
    lines = "[1/2] g++ a", "FAILED: a.o", "g++ -c a", "a.cpp:3:1: error: no such thing", "error: not built"
    checkout.write("setup.py", a_build(*lines, status=1, repairs=False))
    assert checkout.run() == 1
    assert checkout.why("build") == "a.cpp:3:1: error: no such thing"
    assert checkout.states() == [
        ("ready-made module", "failed"),
        ("build", "started"),
        ("build", "failed"),
        ("host loops", "left out"),
        ("cuda", "failed"),
        ("triton", "passed"),
    ]


def test_a_build_that_changes_nothing(checkout):
    checkout.write("contextual_attention/backends.py", REFUSED)
    checkout.write("setup.py", a_build(repairs=False))
    assert checkout.run() == 1
    assert ("module built here", "failed") in checkout.states()
    assert ("cuda", "failed") in checkout.states()


def test_an_interrupted_build_says_how_far_it_was(checkout):
    checkout.write("contextual_attention/backends.py", REFUSED)
    checkout.write("setup.py", a_build("[7/29] g++", "here", repairs=False) + "\nimport time; time.sleep(60)")
    process = checkout.start()
    while process.stdout.readline() != "here\n":
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert checkout.why("build") == "interrupted at step [7/29]"


def test_a_crash_is_named_and_a_build_tried(checkout):
    """As where the module was built for another system: the loader or the module ends the process."""
    checkout.write("contextual_attention/backends.py", CRASH)
    checkout.write("setup.py", a_build())
    assert checkout.run() == 0, checkout.output
    assert checkout.why("ready-made module") == "importing it ended in SIGSEGV"
    assert ("module built here", "passed") in checkout.states()


def test_without_a_device_nothing_is_built(checkout):
    checkout.write("torch.py", TORCH.format(init="raise RuntimeError('no driver')"))
    checkout.write("contextual_attention/backends.py", REFUSED)
    assert checkout.run() == 1
    assert "build" not in dict(checkout.states())
    assert checkout.why("ready-made module") == "CUDA: RuntimeError: no driver"


def test_a_module_is_not_blamed_for_a_missing_device(checkout):
    checkout.write("torch.py", TORCH.format(init="raise RuntimeError('no driver')"))
    both = BACKENDS.replace('"reference": "slow"', '"cuda": "no device", "triton": "no device"')
    checkout.write("contextual_attention/backends.py", both)
    assert checkout.run() == 1
    assert dict(checkout.states())["ready-made module"] == "passed"
    assert checkout.why("cuda") == checkout.why("triton") == "CUDA: RuntimeError: no driver"


def test_without_torch_nothing_is_built(checkout):
    checkout.write("torch.py", "raise ImportError('libcudart.so.13: cannot open shared object file')")
    assert checkout.run() == 1
    assert "build" not in dict(checkout.states())
    expected = "ImportError: libcudart.so.13: cannot open shared object file"
    assert checkout.why("ready-made module") == checkout.why("cuda") == expected


def test_kernels_that_triton_refuses(checkout):
    checkout.write("contextual_attention/triton/operator.py", "raise AttributeError('no tl.such')")
    assert checkout.run() == 1
    states = dict(checkout.states())
    assert (states["ready-made module"], states["cuda"], states["triton"]) == ("passed", "passed", "failed")
    assert checkout.why("triton") == "contextual_attention.triton.operator: AttributeError: no tl.such"


def test_host_loops_of_other_sources_are_told(checkout):
    """And do not count: the smoke step then judges by the reference."""
    checkout.write("tests/helpers/emulated.py", OTHER)
    assert checkout.run() == 0
    assert checkout.why("host loops") == "built from other sources"


def test_host_loops_that_crash(checkout):
    checkout.write("tests/helpers/emulated.py", CRASH)
    assert checkout.run() == 0
    assert checkout.why("host loops") == "importing it ended in SIGSEGV"


def test_a_hang_is_ended(checkout, monkeypatch):
    """What was found out before it counts."""
    checkout.write("contextual_attention/backends.py", "import time; time.sleep(60)")
    monkeypatch.setattr(load, "ROOT", checkout.root)
    found = load.look("cuda", limit=1.0)
    assert found.why_not("cuda") == found.why_not("triton") == "no answer within 1 s"
    assert (found.torch, found.capability) == ("2.11.0", [9, 0])


def test_this_checkout():
    found = load.look("cpu")
    assert found.why_not("cpu") is None
    assert Path(found.module["file"]).name.startswith("contextual_attention_C")
    assert found.ended is None


@pytest.mark.parametrize(
    ("capability", "name"), [((9, 0), "9.0a"), ((8, 6), "8.6"), ((12, 0), "12.0"), (None, None)]
)
def test_architectures(capability, name):
    assert load.architecture(capability) == name
