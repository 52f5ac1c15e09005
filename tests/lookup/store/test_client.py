"""Commands to a real server; test_redis_cluster.py has those to a cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import redis
from redis.exceptions import ResponseError

from lookup.store.client import Client
from tests.conftest import RedisServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    async with aclosing(Client(redis_url)) as client:
        yield client


async def test_replies_come_in_the_order_of_the_commands(
    client: Client, redis_client: "redis.Redis"
) -> None:
    redis_client.set("a", "é")
    redis_client.hset("c", "name", "value")
    commands = [("GET", "a"), ("LRANGE", "b", 0, -1), ("GET", "b"), ("HGETALL", "c")]
    assert await client.execute(commands) == ["é", [], None, ["name", "value"]]


async def test_an_error_is_a_reply(client: Client, redis_client: "redis.Redis") -> None:
    redis_client.set("a", "text")
    first, second = await client.execute([("LRANGE", "a", 0, -1), ("GET", "a")])
    assert isinstance(first, ResponseError)
    assert second == "text"


@pytest.mark.slow
async def test_a_late_reply_is_not_taken_for_the_next(own_server: RedisServer) -> None:
    with redis.Redis.from_url(own_server.url) as writer:
        writer.mset({"a": "a", "b": "b"})
        async with aclosing(Client(own_server.url)) as client:
            assert await client.execute([("GET", "a")]) == ["a"]
            writer.client_pause(300)
            with pytest.raises(TimeoutError):
                await client.execute([("GET", "a")], timeout=0.1)
            await asyncio.sleep(0.3)
            for _ in range(3):
                assert await client.execute([("GET", "b")]) == ["b"]
