"""A lookup whose Redis is killed, restarted, paused, slow, or older than before."""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from lookup.shared import embedded_redis
from tests.benchmarks.load import megabytes
from tests.conftest import POPULAR, USERS, RedisServer, publish, running, wait_until
from tests.faults.crowd import Crowd, Items, crowd
from tests.faults.lookups import Lookup, lookup
from tests.faults.proxy import proxy
from tests.lookup.programs import ask

pytestmark = pytest.mark.slow

N_CONNECTIONS = 48
N_KILLS = 4
BACK_WITHIN = 1.0
"""Seconds from Redis' return to the first right response."""
ANSWERS_WITHIN = 5.0
"""Seconds that any request waits; at most two where a machine is not overloaded."""

LISTS: Mapping[str, Sequence[Items]] = {
    "/recommend/42": [[item_id for item_id, _ in USERS[42]]],
    "/recommend/42?k=2&offset=1": [[item_id for item_id, _ in USERS[42]][1:3]],
    "/recommend/7": [[item_id for item_id, _ in USERS[7]]],
    "/recommend/13": [[]],
    "/recommend/99": [[item_id for item_id, _ in POPULAR]],
    "/popular?k=2": [[181, 50]],
}
"""Paths and their right lists."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Give a Redis that holds the small generation, on its disk as well."""
    with running(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            publish(client)
            client.save()
        yield server


@contextmanager
def crowded(
    folder: Path, url: str, n_connections: int
) -> Iterator[tuple[Lookup, Crowd]]:
    """Run a lookup under load; check that each response is right or a 503."""
    with lookup(folder, REDIS_URL=url) as served:
        with crowd(served.port, n_connections, LISTS) as found:
            wait_until(lambda: len(found.heard) > 500, 30)
            yield served, found
        assert found.wrong() == []


def works(port: int) -> bool:
    """Request a list that no cache has."""
    answer = ask(port, f"/recommend/42?k=3&exclude={time.monotonic_ns()}")
    return answer.status_code == 200


def reason(port: int, path: str = "/recommend/42") -> str:
    """Check that a path gets a 503, and return its code."""
    answer = ask(port, path)
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "1"
    code: str = answer.json()["error"]["code"]
    return code


def test_killed_and_started_again_under_load(
    tmp_path: Path, server: RedisServer
) -> None:
    """Only 503 with Retry-After meanwhile, hot lists included, and then at once 200."""
    with crowded(tmp_path, server.url, N_CONNECTIONS) as (served, found):
        for _ in range(N_KILLS):
            server.kill()
            killed = time.monotonic()
            time.sleep(0.5)
            # the pointer counts as read for 20 ms
            away = found.between(killed + 0.1, time.monotonic())
            assert {one.status for one in away} == {503}
            assert max(one.end - one.begin for one in away) < BACK_WITHIN
            assert ask(served.port, "/health").status_code == 200
            server.start()
            back = time.monotonic()
            wait_until(lambda: works(served.port), BACK_WITHIN)
            time.sleep(0.3)
            after = found.between(back + BACK_WITHIN / 2, time.monotonic())
            assert {one.status for one in after} <= {200}
    assert set(found.statuses()) == {200, 503}


def test_it_comes_back_empty_or_older(tmp_path: Path, server: RedisServer) -> None:
    """The lookup serves what Redis holds, whatever its cache holds."""
    older = tmp_path / "dump.rdb"
    shutil.copy(older, tmp_path / "older.rdb")
    newer = {**USERS, 42: [(267, 9.0), (50, 1.0)], 43: [(50, 1.0)]}
    with redis.Redis.from_url(server.url) as client:
        publish(client, "g2", users=newer)
        client.save()
    path = "/recommend/42"
    with lookup(tmp_path, REDIS_URL=server.url) as served:
        assert ask(served.port, path).json()["generation"] == "g2"
        server.kill()
        (tmp_path / "older.rdb").replace(older)
        server.start()
        wait_until(lambda: works(served.port), BACK_WITHIN)
        body = ask(served.port, path).json()
        assert body["generation"] == "g1"
        assert [item["item_id"] for item in body["items"]] == LISTS[path][0]
        assert ask(served.port, "/recommend/43").json()["source"] == "popular"
        server.kill()
        older.unlink()
        server.start()
        wait_until(lambda: reason(served.port, path) == "no_generation", BACK_WITHIN)
        assert reason(served.port, "/ready") == "no_generation"
        with redis.Redis.from_url(server.url) as client:
            publish(client, "g3")
        assert ask(served.port, path).json()["generation"] == "g3"


def test_a_redis_that_is_loading_its_data_is_unavailable(
    tmp_path: Path, server: RedisServer
) -> None:
    with redis.Redis.from_url(server.url) as client:
        for i in range(120):
            client.set(f"ballast:{i}", os.urandom(300_000))
        client.save()
    server.kill()
    slowly = ("--key-load-delay", "50000")
    with (
        lookup(tmp_path, REDIS_URL=server.url) as served,
        running(tmp_path, *slowly, port=server.port, is_loaded=False),
    ):
        answer = ask(served.port, "/recommend/42")
        assert answer.status_code == 503
        assert "loading" in answer.json()["error"]["message"].lower()
        wait_until(lambda: works(served.port), 30)


def test_stopped_under_load(tmp_path: Path, server: RedisServer) -> None:
    """Redis accepts connections and never answers: every request gets a 503 in time."""
    with crowded(tmp_path, server.url, 200) as (served, found):
        before = megabytes(served.pid)
        server.pause()
        stopped = time.monotonic()
        time.sleep(2.5)
        away = found.between(stopped + 0.1, time.monotonic())
        assert {one.status for one in away} == {503}
        assert megabytes(served.pid) - before < 30
        assert server.process is not None
        server.process.send_signal(signal.SIGCONT)
        wait_until(lambda: works(served.port), BACK_WITHIN)
    assert found.slowest() < ANSWERS_WITHIN


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"delay": 0.1}, {200}),
        ({"delay": 3.0}, {503}),
        ({"rate": 100}, {200, 503}),
        ({"garbles": True}, {503}),
        ({"is_deaf": True}, {503}),
    ],
    ids=str,
)
def test_a_bad_line_to_redis(
    tmp_path: Path, server: RedisServer, fault: dict[str, float], expected: set[int]
) -> None:
    """Responses come in time, and none is wrong."""
    with (
        proxy(server.port) as line,
        crowded(tmp_path, embedded_redis.url(line.port), 300) as (served, found),
    ):
        before = megabytes(served.pid)
        for name, value in fault.items():
            setattr(line, name, value)
        begun = time.monotonic()
        time.sleep(2.5)  # more than twice the time limit
        during = found.between(begun + 0.1, time.monotonic())
        assert {one.status for one in during} <= expected
        assert during
        assert line.n_connections() <= 64
        assert megabytes(served.pid) - before < 30
        line.well()
        wait_until(lambda: works(served.port), ANSWERS_WITHIN)
    assert found.slowest() < ANSWERS_WITHIN


@pytest.mark.parametrize("how", ["cut", "half_close"])
def test_connections_to_redis_that_end(
    tmp_path: Path, server: RedisServer, how: str
) -> None:
    """A few requests get a 503, the others a response on another connection."""
    with (
        proxy(server.port) as line,
        crowded(tmp_path, embedded_redis.url(line.port), N_CONNECTIONS) as (
            served,
            found,
        ),
    ):
        for _ in range(10):
            getattr(line, how)()
            wait_until(lambda: works(served.port), BACK_WITHIN)
            time.sleep(0.05)
    assert found.statuses()[503] < 20 * N_CONNECTIONS
    assert found.slowest() < ANSWERS_WITHIN


def test_slow_round_trips_do_not_add_up(tmp_path: Path, server: RedisServer) -> None:
    with (
        proxy(server.port) as line,
        lookup(tmp_path, REDIS_URL=embedded_redis.url(line.port)) as served,
    ):
        assert works(served.port)
        line.delay = 0.8
        with crowd(served.port, 2_000, LISTS) as found:
            time.sleep(5)
        assert found.wrong() == []
        assert set(found.statuses()) == {200, 503}
        assert found.slowest() < ANSWERS_WITHIN
