"""Round trips that requests share, on a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import redis
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import ResponseError

from lookup.store.client import Client
from lookup.store.pipeline import MOST_REQUESTS, Pipeline
from tests.conftest import RedisServer, free_port

pytestmark = pytest.mark.anyio

LAST = ("GET", "last")


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    """Give a client as a store has it."""
    async with aclosing(Client(redis_url)) as client:
        yield client


@pytest.fixture
def pipeline(client: Client, redis_client: "redis.Redis") -> Pipeline:
    """Give a pipeline, and something to read."""
    redis_client.set("last", "x")
    for number in range(10):
        redis_client.rpush(f"list:{number}", number, "é")
    return Pipeline(client, LAST)


async def test_each_gets_its_own(pipeline: Pipeline) -> None:
    """None, one or more commands, and the last one's answer for everybody."""
    asked = [[("LRANGE", f"list:{i}", 0, -1)] * (i % 3) for i in range(10)]
    found = await asyncio.gather(*(pipeline.execute(*commands) for commands in asked))
    for i, answers in enumerate(found):
        assert list(answers) == [[str(i), "é"]] * (i % 3) + ["x"]


async def test_those_who_wait_share(
    pipeline: Pipeline, redis_client: "redis.Redis"
) -> None:
    """One last command for a round trip, however many requests there are."""
    n_requests = MOST_REQUESTS + 10
    redis_client.config_resetstat()
    await asyncio.gather(*(pipeline.execute(("LLEN", "a")) for _ in range(n_requests)))
    calls = redis_client.info("commandstats")
    assert calls["cmdstat_llen"]["calls"] == n_requests
    assert calls["cmdstat_get"]["calls"] == 2


async def test_an_error_is_for_who_asked_for_it(pipeline: Pipeline) -> None:
    """The others have their answers."""
    wrong = pipeline.execute(("GET", "list:1"))
    right = [pipeline.execute(("LLEN", f"list:{i}")) for i in range(3)]
    first, *others = await asyncio.gather(wrong, *right, return_exceptions=True)
    assert isinstance(first, ResponseError)
    assert others == [[2, "x"]] * 3
    assert list(await pipeline.execute()) == ["x"]


async def test_who_leaves_takes_nothing_along(pipeline: Pipeline) -> None:
    """The others and the connection are as before."""
    tasks = [
        asyncio.create_task(pipeline.execute(("LRANGE", f"list:{i}", 0, 0)))
        for i in range(4)
    ]
    await asyncio.sleep(0)
    tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError)
    assert [found[i] for i in (0, 2, 3)] == [[[str(i)], "x"] for i in (0, 2, 3)]


async def test_gone_is_gone_for_all_who_wait() -> None:
    """And for those who ask later too, each at once."""
    async with aclosing(Client(f"redis://127.0.0.1:{free_port()}/0")) as client:
        pipeline = Pipeline(client, LAST)
        for _ in range(2):
            found = await asyncio.gather(
                *(pipeline.execute() for _ in range(5)), return_exceptions=True
            )
            assert all(isinstance(error, RedisGone) for error in found)


@pytest.mark.slow
async def test_silence_has_one_end_for_all(own_server: RedisServer) -> None:
    """Those who came after the first do not wait for as long again."""
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


@pytest.mark.slow
async def test_answers_never_go_to_another(own_server: RedisServer) -> None:
    """A reply that comes too late is not taken for the next one's."""
    with redis.Redis.from_url(own_server.url) as writer:
        writer.mset({"a": "a", "b": "b"})
    async with aclosing(Client(own_server.url)) as client:
        assert await client.execute([("GET", "a")]) == ["a"]
        writer = redis.Redis.from_url(own_server.url)
        writer.client_pause(300)
        with pytest.raises(TimeoutError):
            await client.execute([("GET", "a")], patience=0.1)
        await asyncio.sleep(0.3)
        for _ in range(3):
            assert await client.execute([("GET", "b")]) == ["b"]
        writer.close()
