"""What is installed, how it was built, and what a build says that cannot go on."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contextual_attention.backends import extension
from contextual_attention.interface import State
from tools.gpu import symbols as stable_abi

ROOT = Path(__file__).resolve().parent.parent


def run_outside(code: str, folder: Path) -> subprocess.CompletedProcess:
    """Run Python code where nothing of the checkout is on the path, except by installation."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """Runs code outside the checkout and returns what it printed."""
    folder = tmp_path_factory.mktemp("outside")
    if run_outside("import contextual_attention", folder).returncode != 0:
        pytest.skip("contextual_attention is not installed in this environment: run `pip install -e .`")

    def run(code: str) -> str:
        result = run_outside(code, folder)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    return run


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pinned_versions() -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text("constraints.txt"), re.MULTILINE))


class TestMetadata:
    def test_versions_agree(self, outside):
        declared = re.search(r'^version = "(.+)"$', text("pyproject.toml"), re.MULTILINE)[1]
        newest_entry = re.search(r"^## \[?(\d[^\s\]]*)", text("CHANGELOG.md"), re.MULTILINE)[1]
        installed = outside("from importlib.metadata import version; print(version('contextual_attention'))")
        assert declared == newest_entry == installed

    def test_runtime_requirements_have_no_upper_bound(self, outside):
        requirements = outside(
            "from importlib.metadata import requires; print(*requires('contextual_attention'), sep='\\n')"
        ).splitlines()
        assert {line for line in requirements if "extra ==" not in line} == {"torch>=2.11", "numpy"}

    def test_pre_commit_uses_the_pinned_formatters(self):
        hooks = re.findall(r"\[([\w-]+)==([^\]]+)\]", text(".pre-commit-config.yaml"))
        assert {name for name, _ in hooks} == {"ruff", "clang-format"}
        assert all(pinned_versions()[name] == version for name, version in hooks)

    def test_constraints_cover_the_direct_dependencies(self):
        pinned = {name.lower().replace("_", "-") for name in pinned_versions()}
        named = "dependencies|bench|demo|dev|docs|models|onnx|test|train|web"
        lists = re.findall(rf"(?ms)^(?:{named}) = \[(.*?)\]$", text("pyproject.toml"))
        assert len(lists) == 10
        wanted = {
            name.replace("_", "-")
            for entries in lists
            for name in re.findall(r'"([\w-]+)(?=["><=])', entries)
        }
        assert wanted <= pinned

    def test_readme_commands_are_the_ones_that_are_run(self):
        """The README's commands stand in the Makefile, the one for the tests in .ci/run, to the letter."""
        demo, test = re.findall(r"^python3 -m venv .*$", text("README.md"), re.MULTILINE)
        made = [line.strip() for line in text("Makefile").replace("$$", "$").splitlines()]
        assert test.endswith("&& pytest -n 2")
        assert demo in made
        assert test in made
        assert test in text(".ci/run").splitlines()


class TestImports:
    def test_models_is_part_of_the_package(self, outside):
        file = outside("import contextual_attention.models as models; print(models.__file__)")
        assert Path(file).name == "__init__.py"

    def test_models_is_no_global_package(self, outside):
        found = outside("import importlib.util; print(importlib.util.find_spec('models'))")
        assert found == "None"

    @pytest.mark.parametrize("package", ["contextual_attention", "contextual_attention.models"])
    def test_importing_imports_nothing_heavier_than_torch(self, outside, package):
        imported = outside(
            "import sys, torch\n"
            "before = set(sys.modules)\n"
            f"import {package}\n"
            "added = {name.partition('.')[0] for name in sys.modules.keys() - before}\n"
            "print(*sorted(added - set(sys.stdlib_module_names)))"
        )
        assert imported.split() == ["contextual_attention", "contextual_attention_C"]

    def test_the_layer_does_not_import_the_models(self, outside):
        imported = outside("import sys, contextual_attention; print(*sys.modules)")
        assert "contextual_attention.models" not in imported.split()


