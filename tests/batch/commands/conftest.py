"""A small model that is prod already, and settings to run with it."""

from pathlib import Path

import pytest

from batch import warehouse
from batch.features import candidates, tables
from batch.ingest import load, release
from batch.model import train
from batch.model.registry import Record, Registry
from batch.settings import Settings
from tests.movielens import write_world


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> tuple[Path, str]:
    """Make a world, and a store in which a small model is prod."""
    folder = tmp_path_factory.mktemp("run")
    write_world(folder / "world")
    raw = release.find(folder / "world", folder / "unpacked")
    with warehouse.connect(folder / "spill") as connection:
        load.read(connection, raw)
        tables.build(connection, n_cuts=1)
        pairs = candidates.pairs(connection, warehouse.user_ids(connection))
    booster = train.train([pairs], None, {"nthread": 1}, n_rounds=10).booster
    (folder / "mlruns").mkdir()
    store = folder / "mlruns" / "mlflow.db"
    store.write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{store}"
    registry = Registry(uri)
    record = Record({}, {}, {}, {}, {})
    registry.promote(
        registry.register(booster, booster, pairs.values.slice(0, 5), record)
    )
    return folder, uri


@pytest.fixture
def settings(
    made: tuple[Path, str],
    tmp_path: Path,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """Give that world's settings, with a Redis and a data folder of this test's own."""
    folder, uri = made
    monkeypatch.chdir(tmp_path)
    return Settings.read(
        {
            "MOVIELENS_RAW": str(folder / "world"),
            "MLFLOW_TRACKING_URI": uri,
            "REDIS_URL": redis_url,
        }
    )
