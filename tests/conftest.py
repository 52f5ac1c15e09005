"""A real Redis for the tests, and a small generation to put into it."""

import ctypes
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lookup.shared import contract, embedded_redis
from lookup.shared.keys import Keys

KEYS = Keys()
ONCE = Retry(NoBackoff(), 0)

Pairs = Sequence[tuple[Any, float]]

ITEMS: Mapping[int, Mapping[str, Any]] = {
    50: {"title": "Star Wars (1977)", "genres": ["Action", "Sci-Fi"], "year": 1977},
    73: {"title": "Misérables, Les (1995)", "genres": ["Drama"], "year": 1995},
    181: {"title": "Return of the Jedi (1983)", "genres": ["Action"], "year": 1983},
    258: {"title": "Contact (1997)", "genres": ["Drama", "Sci-Fi"], "year": 1997},
    267: {"title": "unknown", "genres": [], "year": None},
}
USERS: Mapping[int, Pairs] = {
    42: [(50, 3.1416), (73, 2.5), (181, 2.5), (258, 0.5), (267, -1.25)],
    7: [(258, 1.0), (50, 0.25)],
    13: [],
}
POPULAR: Pairs = [(181, 4.0), (50, 3.0), (258, 2.0), (73, 1.0)]


class RedisServer:
    """A redis-server that can be killed and started again on the same port.

    It ends with this process, even when that one is killed.
    """

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        self.folder = folder
        self.options = options
        self.port = port or free_port()
        self.url = embedded_redis.url(self.port)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, is_loaded: bool = True) -> None:
        """Start it and wait until it answers, and has loaded what is on its disk."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        options += [*self.options, "--dir", str(self.folder)]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [embedded_redis.find_server(), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent(),
                start_new_session=True,  # Ctrl-C is for pytest, which stops us then
            )
        wait_until(lambda: self._answers(is_loaded))

    def kill(self) -> None:
        """End it at once, whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def pause(self) -> None:
        """Make it accept connections and never answer."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def _answers(self, is_loaded: bool) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "redis.log").read_text()
        with (
            suppress(redis.RedisError),
            redis.Redis(
                port=self.port, socket_timeout=5, retry=ONCE, protocol=2
            ) as client,
        ):
            try:
                info = client.info()
            except redis.ResponseError:
                return True  # it has been started without INFO
            is_ours = info["process_id"] == self.process.pid
            return is_ours and (info["loading"] == 0 or not is_loaded)
        return False


def end_with_parent() -> Callable[[], None] | None:
    """Make a preexec_fn that ends a child with this process, even if that is killed."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # found before the fork, where it might deadlock
    death_signal = 1
    return lambda: prctl(death_signal, signal.SIGTERM)


@contextmanager
def running(
    folder: Path, *options: str, port: int | None = None, is_loaded: bool = True
) -> Iterator[RedisServer]:
    """Run a Redis, with options of redis-server, for the length of a block."""
    server = RedisServer(folder, *options, port=port)
    try:
        server.start(is_loaded=is_loaded)
        yield server
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def _inherits_no_store() -> None:
    """Forget an earlier test's MLflow store, which mlflow leaves in the environment."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests, those marked `anyio`, on asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the whole session."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for a file, whose tests may follow each other."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Give the URL of the session's Redis, emptied for this test."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator["redis.Redis"]:
    """Give a client of the session's Redis, emptied for this test."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store of MLflow once, which tests copy: MLflow takes seconds to."""
    from batch.model.registry import Registry

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Registry(f"sqlite:///{path}").prod_version()
    return path


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Give a Redis that the test may kill."""
    with running(tmp_path) as server:
        yield server


def publish(
    client: "redis.Redis",
    generation: str = "g1",
    *,
    users: Mapping[Any, Pairs] = USERS,
    popular: Pairs = POPULAR,
    items: Mapping[Any, Mapping[str, Any]] = ITEMS,
    top_n: int = 5,
    model_version: str = "3",
    current: bool = True,
) -> None:
    """Write a small generation as the contract says, and make it the current one."""
    meta: dict[Any, Any] = {
        "model_name": "MovieLensXGB",
        "model_version": model_version,
        "scored_at": "2026-11-24T01:30:00Z",
        "n_users": len(users),
        "n_items": len(items),
        "top_n": top_n,
        "fingerprint": "f" * 8,
    }
    described: dict[Any, Any] = {
        item_id: json.dumps(item) for item_id, item in items.items()
    }
    pipe = client.pipeline()
    pipe.hset(KEYS.of(generation).meta, mapping=meta)
    pipe.hset(KEYS.of(generation).items, mapping=described)
    pipe.rpush(KEYS.of(generation).popular, *contract.encode(popular))
    for user_id, pairs in users.items():
        pipe.rpush(KEYS.of(generation).user(user_id), *contract.encode(pairs))
    pipe.zadd(KEYS.generations, {generation: time.time()})
    if current:
        pipe.set(KEYS.current, generation)
    pipe.execute()


def free_port() -> int:
    """Find a free port."""
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        port: int = candidate.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Return whether a port accepts connections."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    """Wait until a condition holds; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.01)


LONGEST = (
    "faults/test_kills.py",
    "faults/test_kills_of_commands.py",
    "test_end_to_end.py",
    "faults/test_disk.py",
    "commands/test_train.py",
    "features/test_candidates.py",
    "faults/test_connections.py",
    "faults/test_flips.py",
    "faults/test_refusals.py",
    "faults/test_redis.py",
    "faults/test_publishing.py",
    "lookup/test_page_in_browser.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker ends with one alone."""

    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((i for i, end in enumerate(LONGEST) if path.endswith(end)), 99)

    items.sort(key=place)


def pytest_unconfigure() -> None:
    """End quietly: at exit Hypothesis' hook into the collector keeps DuckDB's types.

    DuckDB would print dozens of lines about leaks after the summary of the tests.
    """
    gc.callbacks.clear()