class TestExtension:
    @pytest.fixture
    def symbols(self):
        """Lists the symbols of an object file, with C++ names in clear."""
        nm = shutil.which("nm")
        if nm is None:
            pytest.skip("the program nm (of binutils), which lists symbols, is not installed")

        def run(file: str | Path, *options: str) -> list[str]:
            command = [nm, "-C", *options, str(file)]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

        return run

    def test_build_info(self):
        info = extension.build_info()
        assert set(info) == {"state", "compiler", "simd_levels", "cuda_architectures", "torch_headers"}
        assert info["state"] == str(State.of(ROOT / "csrc", bool(info["cuda_architectures"])))
        assert re.match(r"(clang\+\+|g\+\+) \d+", info["compiler"])
        assert re.match(r"\d+\.\d+", info["torch_headers"])
        assert info["simd_levels"][0] == "base"
        assert set(extension.supported_simd_levels()) <= set(info["simd_levels"])

    def test_has_nothing_that_only_tests_need_but_the_places_for_it(self, symbols):
        """tests/native has it, which the tests build, and hang there (csrc/cpu/hooks.h)."""
        of_cuda = (
            *("least_cuda_workspace", "default_cuda_workspace", "last_cuda_tiling", "take_launch_count"),
            *("place_cuda_gram", "GramPlace"),  # tools/gpu/compare.py times one place beside the other
        )
        assert {name for name in vars(extension) if not name.startswith("_")} == {
            *("build_info", "simd_level", "set_simd_level", "supported_simd_levels"),
            *("least_cpu_workspace", "set_hooks"),
            *(of_cuda if extension.build_info()["cuda_architectures"] else ()),
        }
        names = re.compile(r"cpu::\w*(count|perturb|round_otherwise|describe)\w*\(|kCounting")
        assert not list(filter(names.search, symbols(extension.__file__, "--defined-only")))

    def test_simd_level_can_be_chosen(self):
        initial = extension.simd_level()
        try:
            for level in extension.supported_simd_levels():
                extension.set_simd_level(level)
                assert extension.simd_level() == level
            with pytest.raises(ValueError, match="sse9"):
                extension.set_simd_level("sse9")
        finally:
            extension.set_simd_level(initial)

    def test_asks_of_torch_what_2_11_has(self):
        """A C++ symbol of torch's would tie the extension to the one version that it was built with, and a
        later one's C functions and operators to that and those after it."""
        if shutil.which("readelf") is None:
            pytest.skip("the program readelf (of binutils) is not installed")
        module = Path(extension.__file__)
        assert "aoti_torch_get_data_ptr" in stable_abi.Needs.of(module).symbols
        assert "to.dtype_layout" in stable_abi.called_operators(module)
        assert stable_abi.not_in_torch(module) == []

    def test_has_the_cuda_pipeline_only_where_it_was_built(self, symbols):
        """And what tests alone need of it, the pipeline on the host, never."""
        is_there = any("contextual_attention::cuda::" in line for line in symbols(extension.__file__))
        assert is_there == bool(extension.build_info()["cuda_architectures"])
        assert b"_on_host" not in Path(extension.__file__).read_bytes()

    def test_simd_levels_share_no_code(self, build_script, symbols, tmp_path):
        """A weak symbol in two levels becomes one in the linker: perhaps the one an older processor lacks."""
        compiler = build_script.Toolchain.find_compiler()
        for level in build_script.simd_levels():
            for source in filter(build_script.is_simd_source, (ROOT / "csrc/cpu").glob("*.cpp")):
                target = tmp_path / f"{source.stem}.{level}.o"
                flags = [f"-DCA_SIMD_LEVEL={level}", *build_script.SIMD_FLAGS[level], "-O0"]
                command = [
                    *compiler,
                    *build_script.COMMON_FLAGS,
                    *flags,
                    "-c",
                    str(source),
                    "-o",
                    str(target),
                ]
                subprocess.run(command, check=True)
                defined = symbols(target, "--defined-only", "--extern-only")
                assert defined
                assert all(f"contextual_attention::cpu::{level}::" in line for line in defined)


