"""Each container killed under load, and the answers meanwhile."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

import httpx
import pytest

from tests.conftest import wait_until
from tests.containers.stack import Stack, inspected, run
from tests.faults.crowd import Crowd, crowd

pytestmark = pytest.mark.docker

N_CONNECTIONS = 24
PATHS = (
    "/recommend/42",
    "/recommend/7?k=100",
    "/recommend/943?k=5&offset=5",
    "/recommend/100000",
    "/popular?k=20",
    "/similar/50",
)
"""Users, an unknown one, and lists that are the same for all."""

BACK_WITHIN = 30.0
"""Seconds from a kill to the first list, on a machine with other work."""
WAITS_AT_MOST = 10.0
FORCED = ("run", "--detach", "batch", "run", "--force")


@contextmanager
def asked(stack: Stack) -> Iterator[Crowd]:
    """Ask from many connections while a fault is injected; no answer may be wrong."""
    lists = {path: [listed(stack, path)] for path in PATHS}
    with crowd(stack.lookup_port, N_CONNECTIONS, lists) as seen:
        time.sleep(2)
        yield seen
        time.sleep(2)
    assert seen.wrong() == []
    assert seen.slowest() < WAITS_AT_MOST


def without_lists(seen: Crowd) -> float:
    """Return the longest time in which no list was answered."""
    right = sorted(one.end for one in seen.heard if one.status == httpx.codes.OK)
    return max(after - before for before, after in pairwise(right))


def listed(stack: Stack, path: str) -> list[int]:
    """Return the list that is served now."""
    return [item["item_id"] for item in stack.get(path).json()["items"]]


def serves_lists(stack: Stack) -> bool:
    """Return whether a list is served that no cache holds."""
    path = f"/recommend/42?k=3&exclude={time.monotonic_ns()}"
    return stack.status_of(path) == httpx.codes.OK


def test_redis_is_killed(stack: Stack) -> None:
    """Only 503 while it is away; then it has all lists again."""
    before = stack.get("/ready").json()
    with asked(stack) as seen:
        restarts = stack.kill_inside("redis")
        stack.wait_until_restarted("redis", restarts)
        wait_until(lambda: serves_lists(stack), seconds=BACK_WITHIN)
    assert without_lists(seen) < BACK_WITHIN
    assert set(seen.statuses()) <= {200, 503}
    assert stack.wait_until_ready() == before


def test_redis_is_away_for_long(stack: Stack) -> None:
    """503 at once, and the API stays up."""
    restarts = stack.container("lookup")["RestartCount"]
    with asked(stack) as seen:
        since = time.monotonic()
        stack.compose("kill", "redis")
        try:
            time.sleep(8)
            gone = seen.between(since + 4, time.monotonic())
            assert {one.status for one in gone} == {503}
            assert len(gone) >= N_CONNECTIONS
            assert stack.get("/health").status_code == httpx.codes.OK
        finally:
            stack.compose("start", "redis")
        wait_until(lambda: serves_lists(stack), seconds=BACK_WITHIN)
    assert stack.container("lookup")["RestartCount"] == restarts


def test_mlflow_is_killed(stack: Stack) -> None:
    """Lists are served on, and it returns with its models."""
    with asked(stack) as seen:
        restarts = stack.kill_inside("mlflow")
        stack.wait_until_restarted("mlflow", restarts)
    assert set(seen.statuses()) == {200}
    wait_until(lambda: has_prod(stack), seconds=120)


def test_the_lookup_is_killed(stack: Stack) -> None:
    """Connections are refused until it is back, and all answers are right."""
    with asked(stack) as seen:
        restarts = stack.kill_inside("lookup")
        stack.wait_until_restarted("lookup", restarts)
        wait_until(lambda: serves_lists(stack), seconds=BACK_WITHIN)
    assert without_lists(seen) < BACK_WITHIN
    assert set(seen.statuses()) == {200}


@pytest.mark.parametrize("moment", ["reading", "building", "scoring: "])
def test_a_batch_is_killed(stack: Stack, moment: str) -> None:
    """The former lists are served until the next ones are complete."""
    before = stack.get("/ready").json()
    with asked(stack) as seen:
        batch = stack.compose(*FORCED).strip()
        try:
            wait_until(said(batch, moment), seconds=300)
            run(["docker", "kill", batch])
            assert inspected(batch)["State"]["ExitCode"] == 137
        finally:
            run(["docker", "rm", "--force", batch])
    assert set(seen.statuses()) == {200}
    assert stack.get("/ready").json() == before
    assert_the_next_run_is_served(stack)


def test_a_batch_has_too_little_memory(stack: Stack) -> None:
    """It is killed, and nothing else."""
    before = stack.get("/ready").json()
    with asked(stack) as seen:
        done = stack.attempt(
            *("run", "--rm", "-T", "--no-deps", "batch", "run", "--force"),
            BATCH_MEMORY="256m",
        )
        assert done.returncode == 137
    assert set(seen.statuses()) == {200}
    assert stack.get("/ready").json() == before
    assert_the_next_run_is_served(stack)


def said(container: str, what: str) -> Callable[[], bool]:
    """Return a condition: a container has logged a text."""

    def is_said() -> bool:
        done = run(["docker", "logs", container])
        return what in done.stdout + done.stderr

    return is_said


def has_prod(stack: Stack) -> bool:
    """Return whether MLflow answers which version is `prod`."""
    with suppress(httpx.TransportError):
        return stack.prod().status_code == httpx.codes.OK
    return False


def assert_the_next_run_is_served(stack: Stack) -> None:
    """Run the batch as soon as the killed one's lock has expired."""

    def is_done() -> bool:
        done = stack.attempt("run", "--rm", "-T", "batch", "run", "--force", "--json")
        assert done.returncode in (0, 75), done.stderr
        if done.returncode == 0:
            generations.append(json.loads(done.stdout)["generation"])
        return done.returncode == 0

    generations: list[str] = []
    wait_until(is_done, seconds=300)
    assert stack.get("/recommend/42").json()["generation"] == generations[0]
