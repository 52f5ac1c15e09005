"""The lists that all users share, of all items and by genre."""

import httpx
import pytest
import redis

from lookup.shared import contract
from lookup.shared.contract import About
from tests.conftest import ITEMS, KEYS, publish
from tests.lookup.serving import error, ids

pytestmark = pytest.mark.anyio

G1 = KEYS.of("g1")
ABOUT = About(3, 5, ["Action", "Drama", "SCI-FI", "Sci-Fi"], [], None, {})
OLD = {
    item_id: {"title": f"Old {item_id}", "genres": genres, "year": 1950}
    for item_id, genres in ((1, ["Drama"]), (2, ["Drama", "Sci-Fi"]), (3, ["SCI-FI"]))
}
LISTS = {
    "popular:Action": [(181, 4.0), (50, 3.0)],
    "popular:Drama": [(258, 2.0), (73, 1.0), (1, 0.5), (2, 0.25)],
    "popular:Sci-Fi": [(50, 3.0), (258, 2.0), (2, 0.25)],
    "popular:SCI-FI": [(3, 2.0)],
    "trending": [(50, 1.5), (258, 1.0), (181, 0.5), (73, 0.25)],
    "trending:Drama": [(258, 1.0), (73, 0.25), (1, 0.125)],
    "new": [(258, 1997.5), (73, 1995.0)],
}


@pytest.fixture
def published(redis_client: "redis.Redis") -> None:
    """Publish the lists, of which the popular one knows no old items."""
    publish(redis_client, items={**ITEMS, **OLD, 51: {**ITEMS[50], "same_as": 50}})
    redis_client.set(G1.about, contract.encode_about(ABOUT))
    for name, pairs in LISTS.items():
        redis_client.rpush(f"recs:g1:{name}", *contract.encode(pairs))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/trending", [50, 258, 181, 73]),
        ("/trending?k=1&offset=1", [258]),
        ("/trending?exclude=51", [258, 181, 73]),
        ("/trending?genre=drama", [258, 73, 1]),
        ("/new", [258, 73]),
        ("/new?genre=drama", []),
        ("/popular?genre=drama", [258, 73, 1, 2]),
        ("/popular?genre=drama&offset=2&k=1", [1]),
        ("/popular?genre=drama&exclude=258,1", [73, 2]),
        ("/popular?genre=sci-fi", [50, 3, 258, 2]),
        ("/popular?genre=ACTION&genre=drama", [181, 50, 258, 73, 1]),
        ("/popular?genre=western", []),
        ("/popular?genre=western&genre=action", [181, 50]),
        ("/recommend/999?genre=drama", [258, 73, 1, 2]),
        ("/recommend/42?genre=drama", [73, 258]),
    ],
)
async def test_lists_by_genre_have_more_than_the_list_of_all(
    api: httpx.AsyncClient, published: None, path: str, expected: list[int]
) -> None:
    """In any case of the letters; those of several genres are merged by score."""
    body = (await api.get(path)).json()
    assert [item["item_id"] for item in body["items"]] == expected
    scores = [item["score"] for item in body["items"]]
    assert scores == sorted(scores, reverse=True)
    kind = path.strip("/").partition("?")[0]
    sources = {"recommend/999": "popular", "recommend/42": "personal"}
    assert body["source"] == sources.get(kind, kind)


async def test_blocked_items_are_left_out_and_places_filled(
    api: httpx.AsyncClient, published: None, redis_client: "redis.Redis"
) -> None:
    """A film by each of its ids."""
    redis_client.sadd(KEYS.blocked, 51, 258)
    assert await ids(api, "/trending?k=2") == [181, 73]
    assert await ids(api, "/popular?genre=drama&k=2") == [73, 1]
    assert await ids(api, "/popular?genre=action&genre=sci-fi&k=2") == [181, 3]


async def test_generations_from_before_have_the_popular_list_only(
    api: httpx.AsyncClient, redis_client: "redis.Redis"
) -> None:
    """Also where there is a description."""
    publish(redis_client)
    for _ in range(2):
        assert await ids(api, "/popular?genre=drama") == [258, 73]
        assert await ids(api, "/recommend/999?genre=drama") == [258, 73]
        assert await ids(api, "/trending") == await ids(api, "/new?genre=drama") == []
        publish(redis_client, "g2")
        redis_client.set(KEYS.of("g2").about, contract.encode_about(ABOUT))


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("about", "/popular?genre=drama"),
        ("trending", "/trending"),
        ("popular:Drama", "/popular?genre=drama"),
        ("popular:Drama", "/popular?genre=drama&genre=action"),
    ],
)
async def test_garbled_keys_are_named(
    api: httpx.AsyncClient,
    published: None,
    redis_client: "redis.Redis",
    key: str,
    path: str,
) -> None:
    """And of another request nothing is wrong."""
    if key == "about":
        redis_client.set(G1.about, "{")
    else:
        redis_client.lset(f"recs:g1:{key}", 0, "x:y")
    assert f"recs:g1:{key}" in await error(api, path, 503, "corrupt_generation")
    assert await ids(api, "/popular?k=1") == [181]
