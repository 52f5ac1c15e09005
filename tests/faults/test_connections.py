"""Many connections, slow ones, and too many requests on one."""

import json
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import redis

from lookup.server import connection
from tests.benchmarks.load import megabytes
from tests.conftest import publish, wait_until
from tests.faults import hostile
from tests.faults.lookups import lookup, lookup_in_here
from tests.lookup.programs import ask

N_IDLE = 10_000
N_AT_ONCE = 3_000
WITHIN = 2.0
"""Seconds in which others get an answer; on a quiet machine it takes 0.02."""


@pytest.fixture(autouse=True)
def published(redis_client: "redis.Redis") -> None:
    publish(redis_client)


def serves_others(port: int, n: int = 20) -> bool:
    """Ask on new connections; return whether all answers are quick."""
    slowest = 0.0
    for _ in range(n):
        begin = time.monotonic()
        answer = ask(port, "/recommend/42?k=2")
        assert answer.status_code == 200
        assert [item["item_id"] for item in answer.json()["items"]] == [50, 73]
        slowest = max(slowest, time.monotonic() - begin)
    return slowest < WITHIN


@contextmanager
def connections(port: int, n: int, buffer: int = 0) -> Iterator[list[socket.socket]]:
    """Open n connections for a block, with the size of their receive buffer."""
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in opened:
            one.settimeout(30)
            if buffer:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            one.connect(("127.0.0.1", port))
        yield opened


@contextmanager
def files(n: int) -> Iterator[None]:
    """Limit this process and its children to n files for a block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (n, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_closed(waiting: socket.socket) -> bool:
    """Return whether the other side has closed, without reading."""
    poll = select.poll()
    poll.register(waiting, select.POLLRDHUP)
    return bool(poll.poll(0))


@pytest.mark.slow
def test_ten_thousand_idle_connections_keep_no_client_out(
    tmp_path: Path, redis_url: str
) -> None:
    """A lookup raises the usual limit of 1,024 files to the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = min(N_IDLE, hard - 500)
    with files(1_024), lookup(tmp_path, REDIS_URL=redis_url) as served, files(hard):
        before = megabytes(served.pid)
        with connections(served.port, n) as idle:
            assert serves_others(served.port)
            assert megabytes(served.pid) - before < 300
            assert not is_closed(idle[-1])
        assert serves_others(served.port)
    if n < N_IDLE:
        pytest.skip(f"ONLY {n} CONNECTIONS TRIED: ulimit -Hn allows {hard} files")


def test_slow_clients_are_disconnected(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they send a byte at a time, nothing, or do not read their answers."""
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 3.0)
    asked = b"GET /popular HTTP/1.1\r\nHost: x\r\n\r\n" * 50_000
    with (
        lookup_in_here(redis_url) as port,
        connections(port, 3, buffer=4_096) as deaf,
        connections(port, 20) as silent,
        connections(port, 20) as dripping,
    ):
        for one in deaf:
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.send(asked)
        for one in dripping:
            one.sendall(b"GET /popular HTTP/1.1\r\nX-A: ")
        begin = time.monotonic()
        while time.monotonic() < begin + 0.7:
            for one in dripping:
                one.sendall(b"a")
            assert serves_others(port, 2)
            assert not any(map(is_closed, silent))
            time.sleep(0.05)
        wait_until(lambda: all(map(is_closed, silent + dripping)), 10)
        wait_until(lambda: all(map(is_closed, deaf)), 30)
        assert serves_others(port, 2)


def test_a_connection_in_use_is_not_closed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 1.0)
    with lookup_in_here(redis_url) as port, connections(port, 1) as (one,):
        begin = time.monotonic()
        while time.monotonic() < begin + 2.5:
            one.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert one.recv(15) == b"HTTP/1.1 200 OK"
            one.recv(10_000)
            time.sleep(0.1)


@pytest.mark.parametrize(
    "begin", [b"GET /", b"GET / HTTP/1.1\r\nX-A: ", b"GET / HTTP/1.1\r\n", b"\r\n"]
)
def test_a_head_without_an_end_takes_no_memory(
    tmp_path: Path, redis_url: str, begin: bytes
) -> None:
    more = b"a" * 65_536 if begin != b"\r\n" else begin * 32_768
    more = more if begin != b"GET / HTTP/1.1\r\n" else b"a: b\r\n" * 10_000
    with lookup(tmp_path, REDIS_URL=redis_url) as served:
        serves_others(served.port)
        before = megabytes(served.pid)
        with connections(served.port, 10) as endless:
            for one in endless:
                one.sendall(begin)
                for _ in range(100):
                    one.sendall(more)
            assert megabytes(served.pid) - before < 20
            for one in endless:
                (answer,) = hostile.answers(one)
                assert answer.status == 422
                assert answer.is_as_agreed()
        assert serves_others(served.port)


def test_pipelined_requests_take_little_memory(tmp_path: Path, redis_url: str) -> None:
    """Each gets its answer, in order."""
    asked = b"".join(
        b"GET /recommend/%d?k=1 HTTP/1.1\r\n\r\n" % i for i in range(1, N_AT_ONCE)
    )
    last = hostile.get(b"/recommend/%d?k=1" % N_AT_ONCE)
    with lookup(tmp_path, REDIS_URL=redis_url) as served:
        serves_others(served.port)
        before = megabytes(served.pid)
        with connections(served.port, 20) as greedy:
            for one in greedy:
                one.setblocking(False)
                with suppress(BlockingIOError):
                    one.send(asked * 10)
            assert serves_others(served.port)
            time.sleep(0.5)
            assert megabytes(served.pid) - before < 60
        with connections(served.port, 1) as (one,):
            writer = threading.Thread(target=one.sendall, args=(asked + last,))
            writer.start()
            answers = list(hostile.answers(one))
            writer.join()
    users = [json.loads(answer.body or b"")["user_id"] for answer in answers]
    assert users == [*range(1, N_AT_ONCE + 1)]
