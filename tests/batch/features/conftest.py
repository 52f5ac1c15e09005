import pytest

from tests import worlds
from tests.worlds import Cutoff, World


@pytest.fixture(scope="package")
def real(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Give the real release."""
    return worlds.real(tmp_path_factory.mktemp("unpacked"))


@pytest.fixture(
    params=[
        *(Cutoff(1), Cutoff(0, n_next=1)),
        *(Cutoff(2), Cutoff(1, n_next=3), Cutoff(0, n_next=3)),
    ],
    ids=["hold-out", "last", "training", "training-nearer", "refit-nearer"],
)
def cutoff(request: pytest.FixtureRequest) -> Cutoff:
    """Give each cutoff that has a future."""
    cutoff: Cutoff = request.param
    return cutoff
