"""Batches killed at any instant, with SIGKILL, as real processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis

from lookup.shared import embedded_redis
from tests.conftest import KEYS, answers, wait_until
from tests.faults.batches import Clone, Place
from tests.faults.kills import PLACES, Site, content, moments, reading

LISTS_WRITTEN = Place("batch.publishing.writers:RedisWriter.write", "after", 4)


def test_at_the_boundaries_of_stages(site: Site) -> None:
    """The one generation or the other is served whole; the next run leaves nothing."""
    with reading(site.clone.folder) as seen:
        n_flipped = sum(map(site.kill, PLACES))
    assert n_flipped == 5
    assert set(seen) <= {"whole", "gone"}


@pytest.mark.parametrize("n", [10, pytest.param(40, marks=pytest.mark.slow)])
def test_at_random_moments(site: Site, n: int) -> None:
    """From the start of a run to just after its end."""
    with reading(site.clone.folder) as seen:
        for moment in moments(n, site, np.random.default_rng(n)):
            site.kill(moment)
    assert seen["whole"] > n
    assert set(seen) <= {"whole", "gone"}


def test_the_user_of_the_embedded_redis(new_clone: Clone) -> None:
    """The server runs on until the next user leaves, and keeps all of its data."""
    clone, folder = replace(new_clone, lock_seconds=2), new_clone.folder / "data/redis"
    clone.run("run")
    with kept(folder) as client:
        served = str(client.get(KEYS.current))
        before = content(client, served)
    died = clone.start("run", "--force", place=LISTS_WRITTEN)
    assert died.wait() == -9
    port = int((folder / "server.lock").read_text())
    assert answers(port)
    with kept(folder) as client:
        assert client.get(KEYS.current) == served
        assert content(client, served) == before
        assert len(client.keys("recs:*:user:*")) > 40
        wait_until(lambda: not client.exists(KEYS.lock))
    assert not answers(port)
    clone.run("run")
    with kept(folder) as client:
        names = map(str, client.scan_iter("recs:*"))
        assert {KEYS.generation_of(name) for name in names} == {None, served}


@contextmanager
def kept(folder: Path) -> Iterator[redis.Redis]:
    """Open the data of an embedded Redis."""
    with (
        embedded_redis.redis(folder) as url,
        redis.Redis.from_url(url, decode_responses=True) as client,
    ):
        yield client
