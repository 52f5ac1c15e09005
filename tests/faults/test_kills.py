"""Batches killed at any instant, with SIGKILL, as real processes."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis

from batch.ingest.download import PARTIAL
from batch.model.registry import Registry
from lookup.shared import contract, embedded_redis
from tests.batch.ingest import test_download
from tests.batch.ingest.file_server import Reply, serving
from tests.conftest import RedisServer, Tally, running, wait_until
from tests.faults.batches import Clone, Place
from tests.faults.kills import (
    BOUNDARIES,
    Site,
    content,
    moments,
    prepared,
    reading,
)
from tests.sql import raw
from tests.test_end_to_end import write_world

pytestmark = pytest.mark.slow

SEED = 1
N_MOMENTS = 50
LISTS_WRITTEN = Place("batch.publishing.parquet:written", "within", 5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for the batches of this file."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, server: RedisServer
) -> Iterator[Site]:
    """A clone whose first run has been made."""
    with prepared(tmp_path_factory.mktemp("clone"), server.url) as site:
        yield site


@pytest.fixture
def new(tmp_path: Path, server: RedisServer, empty_store: Path) -> Clone:
    """A clone that has an empty store and has made no run, on a database of its own."""
    write_world(tmp_path / "world")
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, tmp_path / "mlruns/mlflow.db")
    url = f"{server.url.removesuffix('/0')}/1"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return Clone(tmp_path, {"REDIS_URL": url, "MOVIELENS_RAW": "world"})


def connect(clone: Clone) -> redis.Redis:
    """Talk to a clone's Redis."""
    return redis.Redis.from_url(clone.variables["REDIS_URL"], decode_responses=True)


def prod_of(clone: Clone) -> str | None:
    """Tell which version is prod; it loads, if there is one."""
    registry = Registry(f"sqlite:///{clone.folder}/mlruns/mlflow.db")
    version = registry.prod_version()
    if version is not None:
        assert registry.load(version).num_boosted_rounds() > 0
    return version


def test_at_the_boundaries_of_stages(site: Site, tally: Tally) -> None:
    """The one generation or the other is served whole; the next run leaves nothing."""
    with reading(site.clone.folder) as seen:
        n_flipped = sum(site.kill(place, parts) for place, parts in BOUNDARIES)
    assert n_flipped == 7
    assert set(seen) <= {"whole", "gone"}
    tally.faults(len(BOUNDARIES))


def test_at_random_moments(site: Site, tally: Tally) -> None:
    """From the start of a run to just after its end."""
    with reading(site.clone.folder) as seen:
        for moment, parts in moments(N_MOMENTS, site, np.random.default_rng(SEED)):
            site.kill(moment, parts)
    assert seen["whole"] > N_MOMENTS
    assert set(seen) <= {"whole", "gone"}
    tally.faults(N_MOMENTS)


def test_a_shard(site: Site, tally: Tally) -> None:
    """Its part is scored again once its lock has ended; the other's stays."""
    clone = replace(site.clone, lock_seconds=2)
    former = site.served
    clone.run("run", "--force", "--shard", "2/2")
    for place in (LISTS_WRITTEN, Place("batch.publishing.pending:record", "before")):
        died = clone.start("run", "--force", "--shard", "1/2", place=place)
        assert died.wait() == -9
        assert "error: another batch holds" in clone.run(
            "run", "--force", "--shard", "1/2", code=75
        )
        assert site.served == former
        wait_until(lambda: not list(site.client.scan_iter("recs:*:lock:*")))
    clone.run("run", "--force", "--shard", "1/2")
    assert site.served != former
    users = [key for key in content(site.client, str(site.served)) if "user:" in key]
    assert len(users) == 40
    site.run(9, 1)
    site.check_served(9)
    tally.faults(2)


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
def test_a_first_run(new: Clone, place: Place | float, tally: Tally) -> None:
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
    with connect(new) as client:
        client.delete(contract.LOCK)
        new.run("run")
        served = client.get(contract.CURRENT)
        (held,) = client.zrange(contract.GENERATIONS, 0, -1)
        assert served == held
        kinds = content(client, str(held))
        assert sum(kind.startswith("user:") for kind in kinds) == 40
        assert kinds["meta"]["model_version"] == prod_of(new)
    tally.faults()


def test_promote(new: Clone, tally: Tally) -> None:
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
    tally.faults(11)


def test_a_new_store(tmp_path: Path, tally: Tally) -> None:
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
    tally.faults(5)


def test_a_download(tmp_path: Path, tally: Tally) -> None:
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
    tally.faults(12)


def test_the_user_of_the_embedded_redis(tmp_path: Path, tally: Tally) -> None:
    """The server ends by itself and keeps all, the half-written included."""
    write_world(tmp_path / "world")
    clone = Clone(tmp_path, {"MOVIELENS_RAW": "world"}, lock_seconds=2)
    clone.run("run")
    folder = tmp_path / "data/redis"
    with kept(folder) as client:
        served = str(client.get(contract.CURRENT))
        before = content(client, served)
    died = clone.start("run", "--force", place=LISTS_WRITTEN)
    assert died.wait() == -9
    wait_until(
        lambda: not embedded_redis._is_held(folder / embedded_redis.SUPERVISOR_LOCK), 60
    )
    with kept(folder) as client:
        assert client.get(contract.CURRENT) == served
        assert content(client, served) == before
        assert len(client.keys("recs:*:user:*")) > 40
        wait_until(lambda: not client.exists(contract.LOCK))
    clone.run("run")
    with kept(folder) as client:
        names = map(str, client.scan_iter("recs:*"))
        assert {contract.generation_of(name) for name in names} == {None, served}
    tally.faults()


class kept:  # noqa: N801
    """The data of an embedded Redis, for the length of a block."""

    def __init__(self, folder: Path) -> None:
        self._redis = embedded_redis.redis(folder)

    def __enter__(self) -> redis.Redis:
        self._client = redis.Redis.from_url(
            self._redis.__enter__(), decode_responses=True
        )
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._redis.__exit__(None, None, None)
