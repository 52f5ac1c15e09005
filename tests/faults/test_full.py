"""Disks, and a stderr, that are full while features, models, lists or Redis write."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from lookup.shared import contract
from lookup.shared.embedded_redis import EmbeddedRedisError
from tests.conftest import (
    RedisServer,
    Tally,
    free_port,
    publish,
    running,
    wait_until,
)
from tests.faults.batches import Clone, Place
from tests.faults.disks import filled, tiny_disk
from tests.faults.kills import LENGTHS, Site, content, prepared
from tests.faults.test_kills import kept, prod_of
from tests.lookup.programs import ROOT, ask, command, environment, wait_for
from tests.movielens import write_world

pytestmark = pytest.mark.slow

ROOM = "free some space there"
FULL = Path("/dev/full")
"""What takes nothing, as a full disk does."""


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


def failure(clone: Clone, *words: str) -> str:
    """Run a batch that must fail with one line, and nothing else; return that."""
    said = clone.run(*words, "--quiet", code=1)
    assert said.startswith("error: "), said
    assert len(said.splitlines()) == 1, said
    return said


def check_nothing_is_left(folder: Path) -> None:
    """See that no file is there that is not whole."""
    assert not [path for path in folder.rglob("*") if ".partial" in path.name]


@pytest.mark.parametrize("pages", [0, 1])
@pytest.mark.parametrize("command", ["run", "features"])
def test_features(site: Site, command: str, pages: int, tally: Tally) -> None:
    processed = site.clone.folder / "data/processed"
    length, former = sum(LENGTHS) - site.length, site.served
    words = (command, "--top-n", str(length))
    with tiny_disk(processed, "2m"):
        with filled(processed, pages):
            said = failure(site.clone, *words)
            assert ".parquet into data/processed: No space left on device" in said
            assert said.endswith(f"{ROOM}\n")
            check_nothing_is_left(processed)
            assert site.served == former
            site.check_served(sum(LENGTHS) - length)
            site.check_tables()
        site.clone.run(*words)
        site.check_tables()
    site.run(length)
    site.check_swept()
    tally.faults()


@pytest.mark.parametrize(
    "place",
    [
        Place("batch.publishing.generations:write_lists", "before"),
        Place("batch.publishing.parquet:written", "within", 21),
    ],
    ids=str,
)
def test_lists(site: Site, place: Place, tally: Tally) -> None:
    processed = site.clone.folder / "data/processed"
    length, former = sum(LENGTHS) - site.length, site.served
    words = ("run", "--top-n", str(length), "--quiet")
    with tiny_disk(processed, "2m"):
        batch = site.clone.start(*words, place=place, how=signal.SIGSTOP)
        wait_until(lambda: batch.has_ended or batch.is_stopped, seconds=60)
        with filled(processed):
            batch.signal(signal.SIGCONT)
            assert batch.wait() == 1, batch.said
        (line,) = batch.said.splitlines()
        assert line.startswith("error: cannot write 20")
        assert line.endswith(
            f"into data/processed/recommendations: No space left on device; {ROOM}"
        )
        check_nothing_is_left(processed)
        assert site.served == former
        site.check_served(sum(LENGTHS) - length)
        site.check_tables()
        site.run(length)
        site.check_served(length)
    site.check_swept()
    tally.faults()


def test_models(site: Site, tally: Tally) -> None:
    """Wherever MLflow is when there is no more room: `prod` stays, and what it names.

    Version 1 is scored with meanwhile, which takes no room there.
    """
    mlruns = site.clone.folder / "mlruns"
    pages = (0, 8, 28, 52)
    with tiny_disk(mlruns, "16m"):
        for n in pages:
            with filled(mlruns, n):
                said = failure(site.clone, "train", "--promote")
                assert "in MLflow at sqlite:///mlruns/mlflow.db: " in said
                assert "make room there" in said
                site.run(sum(LENGTHS) - site.length)
            assert prod_of(site.clone) == "1"
        site.clone.run("train", "--promote")
        version = prod_of(site.clone)
        assert version not in (None, "1")
        with filled(mlruns):
            said = failure(site.clone, "promote", "--version", "1")
            assert "could not point prod at version 1" in said
            assert "make room there" in said
        assert prod_of(site.clone) == version
        site.clone.run("promote", "--version", "1")
    site.check_swept()
    tally.faults(len(pages) + 1)


def servers_of(folder: Path) -> list[int]:
    """Find the processes that work in a folder: those of its embedded Redis."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append(int(process.name))
    return found


def test_the_embedded_redis(tmp_path: Path, empty_store: Path, tally: Tally) -> None:
    """One that cannot save ends all the same, and keeps what it had saved before."""
    write_world(tmp_path / "world")
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, tmp_path / "mlruns/mlflow.db")
    clone, folder = Clone(tmp_path, {"MOVIELENS_RAW": "world"}), tmp_path / "data/redis"
    clone.run("run")
    with tiny_disk(folder, "2m"):
        with kept(folder) as client:
            served = str(client.get(contract.CURRENT))
            before = content(client, served)
        with filled(folder, 0):
            clone.run("status")
        assert servers_of(folder) == []
        with filled(folder, 5):
            began_at = time.monotonic()
            said = failure(clone, "run", "--force")
            assert time.monotonic() - began_at < 15
        assert f"published, but Redis cannot save it in {folder} (" in said
        assert said.endswith(f"ends: {ROOM} and run again\n")
        assert servers_of(folder) == []
        with kept(folder) as client:
            assert client.get(contract.CURRENT) == served
            assert content(client, served) == before
        clone.run("run", "--force")
        with kept(folder) as client:
            newer = str(client.get(contract.CURRENT))
            assert newer != served
            assert content(client, newer) == before
    empty = tmp_path / "empty"
    with (
        tiny_disk(empty, "2m"),
        filled(empty, 0),
        pytest.raises(EmbeddedRedisError, match=f"cannot keep Redis in {empty}: "),
        kept(empty),
    ):
        pass
    tally.faults(3)


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:1"])
def test_stderr(tmp_path: Path, redis_url: str, url: str, tally: Tally) -> None:
    """Whoever listens to nothing still learns by the exit code."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": url or redis_url}
    environ.pop("PYTHONUNBUFFERED", None)
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "batch", "status"],
            cwd=tmp_path,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=full,
        )
    assert done.returncode == (1 if url else 0)
    tally.faults()


def test_the_log_of_a_lookup(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, tally: Tally
) -> None:
    """It serves on where its log is full."""
    publish(redis_client)
    port = free_port()
    with FULL.open("w") as full:
        process = subprocess.Popen(
            command("--port", port),
            cwd=tmp_path,
            env=environment(REDIS_URL=redis_url, LOOKUP_LOG="requests"),
            stdout=subprocess.DEVNULL,
            stderr=full,
        )
    try:
        wait_for(port)
        for _ in range(50):
            assert ask(port, "/recommend/42").status_code == 200
            assert ask(port, "/recommend/x").status_code == 422
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    tally.faults()
    tally.requests(100)
