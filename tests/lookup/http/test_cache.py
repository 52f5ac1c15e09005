"""What is cached, how much of it, and that it never outlives its generation."""

import pytest
import redis

from lookup.http.cache import OVERHEAD_BYTES, CacheKey, ResponseCache
from lookup.http.responses import GenerationResponse
from lookup.store.generation import Generation
from tests.conftest import KEYS, RedisServer, publish
from tests.lookup.serving import error, ids, serving

META = {"model_version": "3", "scored_at": "2026-11-24T01:30:00Z", "top_n": "5"}
GENERATION = Generation(KEYS.of("g1"), META, {}, [])
SIZE = 4 + 100 + OVERHEAD_BYTES


def response(
    n_bytes: int = 100, generation: Generation = GENERATION
) -> GenerationResponse:
    return GenerationResponse(generation, b"x" * n_bytes, route="/", is_private=False)


def key(name: object, query: bytes = b"") -> CacheKey:
    """Make a key whose path has four characters."""
    return (f"{name:>4}", query, False)


def test_least_recently_used_are_evicted_first() -> None:
    cache = ResponseCache(3 * SIZE)
    for name in "abc":
        cache.put(key(name), response())
    assert cache.get(key("a")) is not None
    cache.put(key("d"), response())
    assert cache.get(key("b")) is None
    assert all(cache.get(key(name)) for name in "acd")


def test_size_is_counted_in_bytes() -> None:
    cache = ResponseCache(10 * SIZE)
    for number in range(100):
        cache.put(key(number), response())
    assert len(cache) == 10
    cache.put(key("long"), response(5 * SIZE))
    assert len(cache) == 5
    cache.put(key("long"), response())
    cache.put(key("more"), response())
    assert len(cache) == 6
    cache.put(key("most"), response(10**6))
    assert len(cache) == 0
    cache.put(key("few"), response())
    assert len(cache) == 1


def test_long_queries_count() -> None:
    cache = ResponseCache(10 * SIZE)
    for number in range(100):
        cache.put(key(number, b"x" * SIZE), response())
    assert len(cache) == 5


def test_another_generation_clears_it() -> None:
    cache = ResponseCache(10 * SIZE)
    for generation in (GENERATION, Generation(KEYS.of("g2"), META, {}, []), GENERATION):
        for number in range(20):
            cache.put(key(number), response(generation=generation))
        assert len(cache) == 10
        newer = Generation(KEYS.of("g3"), META, {}, [])
        cache.put(key("a"), response(generation=newer))
        assert len(cache) == 1


def test_zero_bytes_switch_it_off() -> None:
    cache = ResponseCache(0)
    cache.put(key("a"), response(0))
    assert cache.get(key("a")) is None


@pytest.mark.anyio
async def test_second_response_reads_no_list(
    redis_url: str, redis_client: "redis.Redis", published: None
) -> None:
    async with serving(redis_url) as api:
        before = await api.get("/recommend/42?k=3")
        redis_client.delete("recs:g1:user:42")
        after = await api.get("/recommend/42?k=3")
        assert after.content == before.content
        assert await ids(api, "/recommend/42?k=2") != await ids(api, "/recommend/7?k=2")


@pytest.mark.anyio
async def test_flip_and_rollback_show_at_once(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    publish(redis_client, "g1", model_version="1")
    publish(redis_client, "g2", users={42: [(73, 9.0)]}, model_version="2")
    async with serving(redis_url) as api:
        for name in ("g1", "g2", "g1", "g2", "g2", "g1"):
            redis_client.set(KEYS.current, name)
            for _ in range(2):
                body = (await api.get("/recommend/42?k=1")).json()
                assert (body["generation"], body["model_version"]) == (name, name[1])
                assert body["items"][0]["item_id"] == {"g1": 50, "g2": 73}[name]


@pytest.mark.anyio
async def test_errors_are_not_cached(
    redis_url: str, redis_client: "redis.Redis", published: None
) -> None:
    async with serving(redis_url) as api:
        redis_client.lset("recs:g1:user:42", 0, "garbled")
        message = await error(api, "/recommend/42", 503, "corrupt_generation")
        assert "recs:g1:user:42" in message
        assert await ids(api, "/recommend/7") == [258, 50]
        redis_client.lset("recs:g1:user:42", 0, "50:3.1416")
        assert (await ids(api, "/recommend/42"))[0] == 50


@pytest.mark.slow
@pytest.mark.anyio
async def test_nothing_is_served_from_the_cache_without_redis(
    own_server: RedisServer,
) -> None:
    async with serving(own_server.url) as api:
        for name in ("g1", "g2"):
            with redis.Redis.from_url(own_server.url) as client:
                publish(client, name)
            for _ in range(2):
                body = (await api.get("/recommend/7")).json()
                assert body["generation"] == name
            own_server.kill()
            await error(api, "/recommend/7", 503, "redis_unavailable")
            own_server.start()


@pytest.mark.anyio
async def test_different_spellings_are_different_requests(
    redis_url: str, published: None
) -> None:
    async with serving(redis_url) as api:
        for _ in range(2):
            for path in ("/recommend/42?k=2", "/recommend/42?k=02", "/recommend/%342"):
                body = (await api.get(path)).json()
                assert (body["user_id"], body["items"][0]["item_id"]) == (42, 50)
