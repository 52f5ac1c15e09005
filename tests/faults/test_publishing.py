"""A Redis that is killed, stopped, cut off, read-only or full while lists are written."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from lookup import contract, embedded
from tests.conftest import RedisServer, Tally, free_port, running, wait_until
from tests.faults.batches import Batch, Clone, Place
from tests.faults.disks import filled, tiny_disk
from tests.faults.kills import LENGTHS, Site, prepared
from tests.faults.proxy import Proxy, proxy

pytestmark = pytest.mark.slow

PLACES = (
    (Place("batch.exports:written", "within", 21), 1),
    (Place("batch.exports:written", "within", 5), 3),
    (Place("batch.publish:complete", "before"), 1),
    (Place("batch.publish:Lock.flip", "before"), 1),
)
"""Where a batch waits while something happens to Redis, and in how many parts."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that has on its disk what it has acknowledged."""
    folder = tmp_path_factory.mktemp("redis")
    with running(folder, "--appendonly", "yes") as server:
        yield server


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, server: RedisServer
) -> Iterator[Site]:
    """A clone whose first run has been made."""
    with prepared(tmp_path_factory.mktemp("clone"), server.url) as site:
        yield site


def asleep(clone: Clone, place: Place, length: int) -> Batch:
    """Start a batch and wait until it sleeps."""
    words = ("run", "--top-n", str(length), "--quiet")
    batch = clone.start(*words, place=place, how=signal.SIGSTOP)
    wait_until(lambda: batch.has_ended or batch.is_stopped, seconds=60)
    assert not batch.has_ended, batch.said
    return batch


def line_of(batch: Batch) -> str:
    """Give the one line of error of a batch that failed; warnings may come first."""
    lines = [one for one in batch.said.splitlines() if one.startswith("error: ")]
    assert len(lines) == 1, batch.said
    assert "Traceback" not in batch.said
    return lines[0]


def after(site: Site, batch: Batch, parts: int, length: int, told: str) -> None:
    """See that a batch failed in so many words or did it all; and what is served."""
    former = sum(LENGTHS) - length
    if batch.wait():
        assert batch.wait() == 1
        assert told in line_of(batch), batch.said
        site.check_served(former)
        site.check_tables()
        site.let_lock_expire()
    else:
        site.check_served(length)
    site.run(length, parts)
    site.check_served(length)
    site.check_swept()


@pytest.mark.parametrize(("place", "parts"), PLACES, ids=str)
@pytest.mark.parametrize("is_back", [True, False], ids=["back", "away"])
def test_killed(
    site: Site,
    server: RedisServer,
    place: Place,
    parts: int,
    is_back: bool,
    tally: Tally,
) -> None:
    """And started again, at once or when the batch has ended."""
    length = sum(LENGTHS) - site.length
    batch = asleep(replace(site.clone, parts=parts), place, length)
    server.kill()
    if is_back:
        server.start()
        site.check_served(sum(LENGTHS) - length)
    batch.signal(signal.SIGCONT)
    if not is_back:
        assert batch.wait() == 1
        server.start()
    after(site, batch, parts, length, "; is the server up and REDIS_URL right?")
    tally.faults()
