"""What the hosting service runs is there: commands, targets, extras, Pythons, and how a wheel is checked."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def settings():
    """pyproject.toml."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no module that reads pyproject.toml")
    return tomllib.loads(text("pyproject.toml"))


@pytest.fixture(scope="module")
def project(settings):
    return settings["project"]


@pytest.fixture(scope="module")
def wheels(settings):
    return settings["tool"]["cibuildwheel"]


@pytest.fixture(scope="module")
def jobs():
    yaml = pytest.importorskip("yaml", reason="PyYAML, which reads the workflow, is not installed")
    return yaml.safe_load(text(".github/workflows/checks.yml"))["jobs"]


@pytest.fixture(scope="module")
def steps(jobs):
    return [step for job in jobs.values() for step in job["steps"]]


def pythons(project):
    """The versions of the classifiers."""
    found = (
        re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", each) for each in project["classifiers"]
    )
    return [match[1] for match in found if match]


def test_every_command_exists(steps):
    commands = [step["run"] for step in steps if "run" in step]
    scripts = [command for command in commands if command.startswith(".")]
    assert scripts == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)
    for name in re.findall(r"pip install -c constraints\.txt (\S+)", "\n".join(commands)):
        assert re.search(rf"^{name}==", text("constraints.txt"), re.MULTILINE), name


def test_every_job_that_is_needed_is_there(jobs):
    assert {job["needs"] for job in jobs.values() if "needs" in job} <= set(jobs)


def test_the_site_that_is_published_is_the_one_that_is_built(steps):
    (uploaded,) = (step["with"]["path"] for step in steps if "upload-pages" in step.get("uses", ""))
    assert re.search(r"^site_dir: (\S+)$", text("mkdocs.yml"), re.MULTILINE)[1] == uploaded
    assert "make docs" in text(".ci/run")


PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    ".ci/run",
    *(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md")),
]


def test_targets_and_extras_exist(project):
    texts = [text(page) for page in PAGES]
    targets = {
        name for each in texts for name in re.findall(r"(?:^|[`&] ?)make ([a-z-]+)", each, re.MULTILINE)
    }
    assert {"docs", "gpu"} <= targets <= set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    extras = {
        name
        for each in texts
        for names in re.findall(r'"\.\[([a-z,]+)\]"', each)
        for name in names.split(",")
    }
    assert {"docs", "test"} <= extras <= set(project["optional-dependencies"])


def test_python_versions_agree(project, wheels, jobs):
    """Of classifiers, wheels, the least that is required, and the one of the whole check."""
    versions = pythons(project)
    assert project["requires-python"] == f">={versions[0]}"
    assert wheels["build"] == [f"cp{version.replace('.', '')}-manylinux_x86_64" for version in versions]
    checked = jobs["check"]["container"].removeprefix("python:").partition("-")[0]
    assert checked in versions


def test_torch_is_that_for_a_cpu(wheels):
    assert wheels["environment"]["PIP_EXTRA_INDEX_URL"] == CPU_INDEX
    assert CPU_INDEX in text("README.md")
    assert f"PIP_EXTRA_INDEX_URL: {CPU_INDEX}\n" in text(".github/workflows/checks.yml")


class TestCheckOfAWheel:
    @pytest.fixture
    def check(self, wheels, monkeypatch):
        """The program that a wheel is checked by, with some of its cases."""
        (path,) = re.findall(r"\{project\}/(\S+)", wheels["test-command"])
        spec = importlib.util.spec_from_file_location("check_wheel", ROOT / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(module, "CASES", module.CASES[:3])
        return module

    def test_right_results_pass(self, check, capsys):
        check.main()
        assert capsys.readouterr().out.startswith("3 cases agree")

    @pytest.mark.parametrize("wrong", [1.001, float("nan")])
    def test_wrong_ones_do_not(self, check, monkeypatch, wrong):
        right = check.contextual_attention

        def attend(*operands, backend, **keywords):
            return right(*operands, backend=backend, **keywords) * (wrong if backend == "cpu" else 1)

        monkeypatch.setattr(check, "contextual_attention", attend)
        with pytest.raises(SystemExit, match="preset paper: off by"):
            check.main()

    def test_an_extension_that_did_not_load_does_not(self, check, monkeypatch):
        monkeypatch.setattr(check, "available_backends", lambda: {"cpu": "it did not load"})
        with pytest.raises(SystemExit, match="it did not load"):
            check.main()
