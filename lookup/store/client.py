"""From a URL to what answers commands: one Redis server, or the cluster it is of."""

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

Command = tuple[str | int, ...]

CONNECT_SECONDS = 0.5
NODE_SECONDS = 0.4
"""How long a cluster's node may take: so long that another can be asked after it."""
PATIENCE_SECONDS = 1.0
"""How long a round trip may take that people wait for."""
CONNECTIONS = 64
LOST = (ConnectionError, TimeoutError, ClusterError, OSError)
"""What may mean that a cluster's nodes are no more those that we know."""


class Client:
    """Sends commands to the Redis of a URL.

    A server that is a cluster's tells so when it is first asked for a key of another
    node. From then on commands go to all of its nodes, and there those that are sent
    together are carried out in no particular order.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis: Redis | RedisCluster = _server(url)

    async def execute(
        self, commands: Sequence[Command], patience: float = PATIENCE_SECONDS
    ) -> list[Any]:
        """Send commands together and return their answers, some of which may be errors.

        They are as Redis sends them: a hash is names and values by turns. One limit of
        time for all of it: one a reply costs more than the reply. Raises RedisError or
        OSError if there are no answers.
        """
        client = self._redis
        if isinstance(client, RedisCluster):
            return await _send_to_cluster(client, commands, patience)
        answers = await _send_to_server(client, commands, patience)
        if not any(isinstance(answer, MovedError) for answer in answers):
            return answers
        if client is self._redis:  # else another request was first
            self._redis = _cluster(self._url)
            await client.aclose()
        return await self.execute(commands, patience)

    async def aclose(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()


async def _send_to_server(
    client: Redis, commands: Sequence[Command], patience: float
) -> list[Any]:
    """Send commands without redis-py's pipelines, which take three times as long."""
    async with asyncio.timeout(patience):
        connection = await client.connection_pool.get_connection()
        try:
            # joined: many small buffers are sent one by one
            packed = [pack_command(command) for command in commands]  # type: ignore[arg-type] # its stub knows tuples of one
            await connection.send_packed_command(b"".join(packed))
            return [await _answer(connection) for _ in commands]
        finally:
            await client.connection_pool.release(connection)


async def _answer(connection: AbstractConnection) -> object:
    """Read an answer; one that is an error is for who sent that command only."""
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def _send_to_cluster(
    client: RedisCluster, commands: Sequence[Command], patience: float
) -> list[Any]:
    """Send commands; after a failure the next ones ask anew which nodes there are."""
    try:
        async with asyncio.timeout(patience):
            pipeline = client.pipeline()
            for command in commands:
                pipeline.execute_command(*command)
            answers = await pipeline.execute(raise_on_error=False)
    except RedisClusterException as error:
        await client.aclose()
        raise ConnectionError(str(error)) from error
    except LOST:
        await client.aclose()
        raise
    if any(isinstance(answer, LOST) for answer in answers):
        await client.aclose()
    return answers


def _server(url: str) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        **_options(),
        max_connections=CONNECTIONS,
        timeout=CONNECT_SECONDS,
        socket_timeout=None,  # a round trip as a whole has one
    )
    return Redis.from_pool(pool)


def _cluster(url: str) -> RedisCluster:
    client = RedisCluster.from_url(url, **_options(), socket_timeout=NODE_SECONDS)
    del client.response_callbacks["HGETALL"]  # which would make a dict of the answer
    return client


def _options() -> dict[str, Any]:
    return {
        "decode_responses": True,
        "encoding_errors": "replace",  # "strict" would leave a connection half read
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 0),  # its default waits through ten of them
        "protocol": 2,  # 3 costs a handshake and brings nothing here
        "driver_info": None,
    }
