"""What travels to a machine with a GPU: for which Python it is built, and that it finds what it needs."""

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from helpers import emulated

from contextual_attention.backends import extension
from tools.gpu import bundle, symbols
from tools.gpu.bundle import BundleError, Interpreter

ROOT = Path(__file__).resolve().parent.parent


def a_program(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def a_python(file, version="3.12"):
    """Answers as an interpreter of this version does."""
    tag = f"cpython-{version.replace('.', '')}"
    return str(a_program(file, f"echo {version} .{tag}-x86_64-linux-gnu.so {tag}"))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """One that has no Python but those which a test puts into its folders bin and pyenv."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(bundle, "VERSION", "3.99")
    return tmp_path


class TestInterpreter:
    def test_on_the_path(self, machine):
        program = a_python(machine / "bin/python3.99", "3.99")
        a_python(machine / "pyenv/versions/3.99.1/bin/python3.99", "3.99")
        found = bundle.find_python(None)
        assert found == Interpreter(program, "3.99", ".cpython-399-x86_64-linux-gnu.so", "cpython-399")
        assert found.extension.name == "contextual_attention_C.cpython-399-x86_64-linux-gnu.so"
        assert found.host_loops == Path("build/emulated.cpython-399/cuda_on_host.so")

    def test_the_newest_of_pyenvs(self, machine):
        """Whose stand-in on PATH only says that there is none."""
        a_program(machine / "bin/python3.99", "echo 'pyenv: python3.99: command not found' >&2; exit 127")
        newest = a_python(machine / "pyenv/versions/3.99.10/bin/python3.99", "3.99")
        a_python(machine / "pyenv/versions/3.99.9/bin/python3.99", "3.99")
        a_python(machine / "pyenv/versions/3.98.11/bin/python3.98", "3.98")
        assert bundle.find_python(None).program == newest

    def test_none(self, machine, monkeypatch, capsys):
        monkeypatch.setattr(sys, "argv", ["bundle.py"])
        assert bundle.main() == 2
        assert capsys.readouterr().err == (
            "error: there is no Python 3.99 on PATH or among pyenv's; install one with its headers"
            " (pyenv install 3.99, or apt-get install python3.99-dev), or name one by --python\n"
        )

    def test_one_that_is_named(self, machine):
        a_python(machine / "bin/python3.99", "3.99")
        named = a_python(machine / "mine", "3.99")
        assert bundle.find_python(named).program == named

    def test_one_of_another_version_that_is_named(self, machine):
        named = a_python(machine / "mine", "3.98")
        with pytest.raises(BundleError, match=r"--python: expected Python 3\.99, got 3\.98 \(.*mine\)"):
            bundle.find_python(named)

    @pytest.mark.parametrize("named", ["missing", "/", "/bin/true", "/bin/echo"])
    def test_no_interpreter_that_is_named(self, machine, named):
        with pytest.raises(BundleError, match=f"--python: {named} does not run as Python"):
            bundle.find_python(named)

    def test_this_one(self):
        found = Interpreter.asked(sys.executable)
        assert found.tag == sys.implementation.cache_tag
        assert (ROOT / found.extension).name == Path(extension.__file__).name


class TestBuild:
    def test_ninja_is_this_environments(self, monkeypatch):
        """The other interpreter would look for its program beside itself."""
        own = shutil.which("ninja", path=sysconfig.get_path("scripts"))
        if own is None:
            pytest.skip("ninja is not of this environment")
        monkeypatch.setenv("PATH", "/usr/bin")
        assert shutil.which("ninja", path=bundle._environment()["PATH"]) == own

    def test_what_this_environment_lends(self, monkeypatch):
        """To an interpreter that has no packages of its own."""
        monkeypatch.setenv("LDFLAGS", "-Lsomewhere")
        environment = bundle._environment()
        code = "import setuptools, filelock, pybind11\nfrom importlib.util import find_spec\n"
        code += "assert find_spec('torch')"
        subprocess.run([sys.executable, "-S", "-c", code], env=environment, cwd="/", check=True)
        assert environment["TORCH_CUDA_ARCH_LIST"] == "9.0a;9.0"
        assert environment["LDFLAGS"] == "-Lsomewhere -s"

    def test_no_nvcc(self, monkeypatch, tmp_path, capfd):
        """setup.py says it, and nothing is compiled without."""
        monkeypatch.setenv("CUDA_HOME", str(tmp_path))
        python = Interpreter.asked(sys.executable)
        with pytest.raises(BundleError, match=re.escape(f"{python.extension} could not be built: what is")):
            bundle.build(python)
        assert "error: CA_CUDA=1, but there is no nvcc" in capfd.readouterr().err

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("90a 90", None),
            ("90a", "holds sm_90a$"),
            ("80 90 90a", "for sm_90, sm_90a, and holds sm_80, sm_90, sm_90a"),
            ("", "holds none"),
        ],
    )
    def test_code_for_hopper_alone(self, monkeypatch, tmp_path, code, message):
        lines = "; ".join(f"echo 'ELF file    1: module.1.sm_{name}.cubin'" for name in code.split())
        program = a_program(tmp_path / "cuobjdump", lines)
        monkeypatch.setattr(bundle, "find_cuobjdump", lambda: str(program))
        if message is None:
            bundle.check_code(tmp_path / "module.so")
        else:
            with pytest.raises(BundleError, match=message):
                bundle.check_code(tmp_path / "module.so")


@pytest.fixture
def library(build_script, tmp_path):
    """Compiles a shared library of a few lines."""
    if shutil.which("readelf") is None:
        pytest.skip("the programs readelf and nm (of binutils) are not installed")

    def compiled(name, text, *flags):
        source = tmp_path / f"{name}.cpp"
        source.write_text(text)
        target = tmp_path / f"{name}.so"
        compiler = build_script.Toolchain.find_compiler()
        command = [*compiler, "-shared", "-fPIC", "-O1", str(source), "-o", str(target), *flags]
        subprocess.run(command, check=True)
        return target

    return compiled


class TestSymbols:
    def test_what_torch_2_11_does_not_have(self, library):
        text = """
            namespace c10 { void unstable(); }
            extern "C" {
            void torch_of_tomorrow(); void aoti_torch_cpu_mm_out(); void PyErr_Clear(); void abort();
            __attribute__((weak)) void torch_perhaps();
            void call() {
              c10::unstable(), torch_of_tomorrow(), aoti_torch_cpu_mm_out(), PyErr_Clear();
              if (torch_perhaps) torch_perhaps();
              abort();
            }
            extern const char calls[];
            const char calls[] = "torch_call_dispatcher( \\"aten::sum\\", \\"dim_IntList\\", stack.data()"
              "torch_call_dispatcher( \\"aten::sum\\", \\"of_tomorrow\\", stack.data()";
            }
        """
        module = library("planted", text)
        expected = ["_ZN3c108unstableEv", "torch_of_tomorrow", "sum.of_tomorrow"]
        assert symbols.not_in_torch(module) == expected
        with pytest.raises(
            BundleError, match=r"planted\.so asks for what torch 2\.11 does not have: _ZN3c10"
        ):
            bundle.check(module)

    def test_what_the_system_there_does_not_have(self, library, monkeypatch):
        foreign = library("libforeign", 'extern "C" void foreign() {}', "-Wl,-soname,libforeign.so.3")
        text = '#include <cstdlib>\nextern "C" void call(void* x) { std::free(x); }'
        module = library("planted", text, "-Wl,--no-as-needed", str(foreign))
        assert symbols.not_on_the_machine(module) == ["libforeign.so.3"]
        monkeypatch.setitem(symbols._SYSTEM, "GLIBC", (2, 1))
        newer, _ = symbols.not_on_the_machine(module)
        assert re.fullmatch(r"GLIBC 2\.\d+(\.\d+)? \(2\.1 is there\)", newer)
        with pytest.raises(BundleError, match=r"what Ubuntu 24\.04 does not have: GLIBC 2\..*libforeign"):
            bundle.check(module)

    def test_what_is_looked_for_where_it_is_loaded(self):
        """By dlsym, and by an overload's name: no loader says that it is missing."""
        text = "".join(file.read_text() for file in (ROOT / "csrc/cuda").glob("*.cpp"))
        functions = re.findall(r'dlsym\(\w+, "(\w+)"\)', text)
        assert functions == ["aoti_torch_get_current_cuda_stream"]
        assert set(functions) <= symbols.offered()[symbols.LOOKED_UP]
        overloads = set(re.findall(r'\bcall<\d>\("(\w+)"', text))
        assert overloads == {"out", "dtype_out"}
        assert {f"bmm.{name}" for name in overloads} <= symbols.offered()[symbols.OPERATORS]

    @pytest.mark.parametrize("is_wheel", [False, True])
    def test_the_file_is_written_anew(self, library, tmp_path, monkeypatch, is_wheel):
        installed = tmp_path / "torch"
        (installed / "lib").mkdir(parents=True)
        text = """extern "C" { void aoti_torch_one() {} void other() {} }
            extern const char schemas[];
            const char schemas[] = "aten::contiguous.out(Tensor self) -> Tensor(a!)";"""
        library("cpu", text).rename(installed / "lib" / symbols.LINKED)
        library("gpu", 'extern "C" void torch_two() {}').rename(installed / "lib" / symbols.LOOKED_UP)
        monkeypatch.setattr(symbols, "FILE", tmp_path / "written.txt")
        given = installed
        if is_wheel:
            given = tmp_path / "torch.whl"
            with zipfile.ZipFile(given, "w") as wheel:
                for file in (installed / "lib").iterdir():
                    wheel.write(file, f"torch/lib/{file.name}")
        symbols._write(given)
        assert symbols.FILE.read_text().splitlines() == [
            f"{symbols.LINKED} aoti_torch_one",
            f"{symbols.LOOKED_UP} torch_two",
            f"{symbols.OPERATORS} contiguous.out",
        ]


def test_what_is_ready_made_must_be_of_these_sources(cuda_module, monkeypatch, tmp_path):
    """The host loops are found for this Python, and refused where the schemas have changed since."""
    assert emulated.load_ready_made() is cuda_module
    monkeypatch.setattr(emulated.extension, "differs_from", lambda file: ROOT / "csrc")
    with pytest.raises(ImportError, match=r"cuda_on_host\.so was built from another state .*csrc; `make gpu"):
        emulated.load_ready_made()
    monkeypatch.setattr(emulated, "FOLDER", tmp_path)
    assert emulated.load_ready_made() is None


def test_the_listed_files_are_what_git_leaves_behind():
    """So that naming them is what brings them along."""
    python = Interpreter.asked(sys.executable)
    for file in (python.extension, python.host_loops):
        ignored = subprocess.run(["git", "check-ignore", "-q", str(file)], cwd=ROOT, check=False)
        if ignored.returncode == 128:
            pytest.skip("this is no git checkout")
        assert ignored.returncode == 0
