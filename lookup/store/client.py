"""A client of one Redis server, or of the cluster it belongs to."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterError,
    ConnectionError,  # noqa: A004 (by the name that Redis' users know)
    MovedError,
    RedisClusterException,
    ResponseError,
    TimeoutError,  # noqa: A004
)

from lookup.shared.redis_options import OPTIONS

Command = tuple[str | int, ...]

CONNECT_SECONDS = 0.5
NODE_SECONDS = 0.4
"""The time limit of a cluster's node, which leaves time to try another one."""
TIMEOUT_SECONDS = 1.0
"""The time limit of a round trip that requests wait for."""
MAX_CONNECTIONS = 64
LOST = (ConnectionError, TimeoutError, ClusterError, OSError)
"""Errors after which the nodes of a cluster may have changed."""


class Client:
    """Sends commands to the Redis of a URL.

    A server of a cluster redirects the first command for a key of another node. From
    then on commands go to all nodes, and commands that are sent together are executed
    in no particular order.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis: Redis | RedisCluster = _server(url)

    async def execute(
        self, commands: Sequence[Command], timeout: float | None = None
    ) -> list[Any]:
        """Send commands together and return their replies, some of which may be errors.

        Replies are as Redis sends them: a hash is a flat list of names and values. The
        time limit covers all of them: a limit per reply would cost more than the
        reply. Raises RedisError or OSError if there are no replies.
        """
        timeout, client = timeout or TIMEOUT_SECONDS, self._redis
        if isinstance(client, RedisCluster):
            return await _send_to_cluster(client, commands, timeout)
        replies = await _send_to_server(client, commands, timeout)
        if not any(isinstance(reply, MovedError) for reply in replies):
            return replies
        if client is self._redis:  # else another request was first
            self._redis = _cluster(self._url)
            await client.aclose()
        return await self.execute(commands, timeout)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


async def _send_to_server(
    client: Redis, commands: Sequence[Command], timeout: float
) -> list[Any]:
    """Send commands without redis-py's pipelines, which take three times as long."""
    async with asyncio.timeout(timeout):
        connection = await client.connection_pool.get_connection()
        try:
            # joined, because many small buffers are sent one by one
            packed = [pack_command(command) for command in commands]  # type: ignore[arg-type] # its stub wants a tuple of one
            await connection.send_packed_command(b"".join(packed))
            return [await _reply(connection) for _ in commands]
        finally:
            await client.connection_pool.release(connection)


async def _reply(connection: AbstractConnection) -> object:
    """Read a reply; return an error reply, since it concerns only its own command."""
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def _send_to_cluster(
    client: RedisCluster, commands: Sequence[Command], timeout: float
) -> list[Any]:
    """Send commands; after a failure, close, so that the next call finds the nodes."""
    try:
        async with asyncio.timeout(timeout):
            pipeline = client.pipeline()
            for command in commands:
                pipeline.execute_command(*command)
            replies = await pipeline.execute(raise_on_error=False)
    except RedisClusterException as error:
        await client.aclose()
        raise ConnectionError(str(error)) from error
    except LOST:
        await client.aclose()
        raise
    if any(isinstance(reply, LOST) for reply in replies):
        await client.aclose()
    return replies


def _server(url: str) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        **_options(),
        max_connections=MAX_CONNECTIONS,
        timeout=CONNECT_SECONDS,
        socket_timeout=None,  # the round trip as a whole has a limit
    )
    return Redis.from_pool(pool)


def _cluster(url: str) -> RedisCluster:
    client = RedisCluster.from_url(url, **_options(), socket_timeout=NODE_SECONDS)
    del client.response_callbacks["HGETALL"]  # it would return a dict
    return client


def _options() -> dict[str, Any]:
    return {
        **OPTIONS,
        "encoding_errors": "replace",  # "strict" would leave a connection half read
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 0),  # the default waits for ten attempts
    }
