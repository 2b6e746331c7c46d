import os
import sys
from pathlib import Path

# For tools/. The last place: a package that is installed is what is tested, not its sources here.
sys.path.append(str(Path(__file__).resolve().parents[1]))

# Before torch is imported: threads that wait for each other sleep. On a machine with other work they would
# else spin through their turns, and the tests take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import hypothesis
import pytest
from helpers import emulated
from helpers.emulated_build import EmulatedBuilder
from helpers.native_build import load_build_script
from helpers.roads import ROADS, STEADY_ROADS, Road, perturb_all_products

from contextual_attention import cells

# The same problems in every run: a failure is there again when it is looked into. HYPOTHESIS_PROFILE=explore
# draws new ones.
hypothesis.settings.register_profile(
    "reproducible",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
hypothesis.settings.register_profile(
    "explore", hypothesis.settings.get_profile("reproducible"), derandomize=False
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "reproducible"))


perturb_all_products()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config, specs):
    """Processes share the processors. What may depend on the number of threads sets it by itself."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(specs))))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With -n a file's tests stay in one process: they share what they build and what they cache."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


def pytest_collection_modifyitems(items):
    """The longest file first: of several processes, the one that met it last would end alone."""
    items.sort(key=lambda item: item.path.name != "test_triton.py")


@pytest.fixture(params=ROADS, ids=str)
def road(request):
    """Every way through the fused backends that this machine has, one after the other."""
    chosen: Road = request.param
    with chosen.taken():
        yield chosen


@pytest.fixture(params=STEADY_ROADS, ids=str)
def steady_road(request):
    """Those on which the same problem has the same bits every time."""
    chosen: Road = request.param
    with chosen.taken():
        yield chosen


@pytest.fixture(scope="session")
def build_script():
    """setup.py as a module."""
    pytest.importorskip("setuptools.errors", reason="setuptools, which setup.py imports, is not installed")
    return load_build_script()


@pytest.fixture(scope="session")
def emulator(build_script):
    """Compiles the CUDA sources for the host."""
    return EmulatedBuilder(build_script)


@pytest.fixture(scope="session")
def cuda_module(emulator):
    """The CUDA pipeline as an operator on CPU tensors, and its module."""
    return emulated.build_module(emulator)


@pytest.fixture
def cuda_on_host(cuda_module, monkeypatch):
    """The backend "cuda" runs on CPU tensors, in plain loops; gives the module."""
    cuda_module.run_by(cuda_module.Way.loops)
    emulated.stand_in(monkeypatch, cuda_module)
    with emulated.cuda_maps():
        yield cuda_module


@pytest.fixture
def generic_maps():
    """The tensor code around the kernels, on CPU tensors, as where they have none of their own."""
    with emulated.generic_maps():
        yield


@pytest.fixture(params=("kernels", "cuda", "generic", "generic, banded"))
def map_road(request, monkeypatch):
    """The kernels of maps, the CPU's and CUDA's, and tensor code: in one band of rows, in several."""
    if request.param == "cuda":
        request.getfixturevalue("cuda_on_host")
    elif request.param != "kernels":
        request.getfixturevalue("generic_maps")
    if request.param == "generic, banded":
        monkeypatch.setattr(cells, "_BAND_BYTES", 1)
