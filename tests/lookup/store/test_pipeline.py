"""Round trips that requests share, on a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import redis
from redis.exceptions import ConnectionError as RedisGone

from lookup.store.client import Client
from lookup.store.errors import CorruptGeneration
from lookup.store.pipeline import MAX_BATCH, Pipeline
from tests.conftest import RedisServer, free_port

pytestmark = pytest.mark.anyio

LAST = ("GET", "last")


@pytest.fixture
async def pipeline(
    redis_url: str, redis_client: "redis.Redis"
) -> AsyncIterator[Pipeline]:
    """A pipeline, and something to read."""
    redis_client.set("last", "x")
    for number in range(10):
        redis_client.rpush(f"list:{number}", number, "é")
    async with aclosing(Client(redis_url)) as client:
        yield Pipeline(client, LAST)


async def test_each_request_gets_its_own_replies(pipeline: Pipeline) -> None:
    """To no, one or more commands, and to the last command of the round trip."""
    sent = [[("LRANGE", f"list:{i}", 0, -1)] * (i % 3) for i in range(10)]
    found = await asyncio.gather(*(pipeline.execute(*commands) for commands in sent))
    for i, replies in enumerate(found):
        assert list(replies) == [[str(i), "é"]] * (i % 3) + ["x"]


async def test_waiting_requests_share_a_round_trip(
    pipeline: Pipeline, redis_client: "redis.Redis"
) -> None:
    n_requests = MAX_BATCH + 10
    redis_client.config_resetstat()
    await asyncio.gather(*(pipeline.execute(("LLEN", "a")) for _ in range(n_requests)))
    calls = redis_client.info("commandstats")
    assert calls["cmdstat_llen"]["calls"] == n_requests
    assert calls["cmdstat_get"]["calls"] == 2


async def test_an_error_concerns_its_own_request(pipeline: Pipeline) -> None:
    wrong = pipeline.execute(("GET", "list:1"))
    right = [pipeline.execute(("LLEN", f"list:{i}")) for i in range(3)]
    first, *others = await asyncio.gather(wrong, *right, return_exceptions=True)
    assert isinstance(first, CorruptGeneration)
    assert "list:1 is not a string" in str(first)
    assert others == [[2, "x"]] * 3
    assert list(await pipeline.execute()) == ["x"]


async def test_a_cancelled_request_disturbs_no_other(pipeline: Pipeline) -> None:
    tasks = [
        asyncio.create_task(pipeline.execute(("LRANGE", f"list:{i}", 0, 0)))
        for i in range(4)
    ]
    await asyncio.sleep(0)
    tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError)
    assert [found[i] for i in (0, 2, 3)] == [[[str(i)], "x"] for i in (0, 2, 3)]


async def test_all_waiting_requests_get_the_error() -> None:
    async with aclosing(Client(f"redis://127.0.0.1:{free_port()}/0")) as client:
        pipeline = Pipeline(client, LAST)
        for _ in range(2):
            found = await asyncio.gather(
                *(pipeline.execute() for _ in range(5)), return_exceptions=True
            )
            assert all(isinstance(error, RedisGone) for error in found)


@pytest.mark.slow
async def test_a_timeout_ends_all_waiting_requests(own_server: RedisServer) -> None:
    async with aclosing(Client(own_server.url)) as client:
        pipeline = Pipeline(client, LAST)
        await pipeline.execute()
        own_server.pause()
        begin = time.monotonic()
        first = asyncio.create_task(pipeline.execute())
        await asyncio.sleep(0.2)
        others = [pipeline.execute() for _ in range(5)]
        found = await asyncio.gather(first, *others, return_exceptions=True)
        assert all(isinstance(error, TimeoutError) for error in found)
        assert time.monotonic() - begin < 1.5
