"""Search by title."""

import asyncio
from urllib.parse import quote

import httpx
import pytest
import redis

from tests.conftest import ITEMS, KEYS, publish
from tests.lookup.serving import error, ids

pytestmark = pytest.mark.anyio

MORE = {
    1: {"title": "Star Trek (1979)", "genres": ["Sci-Fi"], "year": 1979},
    2: {"title": "Staring (1990)", "genres": ["Drama"], "year": 1990, "n_ratings": 99},
    51: {**ITEMS[50], "same_as": 50},
    52: {"title": "Star (1990)", "genres": [], "year": 1990, "is_eligible": False},
}


@pytest.fixture
def published(redis_client: "redis.Redis") -> None:
    """Publish items, of which 50 has more ratings than 1."""
    publish(redis_client, items={**ITEMS, **MORE, 50: {**ITEMS[50], "n_ratings": 9}})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=star", [50, 1, 2]),
        ("q=star&k=1", [50]),
        ("q=star&k=1&offset=1", [1]),
        ("q=star&offset=3", []),
        ("q=star&genre=sci-fi", [50, 1]),
        ("q=star&exclude=51", [1, 2]),
        ("q=" + quote("MISERABLES"), [73]),
        ("q=" + quote("les misérables (1995)"), [73]),
        ("q=jedi+of+the+returm", [181]),
        ("q=%F0%9F%98%80", []),
        ("q=" + quote('") OR "star*') + "&k=1", []),
        ("q=" + "x" * 128, []),
    ],
)
async def test_answers_are_lists_like_others(
    api: httpx.AsyncClient, published: None, query: str, expected: list[int]
) -> None:
    assert await ids(api, f"/search?{query}") == expected
    body = (await api.get("/search?q=Star%20Wars&k=2")).json()
    assert list(body)[:3] == ["q", "k", "generation"]
    assert (body["q"], body["k"], body["source"]) == ("Star Wars", 2, "search")
    assert body["items"] == [{"rank": 1, "item_id": 50, **ITEMS[50], "score": 1.0}]


@pytest.mark.parametrize(
    ("query", "quoted"),
    [
        ("", "q='': expected 1 to 128 characters without control characters"),
        ("q=", "q='': expected a value"),
        ("q=%20%E3%80%80", "q='': expected 1 to 128"),
        ("q=" + "x" * 129, "q='xxx"),
        ("q=a%00b", "q='a\\x00b'"),
        ("q=a%0A", "q='a\\n'"),
        ("q=a&q=b", "q is given 2 times"),
        ("q=a&k=6", "k='6': expected an integer from 1 to 5"),
        ("q=a&fallback=none", "'fallback' is not a parameter; known: q, k, offset"),
    ],
)
async def test_bad_parameters_are_quoted(
    api: httpx.AsyncClient, published: None, query: str, quoted: str
) -> None:
    assert quoted in await error(api, f"/search?{query}", 422, "invalid_parameter")


async def test_blocked_items_and_another_generation_s_are_not_found(
    api: httpx.AsyncClient, published: None, redis_client: "redis.Redis"
) -> None:
    found = await asyncio.gather(*(ids(api, "/search?q=star&k=1") for _ in range(20)))
    assert found == 20 * [[50]]
    redis_client.sadd(KEYS.blocked, 51)
    assert await ids(api, "/search?q=star&k=1") == [1]
    publish(redis_client, "g2", items=dict.fromkeys(ITEMS, ITEMS[73]))
    assert await ids(api, "/search?q=star") == []


async def test_garbled_items_are_not_found(
    api: httpx.AsyncClient, published: None, redis_client: "redis.Redis"
) -> None:
    """Nor do they hinder others."""
    for i, text in enumerate(["{", "[]", '{"title": "Star"}', '{"title": 1}', "1"]):
        redis_client.hset(KEYS.of("g1").items, str(1000 + i), text)
    assert await ids(api, "/search?q=star&k=2") == [50, 1]
