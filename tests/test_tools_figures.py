"""The figures of the sources: what is counted, and what is not, on sources whose figures are known."""

from pathlib import Path

import pytest

from tools import figures

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "csrc/operator.cpp": """
#include "body.h"
// radius in a comment
Tensor attend(const Tensor& x, std::tuple<int, std::array<int, 2>> box, int64_t radius) {
  const Problem p = problem_of(x, radius);
  return run(p, p.radius * 2);
}
STABLE_TORCH_LIBRARY_IMPL(a, CPU, m) { m.impl("attend" PLACE, TORCH_BOX(&attend)); }
""",
    "csrc/bindings.cpp": """
  module.def("nothing", &nothing, "Nothing, of (a, b).");
  module.def("least", [](int radius) { return 1; }, py::arg("radius"), py::arg("backward"));
""",
    "csrc/cuda/body.h": '#include "../common/sums.h"\n#include <vector>\nstruct Sum3 : Body {\n};\n',
    "csrc/common/sums.h": '#include "cuda/body.h"\n/* radius */ struct Sum3;\n',
    "contextual_attention/layer.py": '''
def attend(x, radius: int):
    """With a radius."""
    if radius > 1:  # a radius
        x = x[:: 2 * radius]
    return Call(
        x,
        radius=radius,
    )
''',
    "contextual_attention/testing.py": "CASES = [Case(radius=3)]\n",
    "contextual_attention/triton/kernels.py": """
@triton.jit
def helper(x): pass

@triton.jit(do_not_specialize=["n"])
def sums(x, out, n, BLOCK: tl.constexpr): pass

def run(x): sums[(1, 2)](x, x, 3, BLOCK=4)
""",
}


@pytest.fixture
def checkout(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_is_counted(checkout):
    found = figures.figures(checkout, "radius", "Sum3")
    assert found["lines that name radius"] == 8
    assert found["  in files"] == 3
    # Two of operator.cpp, both of bindings.cpp in one line, two of layer.py.
    assert found["  only pass it on"] == 5
    assert found["parameters of operators"] == "3 to 3, attend in csrc/operator.cpp"
    assert found["parameters of bindings"] == "0 to 2, least"
    assert found["parameters of Triton kernels"] == "4 to 4, sums in contextual_attention/triton/kernels.py"
    assert found["lines of csrc/"] == "17 in 4 files"
    assert found["lines of tools/"] == "0 in 0 files"
    assert (
        found["  longest function of contextual_attention/"] == "8, attend in contextual_attention/layer.py"
    )
    assert found["files for Sum3"] == "2, of 6 lines"


@pytest.mark.parametrize(
    ("line", "passes"),
    [
        ("    radius,", True),
        ("    radius=options.radius,", True),
        ("int64_t radius, const int64_t* step) {", True),
        ("problem.radius = call->radius;", True),
        ('py::arg("radius"), py::arg("threads"),', True),
        ("    radius: int", True),
        ("    radius: int = 3", False),
        ('{"radius": 1}', False),
        ("reach = options.radius // 2", False),
        ("taps = p.radius * p.radius;", False),
        ("double* at = data + p.radius;", False),
        ("return p.after() && ready(p.radius);", False),
        ("if p.radius:", False),
        ("p.radius == 3", False),
    ],
)
def test_lines_that_only_pass_on(line, passes):
    assert figures.passes_on(line, "radius") is passes


def test_of_this_checkout(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["figures.py", "--root", str(ROOT), str(ROOT)])
    figures.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [str(ROOT), str(ROOT)]
    largest = [line for line in lines if line.startswith(("parameters", "files for"))]
    assert len(largest) == 4
    # Found at all: a name that has changed would make it 0.
    assert not [line for line in largest if " 0, " in line or "none" in line]
