"""One Redis server, or a cluster of them: connecting, and sending much at once."""

import logging
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.connection import Connection, ConnectionPool
from redis.exceptions import AskError, RedisClusterException
from redis.retry import Retry

from batch.errors import BatchError
from batch.publishing import encoding
from lookup.shared.env import without_password

Client = redis.Redis | RedisCluster
KEYS_PER_TRIP = 1000
ANSWER_SECONDS = 30.0
"""What a server has for an answer; one that saves or frees much takes some."""
KEEPS_ALL = "noeviction"
"""The policy of a full server that refuses what comes, and drops nothing of ours.

Those that drop only what has a time to live would drop the lock.
"""

ERRORS = (redis.RedisError, RedisClusterException)
"""What redis raises: of a cluster, some are no RedisErrors."""
REMEDIES: Mapping[type[Exception] | tuple[type[Exception], ...], str] = {
    redis.exceptions.OutOfMemoryError: (
        "it is full: give it more memory (maxmemory) or store less (TOP_N)"
    ),
    (redis.exceptions.ClusterError, RedisClusterException): (
        "are all nodes of the cluster up, and REDIS_URL right?"
    ),
    redis.exceptions.ReadOnlyError: "it is a replica: name its primary in REDIS_URL",
    redis.exceptions.BusyLoadingError: "try again when it has loaded its data",
    redis.exceptions.NoPermissionError: (
        "give its user the right to read and write recs:* and to run scripts"
    ),
    redis.exceptions.AuthenticationError: ("are user and password in REDIS_URL right?"),
    redis.exceptions.TimeoutError: "is it stopped, or has it too much to do?",
}
REMEDIES_BY_MESSAGE: Mapping[str, str] = {
    "MISCONF": "it takes nothing until it can save: is its disk full? its log says why",
    "DB index": "is the database in REDIS_URL right?",
}

OF_A_SCRIPT = re.compile(r": -((OOM|READONLY|NOPERM|MISCONF) .*)")
"""What an older server says of a command amid what it says of the script."""
KINDS: Mapping[str, type[Exception]] = {
    "OOM": redis.exceptions.OutOfMemoryError,
    "READONLY": redis.exceptions.ReadOnlyError,
    "NOPERM": redis.exceptions.NoPermissionError,
    "MISCONF": redis.ResponseError,
}

log = logging.getLogger(__name__)


@contextmanager
def connect(url: str) -> Iterator[Client]:
    """Open a client, and turn what goes wrong within the block into one line.

    Raises:
        BatchError: names the server, its password left out, and the cause.
    """
    client: Client | None = None
    try:
        client = _open(url)
        yield client
    except ERRORS as error:
        told = plain(error)
        raise BatchError(
            f"Redis at {without_password(url)} failed: {told}; {remedy(told)}"
        ) from error
    finally:
        if client is not None:
            client.close()


def _open(url: str) -> Client:
    """Open a client of the server, or of the cluster if the server is part of one."""
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_connect_timeout": 5,
        "socket_timeout": ANSWER_SECONDS,
        # a repeated RPUSH would double a list
        "retry": Retry(NoBackoff(), 0),
    }
    client = redis.Redis.from_url(url, **options)
    try:
        mode = client.info("server").get("redis_mode")
    except redis.exceptions.NoPermissionError:
        mode = None  # who may not ask has no cluster, as far as we can know
    except BaseException:
        client.close()
        raise
    if mode != "cluster":
        return client
    client.close()
    return RedisCluster.from_url(url, **options)


def check_writable(client: Client, url: str) -> None:
    """Make sure that a server takes lists, and will not drop some of them later.

    A user whose list was evicted would get the popular one, as if nobody knew them. A
    server that does not tell is taken for a good one.

    Raises:
        BatchError: it is a replica, or evicts keys when it is full.
    """
    where = f"Redis at {without_password(url)}"
    for told in _infos(client, "replication"):
        if told.get("role") == "slave":
            raise BatchError(
                f"{where} is a replica of {told.get('master_host')} port "
                f"{told.get('master_port')}, which only that one writes to: name it in "
                "REDIS_URL (lookups may read from a replica)"
            )
    for told in _infos(client, "memory"):
        policy = told.get("maxmemory_policy", KEEPS_ALL)
        limit = int(told.get("maxmemory", 0))
        if policy == KEEPS_ALL:
            continue
        if limit:
            raise BatchError(
                f"{where} may drop keys: its maxmemory-policy is {policy} (maxmemory "
                f"is {limit} bytes), under which lists or the lock would vanish; set "
                f"maxmemory-policy to {KEEPS_ALL}"
            )
        log.warning(
            "%s has the maxmemory-policy %s; with a maxmemory it would drop keys, and "
            "this batch refuse it: set maxmemory-policy to %s",
            where,
            policy,
            KEEPS_ALL,
        )


def _infos(client: Client, section: str) -> list[dict[str, Any]]:
    """Ask each server that is written to about itself, as far as we may."""
    try:
        if not isinstance(client, RedisCluster):
            return [client.info(section)]
        primaries = RedisCluster.PRIMARIES
        answers = client.execute_command("INFO", section, target_nodes=primaries)
    except redis.exceptions.NoPermissionError:
        return []
    several = all(isinstance(answer, dict) for answer in answers.values())
    return list(answers.values()) if several else [answers]