class TestCuda:
    """What the variables of setup_cuda.py make of a build; nvcc itself is tried in test_cuda_build.py."""

    @pytest.fixture
    def cuda(self, build_script, monkeypatch):
        for name in ("CA_CUDA", "CUDA_HOME", "TORCH_CUDA_ARCH_LIST"):
            monkeypatch.delenv(name, raising=False)
        return build_script.setup_cuda

    @pytest.fixture
    def nvcc(self, tmp_path):
        """Writes a program in nvcc's place, which knows two architectures and fails on others."""
        home = tmp_path / "toolkit"
        (home / "bin").mkdir(parents=True)
        (home / "lib64").mkdir()
        (home / "lib64/libcudart_static.a").touch()
        program = home / "bin/nvcc"
        program.write_text(
            "#!/bin/sh\n"
            'case "$*" in\n'
            "  *--list-gpu-code*) echo sm_80; echo sm_90;;\n"
            f'  *--dryrun*) echo "#$ TOP={home}" >&2;;\n'
            "  *sm_75*) echo unsupported >&2; exit 1;;\n"
            "esac\n"
        )
        program.chmod(0o755)
        return program

    @pytest.mark.parametrize(
        ("listed", "names"),
        [
            ("8.0", ("8.0",)),
            ("8.0;9.0a;12.0+PTX", ("8.0", "9.0a", "12.0+PTX")),
            (" 8.6 9.0+PTX; ", ("8.6", "9.0+PTX")),
        ],
    )
    def test_architecture_list(self, cuda, listed, names):
        assert cuda.parse_architectures(listed) == names

    @pytest.mark.parametrize("listed", ["80", "Hopper", "9.0a;x", "8.0,9.0"])
    def test_architecture_list_that_makes_no_sense(self, cuda, listed):
        with pytest.raises(cuda.PlatformError, match=r"TORCH_CUDA_ARCH_LIST: expected names such as 8\.0"):
            cuda.parse_architectures(listed)

    def test_architecture_flags(self, cuda):
        assert cuda.architecture_flags("9.0a") == ["-gencode=arch=compute_90a,code=sm_90a"]
        assert cuda.architecture_flags("12.0+PTX") == [
            "-gencode=arch=compute_120,code=sm_120",
            "-gencode=arch=compute_120,code=compute_120",
        ]

    def test_without_cuda_its_sources_are_not_compiled(self, cuda, build_script, monkeypatch):
        monkeypatch.setenv("CA_CUDA", "0")
        units = list(build_script.units(build_script.Toolchain()))
        folders = {"csrc", "csrc/common", "csrc/cpu", "csrc/cpu/filling"}
        assert {unit.source.parent.as_posix() for unit in units} == folders
        assert [unit.source.name for unit in units if unit.source.parent == Path("csrc")] == ["module.cpp"]
        assert not any("CUDA" in flag for unit in units for flag in unit.flags)

    def test_zero_means_no(self, cuda, nvcc, monkeypatch):
        monkeypatch.setenv("CUDA_HOME", str(nvcc.parents[1]))
        monkeypatch.setenv("CA_CUDA", "0")
        assert cuda.Cuda.find(["g++"]) is None

    def test_one_means_yes_or_fail(self, cuda, monkeypatch):
        monkeypatch.setattr(cuda, "find_nvcc", lambda: None)
        assert cuda.Cuda.find(["g++"]) is None
        monkeypatch.setenv("CA_CUDA", "1")
        with pytest.raises(cuda.PlatformError, match=r"CA_CUDA=1, but there is no nvcc .* set CUDA_HOME"):
            cuda.Cuda.find(["g++"])

    def test_another_wish_is_refused(self, cuda, monkeypatch):
        monkeypatch.setenv("CA_CUDA", "yes")
        with pytest.raises(cuda.PlatformError, match="expected 0, 1 or auto, got 'yes'"):
            cuda.Cuda.find(["g++"])

    def test_the_default_is_what_nvcc_knows(self, cuda, nvcc, monkeypatch):
        monkeypatch.setenv("CUDA_HOME", str(nvcc.parents[1]))
        monkeypatch.setattr(cuda, "architectures_of_this_machine", tuple)
        found = cuda.Cuda.find(["g++"])
        assert found.architectures == ("8.0", "9.0a")
        assert found.nvcc == str(nvcc)
        assert found.link_flags()[0] == str(nvcc.parents[1] / "lib64/libcudart_static.a")
        monkeypatch.setattr(cuda, "architectures_of_this_machine", lambda: ("9.0",))
        assert cuda.Cuda.find(["g++"]).architectures == ("9.0",)

    def test_nvcc_that_fails(self, cuda, nvcc, monkeypatch):
        monkeypatch.setenv("CUDA_HOME", str(nvcc.parents[1]))
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "7.5")
        with pytest.warns(UserWarning, match=r"without CUDA: .*nvcc does not compile for 7\.5: unsupported"):
            assert cuda.Cuda.find(["g++"]) is None
        monkeypatch.setenv("CA_CUDA", "1")
        with pytest.raises(cuda.PlatformError, match=r"does not compile for 7\.5"):
            cuda.Cuda.find(["g++"])

    def test_toolkit_without_its_runtime(self, cuda, nvcc, monkeypatch):
        (nvcc.parents[1] / "lib64/libcudart_static.a").unlink()
        monkeypatch.setenv("CUDA_HOME", str(nvcc.parents[1]))
        monkeypatch.setenv("CA_CUDA", "1")
        with pytest.raises(cuda.PlatformError, match=r"no libcudart_static\.a"):
            cuda.Cuda.find(["g++"])


