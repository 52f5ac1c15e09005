"""A Redis that is killed, stopped, cut off, read-only or full amid publishing."""

import multiprocessing
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from lookup.shared import embedded_redis
from tests.conftest import RedisServer, free_port, running, wait_until
from tests.faults.batches import Batch, Clone, Place
from tests.faults.disks import filled, tiny_disk
from tests.faults.kills import LENGTHS, Site, asleep, prepared
from tests.faults.proxy import proxy

pytestmark = pytest.mark.slow

PLACES = (
    Place("batch.publishing.parquet:ParquetWriter.write", "before"),
    Place("batch.publishing.writers:RedisWriter.write", "after", 16),
    Place("batch.publishing.shared_keys:write_items", "before"),
    Place("batch.publishing.lock:Lock.make_current", "before"),
)
"""Where a batch waits while something happens to Redis."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that has on its disk what it has acknowledged."""
    folder = tmp_path_factory.mktemp("redis")
    with running(folder, "--appendonly", "yes", *movable()) as server:
        yield server


def movable() -> tuple[str, ...]:
    """Return the options that allow a change of `dir`, which Redis 7 wants."""
    command = [embedded_redis.find_server(), "--version"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=(\d+)\.", text)
    is_asked = version is not None and int(version[1]) >= 7
    return ("--enable-protected-configs", "yes") if is_asked else ()


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, server: RedisServer
) -> Iterator[Site]:
    """A clone on that Redis."""
    with prepared(tmp_path_factory.mktemp("clone"), server.url) as site:
        yield site


def line_of(batch: Batch) -> str:
    """Return the one line of error of a batch that failed."""
    lines = [one for one in batch.said.splitlines() if one.startswith("error: ")]
    assert len(lines) == 1, batch.said
    assert "Traceback" not in batch.said
    return lines[0]


def woken(batch: Batch) -> int:
    """Let a batch go on to its end, unless it has come to that; return its code."""
    if not batch.has_ended:
        batch.signal(signal.SIGCONT)
    return batch.wait(60)


def check_failed(site: Site, batch: Batch, length: int, cause: str) -> None:
    """Check that a batch fails for a cause, and that the served lists stay."""
    assert woken(batch) == 1, batch.said
    assert cause in line_of(batch), batch.said
    site.check_served(sum(LENGTHS) - length)
    site.check_tables()


def check_ended(site: Site, batch: Batch, length: int) -> None:
    """Check that a batch whose connections broke fails, or publishes."""
    if woken(batch):
        check_failed(site, batch, length, "; is the server up and REDIS_URL right?")
    else:
        site.check_served(length)


def check_next(site: Site, length: int) -> None:
    """See that the next run does it all, and leaves nothing of the one before."""
    site.let_lock_expire()
    site.run(length)
    site.check_served(length)
    site.check_swept()


@pytest.fixture
def length(site: Site) -> Iterator[int]:
    """Choose a length of lists that are not served yet, so that there is work."""
    site.let_lock_expire()
    yield sum(LENGTHS) - site.length
    for batch in multiprocessing.active_children():
        batch.kill()  # it slept when a test failed, and the next shall not meet it


at_places = pytest.mark.parametrize("place", PLACES, ids=str)


@at_places
def test_killed_and_back(
    site: Site, server: RedisServer, length: int, place: Place
) -> None:
    """A run goes on where it had nothing under way, since nothing is lost."""
    batch = asleep(site.clone, place, length)
    server.kill()
    server.start()
    site.check_served(sum(LENGTHS) - length)
    check_ended(site, batch, length)
    check_next(site, length)


@at_places
def test_killed_for_good(
    site: Site, server: RedisServer, length: int, place: Place
) -> None:
    """The run ends at once."""
    batch = asleep(site.clone, place, length)
    server.kill()
    began_at = time.monotonic()
    assert woken(batch) == 1
    assert time.monotonic() - began_at < 15
    server.start()
    check_failed(site, batch, length, "; is the server up and REDIS_URL right?")
    check_next(site, length)


@pytest.mark.parametrize("place", PLACES[1::2], ids=str)
def test_stopped(site: Site, server: RedisServer, length: int, place: Place) -> None:
    """The run waits for a while, and reports a server that takes longer."""
    batch = asleep(site.clone, place, length)
    server.pause()
    batch.signal(signal.SIGCONT)
    time.sleep(1)
    assert not batch.has_ended
    go_on(server)
    assert woken(batch) == 0, batch.said
    site.check_served(length)
    other = sum(LENGTHS) - length
    clone = replace(site.clone, answer_seconds=0.5)
    batch = asleep(clone, place, other)
    server.pause()
    assert woken(batch) == 1
    go_on(server)
    assert "; is it stopped or overloaded?" in line_of(batch)
    # what was sent is done when it goes on, also the write that makes it current
    assert site.length == sum(LENGTHS) - other or "make_current" in place.name
    site.check_served(site.length)
    check_next(site, other)


def go_on(server: RedisServer) -> None:
    """Let a server that was stopped go on."""
    assert server.process is not None
    server.process.send_signal(signal.SIGCONT)


@at_places
def test_cut_off(site: Site, server: RedisServer, length: int, place: Place) -> None:
    """All connections of the batch end: nothing is sent twice."""
    with proxy(server.port) as line:
        url = f"redis://127.0.0.1:{line.port}/0"
        variables = {**site.clone.variables, "REDIS_URL": url}
        batch = asleep(Clone(site.clone.folder, variables), place, length)
        line.cut()
        check_ended(site, batch, length)
    check_next(site, length)


@at_places
def test_made_a_replica(site: Site, length: int, place: Place) -> None:
    """As when another takes its place: it takes nothing more, and serves on."""
    batch = asleep(site.clone, place, length)
    site.client.execute_command("REPLICAOF", "127.0.0.1", free_port())
    try:
        check_failed(site, batch, length, "name its primary in REDIS_URL")
    finally:
        site.client.execute_command("REPLICAOF", "NO", "ONE")
    check_next(site, length)


@at_places
def test_full(site: Site, length: int, place: Place) -> None:
    """It refuses what comes, and keeps what it has."""
    batch = asleep(site.clone, place, length)
    site.client.config_set("maxmemory", 1)
    try:
        check_failed(site, batch, length, "it is full: give it more memory")
    finally:
        site.client.config_set("maxmemory", 0)
    check_next(site, length)


@at_places
def test_a_full_disk(tmp_path: Path, site: Site, length: int, place: Place) -> None:
    """It takes nothing that it cannot write down."""
    disk = tmp_path / "disk"
    (home,) = site.client.config_get("dir").values()
    with tiny_disk(disk, "8m"):
        move(site.client, disk)
        batch = asleep(site.clone, place, length)
        try:
            with filled(disk):
                # what is on its way there already is under way a moment later
                wait_until(lambda: not is_writable(site.client))
                check_failed(site, batch, length, "is its disk full?")
            wait_until(lambda: is_writable(site.client))
        finally:
            move(site.client, home)
        check_next(site, length)


def move(client: redis.Redis, folder: object) -> None:
    """Make a Redis keep its data in another folder."""
    client.config_set("appendonly", "no")
    client.config_set("dir", str(folder))
    client.config_set("appendonly", "yes")
    wait_until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)


def is_writable(client: redis.Redis) -> bool:
    """Try whether a Redis takes something, and can write it down."""
    try:
        client.set("tried", "x" * 5000)
        client.delete("tried")
    except redis.RedisError:
        return False
    return str(client.info("persistence")["aof_last_write_status"]) == "ok"
