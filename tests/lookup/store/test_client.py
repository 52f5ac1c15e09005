"""Commands to a real server; test_redis_cluster.py has those to a cluster."""

import time
from collections.abc import AsyncIterator

import pytest
import redis
from redis.exceptions import RedisError, ResponseError

from lookup.store.client import PATIENCE_SECONDS, Client
from tests.conftest import RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    """Give a client of the session's Redis."""
    client = Client(redis_url)
    yield client
    await client.aclose()


async def test_answers_come_in_the_order_of_the_commands(
    client: Client, redis_client: "redis.Redis"
) -> None:
    redis_client.set("a", "é")
    redis_client.hset("c", "name", "value")
    commands = [("GET", "a"), ("LRANGE", "b", 0, -1), ("GET", "b"), ("HGETALL", "c")]
    assert await client.execute(commands) == ["é", [], None, ["name", "value"]]


async def test_an_error_is_an_answer(
    client: Client, redis_client: "redis.Redis"
) -> None:
    redis_client.set("a", "text")
    commands = [("LRANGE", "a", 0, -1), ("GET", "a")]
    first, second = await client.execute(commands)
    assert isinstance(first, ResponseError)
    assert second == "text"


async def test_a_server_that_hangs_is_not_waited_for(own_server: RedisServer) -> None:
    client = Client(own_server.url)
    assert await client.execute([("GET", "a")]) == [None]
    own_server.pause()
    start = time.monotonic()
    with pytest.raises((RedisError, OSError)):
        await client.execute([("GET", "a")])
    assert time.monotonic() - start < 2 * PATIENCE_SECONDS
    await client.aclose()


async def test_a_server_that_went_answers_again_when_it_is_back(
    own_server: RedisServer,
) -> None:
    client = Client(own_server.url)
    assert await client.execute([("GET", "a")]) == [None]
    own_server.kill()
    with pytest.raises((RedisError, OSError)):
        await client.execute([("GET", "a")])
    own_server.start()
    assert await client.execute([("GET", "a")]) == [None]
    await client.aclose()