class TestBuildThatCannotGoOn:
    """The message names what is missing and the way out."""

    @pytest.fixture
    def hide(self, monkeypatch):
        """Makes a Python package and a program of the same name impossible to find."""
        find_spec, which = importlib.util.find_spec, shutil.which

        def hide(name: str) -> None:
            monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == name else find_spec(n))
            monkeypatch.setattr(shutil, "which", lambda n: None if n == name else which(n))

        return hide

    def test_no_compiler(self, build_script, monkeypatch):
        monkeypatch.setenv("CXX", "no-such-compiler -m64")
        with pytest.raises(
            build_script.PlatformError, match=r"no-such-compiler not found.*install g\+\+.*CXX"
        ):
            build_script.Toolchain.find_compiler()

    @pytest.mark.parametrize("name", ["ninja", "pybind11"])
    def test_no_build_package(self, build_script, hide, name):
        hide(name)
        with pytest.raises(build_script.PlatformError, match=f"{name}.* missing; run `pip install .?{name}"):
            getattr(build_script.Toolchain, f"find_{name}")()

    def test_no_python_headers(self, build_script, monkeypatch, tmp_path):
        monkeypatch.setattr(build_script.sysconfig, "get_path", lambda _: str(tmp_path))
        with pytest.raises(build_script.PlatformError, match=r"no Python\.h in .*python3-dev"):
            build_script.Toolchain.find_python_headers()

    def test_no_torch(self, build_script, hide, monkeypatch, tmp_path):
        hide("torch")
        monkeypatch.setattr(build_script.sysconfig, "get_path", lambda _: str(tmp_path))
        with pytest.raises(
            build_script.PlatformError, match=r"found: none.*\n.*CPU .*pip install 'torch>=2\.11'"
        ):
            build_script.setup_torch.find()

    def test_torch_too_old(self, build_script, hide, monkeypatch, tmp_path):
        hide("torch")
        monkeypatch.setattr(build_script.sysconfig, "get_path", lambda _: str(tmp_path))
        (tmp_path / "torch").mkdir()
        (tmp_path / "torch/version.py").write_text("__version__ = '2.6.0+cpu'\n")
        with pytest.raises(
            build_script.PlatformError, match=r"2\.11 or later, .* \(found: torch 2\.6\.0\+cpu"
        ):
            build_script.setup_torch.find()

    def test_other_system(self, build_script, monkeypatch):
        monkeypatch.setattr(build_script.sys, "platform", "win32")
        with pytest.raises(build_script.PlatformError, match="Linux only, this is win32"):
            build_script.Toolchain()
