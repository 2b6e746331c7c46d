"""The CUDA sources by nvcc alone, which needs no GPU: for every architecture, and without register spills."""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "csrc/cuda").glob("*.cu"))
ARCHITECTURES = ("8.0", "9.0a", "12.0")
# A multiprocessor has room for two blocks of 256 threads or, of those that walk, three of 128; of those that
# march, for one of 256.
MOST_REGISTERS, MOST_REGISTERS_OF_WALKS, MOST_REGISTERS_OF_MARCHES = 128, 168, 255
# Where the bodies of a source are listed.
LISTED = {"kernels.cu": "kernels.h", "gram_sums.cu": "gram_sums.h"}

WALKS = ("DiagonalSum3<", "WrappedSum3<", "CellSum<", "CellGradient<")

KERNEL = re.compile(
    r"Function properties for (?P<name>\S+)\n"
    r"\s*(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads\n"
    r".*?Used (?P<registers>\d+) registers"
)


@pytest.fixture(scope="module")
def nvcc(build_script):
    found = build_script.setup_cuda.find_nvcc()
    if found is None:
        pytest.skip("nvcc, which compiles the CUDA sources, is not installed")
    return found


@pytest.fixture(scope="module")
def reports(build_script, nvcc, tmp_path_factory):
    """What ptxas says of each source and architecture."""
    folder = tmp_path_factory.mktemp("cuda")

    def compiled(job):
        source, architecture = job
        number = architecture.replace(".", "")
        command = [nvcc, *build_script.CUDA_FLAGS, f"-arch=sm_{number}", "-cubin", "-Xptxas=-v", str(source)]
        target = folder / f"{source.stem}.{number}.cubin"
        result = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{source.name} for {architecture}: {result.stderr[-2000:]}"
        return result.stderr

    jobs = [(source, architecture) for source in SOURCES for architecture in ARCHITECTURES]
    with ThreadPoolExecutor() as pool:
        return dict(zip(jobs, pool.map(compiled, jobs), strict=True))


def test_there_is_something_to_compile():
    assert SOURCES


def test_a_build_holds_code_for_every_architecture(build_script, nvcc, monkeypatch):
    """Where there is no device to ask; nvcc knows all of them from 12.8 on."""
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    monkeypatch.setattr(build_script.setup_cuda, "architectures_of_this_machine", tuple)
    wanted = build_script.setup_cuda.wanted_architectures(nvcc)
    assert tuple(name.removesuffix("+PTX") for name in wanted) == ARCHITECTURES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_kernels_keep_everything_in_registers(reports, source, architecture):
    kernels = [match.groupdict() for match in KERNEL.finditer(reports[source, architecture])]
    assert kernels
    for kernel in kernels:
        used = {name: int(kernel[name]) for name in ("stack", "stores", "loads")}
        assert not any(used.values()), f"{kernel['name']} spills: {used}"
        assert int(kernel["registers"]) <= most_registers(kernel["name"]), kernel["name"]


def most_registers(kernel):
    if "march_" in kernel:
        return MOST_REGISTERS_OF_MARCHES
    return MOST_REGISTERS_OF_WALKS if "walk_" in kernel else MOST_REGISTERS


def test_every_body_of_the_pipeline_is_a_kernel(reports):
    """Those that walk are four: for one to four columns side by side."""
    assert {source.name for source in SOURCES} == set(LISTED)
    for (source, _), report in reports.items():
        header = ROOT / "csrc/cuda" / LISTED[source.name]
        listed = re.findall(r"^  X\((.+)\)", header.read_text(), re.MULTILINE)
        count = sum(4 if name.startswith(WALKS) else 1 for name in listed)
        assert len(KERNEL.findall(report)) == count
