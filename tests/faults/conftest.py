"""What the tests of faults share: one prepared site a worker, and empty clones."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import running
from tests.faults.batches import Clone
from tests.faults.kills import Site, prepared
from tests.movielens import write_world


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A clone with runs behind it; each test must leave it as `check_swept` wants."""
    folder = tmp_path_factory.mktemp("site")
    with running(folder) as server, prepared(folder, server.url) as site:
        yield site


@pytest.fixture
def new_clone(tmp_path: Path, empty_store: Path) -> Clone:
    """A clone with a small world and a store without models, on an embedded Redis."""
    write_world(tmp_path / "world")
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, tmp_path / "mlruns/mlflow.db")
    return Clone(tmp_path, {"MOVIELENS_RAW": "world"})
