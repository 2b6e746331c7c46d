import os

import hypothesis
import pytest
from roads import ROADS, Road

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


@pytest.fixture(params=ROADS, ids=str)
def road(request):
    """Every way through the fused backends that this machine has, one after the other."""
    chosen: Road = request.param
    with chosen.taken():
        yield chosen
