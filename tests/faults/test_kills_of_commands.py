"""Commands other than a rescoring killed at any instant, with SIGKILL."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis

from batch.ingest.download import PARTIAL
from batch.model.registry import Registry
from tests.batch.ingest import test_download
from tests.batch.ingest.file_server import Reply, serving
from tests.conftest import KEYS
from tests.faults.batches import Clone, Place
from tests.faults.kills import content
from tests.sql import raw

SEED = 1
LISTS_WRITTEN = Place("batch.publishing.writers:RedisWriter.write", "after", 4)


@pytest.fixture
def new(new_clone: Clone, redis_url: str) -> Clone:
    """A clone that has made no run, on an empty Redis."""
    return replace(new_clone, variables={**new_clone.variables, "REDIS_URL": redis_url})


def prod_of(clone: Clone) -> str | None:
    """Return the version that is prod and check that it loads."""
    registry = Registry(f"sqlite:///{clone.folder}/mlruns/mlflow.db")
    version = registry.prod_version()
    if version is not None:
        assert registry.load(version).num_boosted_rounds() > 0
    return version


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        Place("batch.model.registry:Registry.promote", "before"),
        Place("batch.model.registry:Registry.promote", "after"),
        LISTS_WRITTEN,
        0.8,
        1.6,
    ],
    ids=str,
)
def test_a_first_run(
    new: Clone, redis_client: redis.Redis, place: Place | float
) -> None:
    """Nothing or a whole generation is served, and `prod` is nothing or loads."""
    if isinstance(place, Place):
        batch = new.start("run", place=place)
        assert batch.wait() == -9, batch.said
    else:
        batch = new.start("run")
        time.sleep(place)
        batch.kill()
    prod = prod_of(new)
    if isinstance(place, Place):
        assert prod == (None if place.when == "before" else "1")
    redis_client.delete(KEYS.lock)
    new.run("run")
    (held,) = redis_client.zrange(KEYS.generations, 0, -1)
    assert redis_client.get(KEYS.current) == held
    kinds = content(redis_client, str(held))
    assert sum(kind.startswith("user:") for kind in kinds) == 40
    assert kinds["meta"]["model_version"] == prod_of(new)


@pytest.mark.slow
def test_promote(new: Clone) -> None:
    """`prod` is the one version or the other, and loads."""
    new.run("run")
    new.run("train")
    draw = np.random.default_rng(SEED)
    for number in range(10):
        wanted = "21"[number % 2]
        batch = new.start("promote", "--version", wanted)
        time.sleep(draw.uniform(0.02, 0.3))
        batch.kill()
        assert prod_of(new) in ("1", "2")
    new.run("promote", "--version", "1")
    place = Place("batch.model.registry:Registry.promote", "after")
    died = new.start("train", "--promote", place=place)
    assert died.wait() == -9, died.said
    assert prod_of(new) == "3"
    new.run("promote", "--version", "2")
    assert prod_of(new) == "2"


@pytest.mark.slow
def test_a_new_store(tmp_path: Path) -> None:
    """MLflow cannot open tables that it has made by half: there are none such."""
    draw = np.random.default_rng(SEED)
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        clone = Clone(folder)
        batch = clone.start("promote", "--version", "1")
        time.sleep(draw.uniform(0.1, 1.5))
        batch.kill()
        said = clone.run("promote", "--version", "1", code=1)
        assert "has no version 1, only: none yet" in said
        assert [path.name for path in (folder / "mlruns").iterdir()] == ["mlflow.db"]


def test_a_download(tmp_path: Path) -> None:
    """Nothing half-written is ever used, and nothing is left of it."""
    made = raw.tab(tmp_path / "made")
    body = raw.zipped(made, tmp_path / "made.zip", "ml-100k/").read_bytes()
    draw = np.random.default_rng(SEED)
    with serving(Reply(body, seconds=0.3)) as web:
        for number in range(12):
            folder = tmp_path / str(number)
            folder.mkdir()
            clone = Clone(folder, {"MOVIELENS_URL": web.url, "no_proxy": "127.0.0.1"})
            batch = clone.start("download")
            time.sleep(draw.uniform(0.05, 0.55))
            batch.kill()
            there = {path.name for path in folder.glob("data/raw/*")}
            assert there <= {PARTIAL, "ml-100k"}
            clone.run("download")
            test_download.expect(folder / "data/raw")
