from collections.abc import Iterator
from pathlib import Path

import pytest

from batch import warehouse
from tests import worlds
from tests.worlds import Connection, Cutoff, World


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Give an empty warehouse."""
    with warehouse.connect(tmp_path) as connection:
        yield connection


@pytest.fixture(scope="package")
def real(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Give the real release."""
    return worlds.real(tmp_path_factory.mktemp("unpacked"))


@pytest.fixture(
    params=[Cutoff(1), Cutoff(2), Cutoff(1, n_next=3), Cutoff(0, n_next=3)],
    ids=["hold-out", "training", "training-nearer", "refit-nearer"],
)
def cutoff(request: pytest.FixtureRequest) -> Cutoff:
    """Give each cutoff that has a future."""
    cutoff: Cutoff = request.param
    return cutoff
