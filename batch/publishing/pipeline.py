"""Commands sent to Redis without waiting for each answer."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from redis.connection import Connection, ConnectionPool

from batch.publishing import cluster, encoding
from batch.publishing.cluster import Redis

KEYS_PER_TRIP = 1000


class Trip(NamedTuple):
    """Commands that are sent together.

    Attributes:
        keys: the key of each command.
        commands: the commands, encoded in Redis' protocol.
        expected: the answers of Redis if the keys are new.
    """

    keys: Sequence[str]
    commands: Sequence[bytes]
    expected: Sequence[Any] = ()


class Pipeline:
    """Sends trips, each command to the server of its key.

    A command is sent again only if the server answered that it did not execute it. A
    broken connection or any other error ends the pipeline.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._open: dict[str, tuple[ConnectionPool, Connection]] = {}
        self._sent: deque[tuple[Trip, Mapping[str, Sequence[int]]]] = deque()

    def __len__(self) -> int:
        """Return the number of trips that are not answered yet."""
        return len(self._sent)

    def send(self, trip: Trip) -> None:
        """Send commands; if that fails, some of them may have been executed."""
        servers = cluster.servers(self._client, trip.keys)
        for name, (server, _) in servers.items():
            if name not in self._open:
                pool = server.connection_pool
                self._open[name] = pool, pool.get_connection()
        self._sent.append((trip, {name: at for name, (_, at) in servers.items()}))
        for name, (_, positions) in servers.items():
            packed = b"".join([trip.commands[i] for i in positions])
            self._open[name][1].send_packed_command([packed], check_health=False)

    def receive(self) -> tuple[Trip, list[Any]]:
        """Wait for the answers to the oldest trip; raise if one of them is an error."""
        trip, places = self._sent[0]
        answers: list[Any] = [None] * len(trip.commands)
        redirected: list[int] = []
        for name, positions in places.items():
            for i in positions:
                try:
                    answers[i] = self._open[name][1].read_response()
                except cluster.Redirected:
                    redirected.append(i)
        self._sent.popleft()
        for i in redirected:
            parts = encoding.parts(trip.commands[i])
            answer = self._client.execute_command(*parts)  # type: ignore[no-untyped-call]
            answers[i] = "OK" if answer is True else answer  # as the server sends it
        return trip, answers

    def close(self) -> None:
        """Return the connections to their pools, closed if answers are still unread."""
        for pool, connection in self._open.values():
            if self._sent:
                connection.disconnect()
            pool.release(connection)


def ask(
    client: Redis, keys: Sequence[str], command_of: Callable[[str], bytes]
) -> Iterator[Any]:
    """Yield the answer to the command about each key."""
    pipeline = Pipeline(client)
    try:
        for start in range(0, len(keys), KEYS_PER_TRIP):
            some = keys[start : start + KEYS_PER_TRIP]
            pipeline.send(Trip(some, [command_of(key) for key in some]))
            yield from pipeline.receive()[1]
    finally:
        pipeline.close()


def total(client: Redis, command: str, keys: Sequence[str]) -> int:
    """Sum the answers to a command that takes any number of keys, such as EXISTS."""
    n = 0
    pipeline = Pipeline(client)
    try:
        for start in range(0, len(keys), KEYS_PER_TRIP):
            some = keys[start : start + KEYS_PER_TRIP]
            if cluster.is_cluster(client):  # one command takes keys of one node only
                single = [encoding.command(command, key) for key in some]
                pipeline.send(Trip(some, single))
            else:
                pipeline.send(Trip(some[:1], [encoding.command(command, *some)]))
            n += sum(pipeline.receive()[1])
    finally:
        pipeline.close()
    return n
