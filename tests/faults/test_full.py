"""Disks that are full while features, models, lists or Redis write."""

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from lookup.shared.embedded_redis import EmbeddedRedisError
from tests.conftest import KEYS, free_port, publish, wait_until
from tests.faults.batches import Clone, Place
from tests.faults.disks import filled, tiny_disk
from tests.faults.kills import LENGTHS, Site, content
from tests.faults.test_kills import kept
from tests.faults.test_kills_of_commands import prod_of
from tests.lookup.programs import ask, command, environment, wait_for

pytestmark = pytest.mark.slow

ROOM = "free some space there"


def check_nothing_is_left(folder: Path) -> None:
    """See that no file is there that is not whole."""
    assert not [path for path in folder.rglob("*") if ".partial" in path.name]


@pytest.mark.parametrize("pages", [0, 1])
@pytest.mark.parametrize("command", ["run", "features"])
def test_features(site: Site, command: str, pages: int) -> None:
    processed = site.clone.folder / "data/processed"
    length, former = sum(LENGTHS) - site.length, site.served
    words = (command, "--top-n", str(length))
    with tiny_disk(processed, "2m"):
        with filled(processed, pages):
            said = site.clone.failure(*words)
            assert ".parquet into data/processed: No space left on device" in said
            assert said.endswith(ROOM)
            check_nothing_is_left(processed)
            assert site.served == former
            site.check_served(sum(LENGTHS) - length)
            site.check_tables()
        site.clone.run(*words)
        site.check_tables()
    site.run(length)
    site.check_swept()


@pytest.mark.parametrize(
    "place",
    [
        Place("batch.publishing.writers:open_writers", "before"),
        Place("batch.publishing.parquet:ParquetWriter.write", "before", 6),
    ],
    ids=str,
)
def test_lists(site: Site, place: Place) -> None:
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


def test_models(site: Site) -> None:
    """Wherever MLflow is when there is no more room: `prod` stays, and what it names.

    Version 1 is scored with meanwhile, which takes no room there.
    """
    mlruns = site.clone.folder / "mlruns"
    pages = (0, 8, 28, 52)
    with tiny_disk(mlruns, "16m"):
        for n in pages:
            with filled(mlruns, n):
                said = site.clone.failure("train", "--promote")
                assert "in MLflow at sqlite:///mlruns/mlflow.db: " in said
                assert "make room there" in said
                site.run(sum(LENGTHS) - site.length)
            assert prod_of(site.clone) == "1"
        site.clone.run("train", "--promote")
        version = prod_of(site.clone)
        assert version not in (None, "1")
        with filled(mlruns):
            said = site.clone.failure("promote", "--version", "1")
            assert "could not point prod at version 1" in said
            assert "make room there" in said
        assert prod_of(site.clone) == version
        site.clone.run("promote", "--version", "1")
    site.check_swept()


def servers_of(folder: Path) -> list[int]:
    """Find the processes that work in a folder: those of its embedded Redis."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append(int(process.name))
    return found


def test_the_embedded_redis(tmp_path: Path, new_clone: Clone) -> None:
    """One that cannot save ends all the same, and keeps what it had saved before."""
    clone, folder = new_clone, tmp_path / "data/redis"
    clone.run("run")
    with tiny_disk(folder, "2m"):
        with kept(folder) as client:
            served = str(client.get(KEYS.current))
            before = content(client, served)
        with filled(folder, 0):
            clone.run("status")
        assert servers_of(folder) == []
        with filled(folder, 5):
            began_at = time.monotonic()
            said = clone.failure("run", "--force")
            assert time.monotonic() - began_at < 15
        assert f"published, but Redis cannot save it in {folder} (" in said
        assert said.endswith(f"ends: {ROOM} and run again")
        assert servers_of(folder) == []
        with kept(folder) as client:
            assert client.get(KEYS.current) == served
            assert content(client, served) == before
        clone.run("run", "--force")
        with kept(folder) as client:
            newer = str(client.get(KEYS.current))
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


def test_the_log_of_a_lookup(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    """It serves on where its log is full."""
    publish(redis_client)
    port = free_port()
    with Path("/dev/full").open("w") as full:
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