def plain(error: Exception) -> Exception:
    """Take what failed within a script out of what is told of the script."""
    match = OF_A_SCRIPT.search(str(error))
    return KINDS[match[2]](match[1]) if match else error


def remedy(error: Exception) -> str:
    """Say what to do about a failure of Redis."""
    for kind, what in REMEDIES.items():
        if isinstance(error, kind):
            return what
    for beginning, what in REMEDIES_BY_MESSAGE.items():
        if str(error).startswith(beginning):
            return what
    if isinstance(error, redis.ResponseError):
        return "it refused the command"
    return "is the server up and REDIS_URL right?"


def is_full(error: BaseException) -> bool:
    """Tell whether a server had no memory left."""
    return isinstance(error, redis.exceptions.OutOfMemoryError)


def is_cluster(client: Client) -> bool:
    """Tell whether keys are spread over several servers."""
    return isinstance(client, RedisCluster)


def disconnect(client: Client) -> None:
    """Drop the connections: one that was interrupted may hold an unread answer."""
    if isinstance(client, RedisCluster):
        client.disconnect_connection_pools()
    else:
        client.connection_pool.disconnect()


def total(client: Client, verb: str, keys: Sequence[str]) -> int:
    """Sum the answers to a command that takes any number of keys, such as EXISTS."""
    trips = [keys[i : i + KEYS_PER_TRIP] for i in range(0, len(keys), KEYS_PER_TRIP)]
    if not isinstance(client, RedisCluster):
        answers = [client.execute_command(verb, *some) for some in trips]
        return sum(map(int, answers))
    # keys of one command would have to share a slot
    n = 0
    with Stream(client) as stream:
        for some in trips:
            stream.send(
                some, [encoding.command(verb.encode(), key.encode()) for key in some]
            )
            n += sum(stream.receive())
    return n


def lengths(client: Client, keys: Sequence[str]) -> list[int]:
    """Return the lengths of lists, 0 where there is none."""
    found: list[int] = []
    with Stream(client) as stream:
        for i in range(0, len(keys), KEYS_PER_TRIP):
            some = keys[i : i + KEYS_PER_TRIP]
            stream.send(some, [encoding.command(b"LLEN", key.encode()) for key in some])
            found += stream.receive()
    return found


class Stream:
    """Commands sent without waiting for the answers, each to the server of its key.

    Nothing is ever sent twice, unless the server said that it did nothing: a
    connection that breaks ends the stream, and so do errors.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._open: dict[str, tuple[ConnectionPool, Connection]] = {}
        self._sent: deque[_Trip] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for pool, connection in self._open.values():
            if kind is not None or self._sent:
                connection.disconnect()  # answers to nobody's question may be on it
            pool.release(connection)

    def send(self, keys: Sequence[str], commands: Sequence[bytes]) -> None:
        """Send commands, written in Redis' protocol, of one key each.

        Raises:
            redis.RedisError: it could not; what was sent of them is not known.
        """
        trip = _Trip(commands, self._routed(keys))
        self._sent.append(trip)
        for name, places in trip.places.items():
            packed = b"".join([commands[i] for i in places])
            self._connection(name).send_packed_command([packed], check_health=False)

    def receive(self) -> list[int]:
        """Wait for the answers of the oldest trip that has not been answered.

        Raises:
            redis.RedisError: one of them is an error, or the connection broke.
        """
        trip = self._sent[0]
        answers: list[Any] = [None] * len(trip.commands)
        moved: list[int] = []
        for name, places in trip.places.items():
            connection = self._connection(name)
            for i in places:
                try:
                    answers[i] = connection.read_response()
                except AskError:  # the key has moved, and nothing was done
                    moved.append(i)
        self._sent.popleft()
        for i in moved:
            parts = encoding.parts(trip.commands[i])
            answers[i] = self._client.execute_command(*parts)  # type: ignore[no-untyped-call]
        return answers

    def _routed(self, keys: Sequence[str]) -> dict[str, list[int]]:
        """Group places of keys by the name of the server that has them."""
        if not isinstance(self._client, RedisCluster):
            self._connect("", self._client)
            return {"": list(range(len(keys)))}
        routed: dict[str, list[int]] = {}
        for i, key in enumerate(keys):
            node = self._client.get_node_from_key(key)
            if node.name not in routed:
                self._connect(node.name, self._client.get_redis_connection(node))
                routed[node.name] = []
            routed[node.name].append(i)
        return routed

    def _connect(self, name: str, server: redis.Redis) -> None:
        if name not in self._open:
            pool = server.connection_pool
            self._open[name] = pool, pool.get_connection()

    def _connection(self, name: str) -> Connection:
        return self._open[name][1]


@dataclass
class _Trip:
    """Commands on their way, and their places by the name of the server."""

    commands: Sequence[bytes]
    places: Mapping[str, Sequence[int]]
