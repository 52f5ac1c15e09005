"""What is kept, how much of it, and that it never outlives its generation."""

import json

import httpx
import pytest
import redis

from lookup.http.cache import OVERHEAD_BYTES, Cache, Request
from lookup.http.responses import Answer
from lookup.settings import Settings
from lookup.shared import contract
from lookup.store.generation import Generation
from lookup.store.store import Store
from tests.conftest import RedisServer, publish
from tests.lookup.serving import error, ids, serving

META = {"model_version": "3", "scored_at": "2026-11-24T01:30:00Z", "top_n": "5"}
GENERATION = Generation("g1", META, {}, [])


def answer(n_bytes: int = 100) -> Answer:
    """Make an answer of some length."""
    return Answer(GENERATION, b"x" * n_bytes, route="/", is_private=False)


def request(name: object, query: bytes = b"") -> Request:
    """Make a request whose path is four characters long."""
    return (f"{name:>4}", query, False)


WEIGHT = 4 + 100 + OVERHEAD_BYTES


def test_least_used_are_forgotten_first() -> None:
    """What is asked for again stays."""
    cache = Cache(3 * WEIGHT)
    for name in "abc":
        cache.put(request(name), answer())
    assert cache.get(request("a")) is not None
    cache.put(request("d"), answer())
    assert cache.get(request("b")) is None
    assert all(cache.get(request(name)) for name in "acd")


def test_room_is_counted_in_bytes() -> None:
    """One long answer takes the room of many short ones, and too long a one none."""
    cache = Cache(10 * WEIGHT)
    for number in range(100):
        cache.put(request(number), answer())
    assert len(cache) == 10
    cache.put(request("long"), answer(5 * WEIGHT))
    assert len(cache) == 5
    cache.put(request("long"), answer())
    cache.put(request("more"), answer())
    assert len(cache) == 6
    cache.put(request("most"), answer(10**6))
    assert len(cache) == 0
    cache.put(request("few"), answer())
    assert len(cache) == 1


def test_long_requests_take_room_as_well() -> None:
    """Else whoever asks with long queries fills the memory."""
    cache = Cache(10 * WEIGHT)
    for number in range(100):
        cache.put(request(number, b"x" * WEIGHT), answer())
    assert len(cache) == 5


def test_no_room_is_no_cache() -> None:
    """0 switches it off."""
    cache = Cache(0)
    cache.put(request("a"), answer(0))
    assert cache.get(request("a")) is None


@pytest.mark.anyio
async def test_second_answer_reads_no_list(
    redis_url: str, redis_client: "redis.Redis", published: None
) -> None:
    """Only the pointer is asked for: the list could be gone."""
    async with serving(redis_url) as api:
        before = await api.get("/recommend/42?k=3")
        redis_client.delete("recs:g1:user:42")
        after = await api.get("/recommend/42?k=3")
        assert after.content == before.content
        assert await ids(api, "/recommend/42?k=2") != await ids(api, "/recommend/7?k=2")


@pytest.mark.anyio
async def test_flip_and_rollback_are_seen_at_once(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    """By whoever asks next, and what was kept of before is not served again."""
    publish(redis_client, "g1", model_version="1")
    publish(redis_client, "g2", users={42: [(73, 9.0)]}, model_version="2")
    async with serving(redis_url) as api:
        for name in ("g1", "g2", "g1", "g2", "g2", "g1"):
            redis_client.set(contract.CURRENT, name)
            for _ in range(2):
                body = (await api.get("/recommend/42?k=1")).json()
                expected = {"g1": 50, "g2": 73}[name]
                assert body["generation"] == name
                assert body["model_version"] == name[1]
                assert body["items"][0]["item_id"] == expected


@pytest.mark.anyio
async def test_problems_are_not_kept(
    redis_url: str, redis_client: "redis.Redis", published: None
) -> None:
    """They may end within the generation."""
    async with serving(redis_url) as api:
        redis_client.lset("recs:g1:user:42", 0, "garbled")
        await error(api, "/recommend/42", 503, "corrupt_generation")
        redis_client.lset("recs:g1:user:42", 0, "50:3.1416")
        assert (await ids(api, "/recommend/42"))[0] == 50


@pytest.mark.slow
@pytest.mark.anyio
async def test_redis_gone_and_back(own_server: RedisServer) -> None:
    """What is kept is not served without Redis: it may not be right any more."""
    async with serving(own_server.url) as api:
        for name in ("g1", "g2"):
            with redis.Redis.from_url(own_server.url) as client:
                publish(client, name)
            for _ in range(2):
                answer = await api.get("/recommend/7")
                assert answer.json()["generation"] == name
            own_server.kill()
            await error(api, "/recommend/7", 503, "redis_unavailable")
            own_server.start()


@pytest.mark.anyio
async def test_key_comes_before_the_cache(redis_url: str, published: None) -> None:
    """What one client was answered is not for another without the key."""
    async with serving(redis_url, Settings(api_key="key")) as api:
        for _ in range(2):
            right = await api.get("/recommend/42", headers={"X-API-Key": "key"})
            assert right.status_code == 200
        assert (await api.get("/recommend/42")).status_code == 401


@pytest.mark.anyio
async def test_trust_spares_round_trips(
    redis_url: str, redis_client: "redis.Redis", published: None
) -> None:
    """For a moment the pointer counts as read, and no longer."""
    store = Store(redis_url, trust_seconds=60)
    await store.generation()
    await store.generation()
    publish(redis_client, "g2")
    assert (await store.generation()).name == "g1"
    store._trust = 0
    await store.entries(lambda name: contract.user_key(name, 42))
    assert (await store.generation()).name == "g2"
    await store.close()


@pytest.mark.anyio
async def test_different_spellings_are_different_requests(
    redis_url: str, published: None
) -> None:
    """What is kept is what was asked, to the letter."""
    async with serving(redis_url) as api:
        for _ in range(2):
            for path in ("/recommend/42?k=2", "/recommend/42?k=02", "/recommend/%342"):
                body = json.loads((await api.get(path)).content)
                assert (body["user_id"], body["items"][0]["item_id"]) == (42, 50)


@pytest.mark.anyio
async def test_api_without_cache(redis_url: str, published: None) -> None:
    """Each request reads its list."""
    async with serving(redis_url, cache_bytes=0) as api:
        assert isinstance(api, httpx.AsyncClient)
        assert await ids(api, "/recommend/7") == await ids(api, "/recommend/7")
