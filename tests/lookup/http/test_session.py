"""Sessions, their blend with users' lists, and several users, on a real Redis."""

import json
from typing import Any

import httpx
import pytest
import redis

from lookup.shared import contract
from lookup.store import item_lists
from tests.conftest import ITEMS, KEYS, Pairs, publish
from tests.lookup.serving import error, ids, serving

pytestmark = pytest.mark.anyio

SIMILAR = {50: [(181, 0.8), (258, 0.4)], 181: [(50, 0.5), (73, 0.25)]}
NEXT = {50: [(73, 0.02), (181, 0.01)], 181: [(258, 0.03)]}
FILMS = {**ITEMS, 60: {**ITEMS[50], "same_as": 50}, 70: ITEMS[73]}


@pytest.fixture
def published(redis_client: "redis.Redis") -> None:
    """Publish lists of items; 60 is another id of 50, and 70 has no list."""
    add(redis_client)


def add(
    client: "redis.Redis",
    generation: str = "g1",
    similar: dict[int, Pairs] | None = None,
    following: dict[int, Pairs] | None = None,
) -> None:
    keys = KEYS.of(generation)
    for key_of, lists in (
        (keys.similar, SIMILAR if similar is None else similar),
        (keys.next, NEXT if following is None else following),
    ):
        for item_id, pairs in lists.items():
            client.rpush(key_of(item_id), *contract.encode(pairs))
    client.rpush(keys.because(42), *contract.encode_because([[267]] * 5))
    publish(client, generation, items=FILMS)


async def scored(api: httpx.AsyncClient, path: str) -> dict[int, float]:
    response = await api.get(path)
    assert response.status_code == 200, response.text
    return {item["item_id"]: item["score"] for item in response.json()["items"]}


async def test_one_item(api: httpx.AsyncClient, published: None) -> None:
    """What follows weighs a twelfth; lists are relative to their first scores."""
    expected = {181: 1 + 0.5 / 12, 258: 0.5, 73: 1 / 12}
    for path in ("/session?item_id=50", "/session?item_id=60"):  # the same film
        assert await scored(api, path) == pytest.approx(expected, abs=1e-4)
        assert list(await scored(api, path)) == [181, 258, 73]
    body = (await api.get("/session?item_id=50&k=2")).json()
    fields = ["k", "generation", "model_version", "scored_at", "source", "items"]
    assert list(body) == fields
    assert (body["k"], body["source"]) == (2, "session")
    assert body["items"][0]["title"] == "Return of the Jedi (1983)"


async def test_the_newest_item_weighs_most(
    api: httpx.AsyncClient, published: None
) -> None:
    """The older of two weighs 0.8, in next 0.9, and next a sixth."""
    similar = (0.5 + 0.8 * 0.8) / 1.8  # the mean of the first scores
    following = 6 * (0.03 + 0.9 * 0.02) / 1.9
    expected = {
        258: 0.8 * 0.4 / similar + 0.03 / following,
        73: 0.25 / similar + 0.9 * 0.02 / following,
    }
    found = await scored(api, "/session?item_id=50&item_id=181")
    assert found == pytest.approx(expected, abs=1e-4)
    for same in (
        "item_id=50,181",
        "item_id=181&item_id=50&item_id=181",  # it has come back to 181
        "item_id=50&item_id=999&item_id=181",  # unknown
        "item_id=50&item_id=60&item_id=181",  # one film
    ):
        assert await scored(api, f"/session?{same}") == found
    assert (await scored(api, "/session?item_id=181,50"))[73] < found[73]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/session?item_id=50&k=1", [181]),
        ("/session?item_id=50&offset=1&k=1", [258]),
        ("/session?item_id=50&offset=3", []),
        ("/session?item_id=50&genre=drama", [258, 73]),
        ("/session?item_id=50&genre=drama&offset=1", [73]),
        ("/session?item_id=50&exclude=181&k=2", [258, 73]),
        ("/session?item_id=50&exclude=181,258,73", []),
        ("/session?item_id=181&exclude=60", [73, 258]),
        # popular, but for the session itself
        ("/session?item_id=999", [181, 50, 258, 73]),
        ("/session?item_id=70&k=2&offset=1", [50, 258]),
        ("/session?item_id=73", [181, 50, 258]),
    ],
)
async def test_parameters_of_lists(
    api: httpx.AsyncClient, published: None, path: str, expected: list[int]
) -> None:
    assert await ids(api, path) == expected


async def test_blocked_items_are_never_shown(
    api: httpx.AsyncClient, published: None, redis_client: "redis.Redis"
) -> None:
    """A blocked item still says what follows it, and others take its place."""
    redis_client.sadd(KEYS.blocked, "181")
    assert await ids(api, "/session?item_id=50&k=2") == [258, 73]
    assert await ids(api, "/session?item_id=999&k=2") == [50, 258]
    assert await ids(api, "/recommend/42?item_id=50&k=2") == [73, 258]
    assert 258 in await ids(api, "/session?item_id=181")


async def test_nothing_known(api: httpx.AsyncClient, published: None) -> None:
    body = (await api.get("/session?item_id=999&because=1")).json()
    assert (body["source"], body["fallback_reason"]) == ("popular", "unknown_items")
    assert [item["because"] for item in body["items"]] == [[]] * 4
    await error(api, "/session?item_id=999&fallback=none", 404, "unknown_items")
    assert len(await ids(api, "/session?item_id=50&fallback=none")) == 3
    text = (await api.get("/metrics")).text
    assert 'lookup_requests_total{route="/session",status="200"} 2' in text
    assert "lookup_fallbacks_total 1" in text


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/session", "item_id is missing"),
        ("/session?item_id=x", "item_id='x': expected a positive integer"),
        ("/session?item_id=", "item_id='': expected a value"),
        ("/session?item_id=50&k=6", "k='6': expected an integer from 1 to 5"),
        ("/session?item_id=999&k=6", "k='6': expected an integer from 1 to 5"),
        ("/session?item_id=50&user_id=42", "'user_id' is not a parameter"),
        ("/session?item_id=" + "1," * 100 + "1", "item_id: expected at most 100"),
        ("/recommend/42?item_id=0", "item_id='0'"),
        ("/recommend/42?item_id=50&k=6", "k='6'"),
        ("/recommend", "user_id is missing"),
        ("/recommend?user_id=42&user_id=x", "user_id='x'"),
        ("/recommend?user_id=42&item_id=50", "'item_id' is not a parameter"),
        ("/recommend?user_id=42&k=6", "k='6': expected an integer from 1 to 5"),
        ("/recommend?" + "user_id=1&" * 101, "user_id: expected at most 100, not 101"),
        ("/popular?item_id=50", "'item_id' is not a parameter"),
    ],
)
async def test_bad_parameters(
    api: httpx.AsyncClient, published: None, path: str, message: str
) -> None:
    assert message in await error(api, path, 422, "invalid_parameter")


async def test_reasons_are_the_items_that_say_most(
    api: httpx.AsyncClient, published: None
) -> None:
    body = (await api.get("/session?item_id=60,181&because=1")).json()
    found = {
        item["item_id"]: [reason["item_id"] for reason in item["because"]]
        for item in body["items"]
    }
    assert found == {258: [50], 73: [181]}  # what says far less is left out
    assert body["items"][0]["because"][0]["title"] == "Star Wars (1977)"
    body = (await api.get("/recommend/42?item_id=181&because=1")).json()
    found = {
        item["item_id"]: [reason["item_id"] for reason in item["because"]]
        for item in body["items"]
    }
    assert found == {50: [181, 267], 73: [181, 267], 258: [181, 267], 267: [267]}


async def test_a_users_list_is_blended_with_what_came_since(
    api: httpx.AsyncClient, published: None
) -> None:
    """User 42 has 50, 73, 181, 258 and 267, from 3.1416 down to -1.25."""
    relative = {73: (2.5 + 1.25) / 4.3916, 258: 1.75 / 4.3916, 267: 0.0}
    follows = await scored(api, "/session?item_id=181,50")
    best = max(follows.values())
    expected = {
        item_id: (score + 0.6 * follows.get(item_id, 0) / best) / 1.6
        for item_id, score in relative.items()
    }
    found = await scored(api, "/recommend/42?item_id=181,50")
    assert found == pytest.approx(expected, abs=1e-3)
    assert list(found) == sorted(found, key=found.__getitem__, reverse=True)
    body = (await api.get("/recommend/42?item_id=181,50")).json()
    assert (body["user_id"], body["source"]) == (42, "personal")
    # items without lists are left out too
    assert await scored(api, "/recommend/42?item_id=999,73") == {
        50: 3.1416,
        181: 2.5,
        258: 0.5,
        267: -1.25,
    }


async def test_an_unknown_user_gets_what_follows_the_session(
    api: httpx.AsyncClient, published: None
) -> None:
    body = (await api.get("/recommend/999?item_id=50&fallback=none")).json()
    assert (body["user_id"], body["source"]) == (999, "session")
    assert "fallback_reason" not in body
    assert [item["item_id"] for item in body["items"]] == [181, 258, 73]
    body = (await api.get("/recommend/999?item_id=999")).json()
    assert (body["source"], body["fallback_reason"]) == ("popular", "unknown_user")
    none = "/recommend/999?item_id=999&fallback=none"
    await error(api, none, 404, "unknown_user")


async def test_without_a_model_similar_items_answer(
    api: httpx.AsyncClient, redis_client: "redis.Redis"
) -> None:
    """No item has a list of what follows it."""
    add(redis_client, following={})
    redis_client.hset(KEYS.of("g1").meta, mapping={"source": "popular"})
    assert await ids(api, "/session?item_id=50") == [181, 258]
    body = (await api.get("/recommend/42?item_id=50")).json()
    assert (body["source"], body["fallback_reason"]) == ("popular", "too_little_data")
    assert 50 not in [item["item_id"] for item in body["items"]]


async def test_lists_are_read_once_in_a_generation(
    redis_url: str, redis_client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no more are held than is said; a new generation has lists of its own."""
    add(redis_client)
    monkeypatch.setattr(item_lists, "MAX_LISTS", 2)
    async with serving(redis_url) as api:
        assert await ids(api, "/session?item_id=50") == [181, 258, 73]
        for key in redis_client.keys("recs:g1:*:50"):
            redis_client.delete(key)
        assert await ids(api, "/session?item_id=50&k=3") == [181, 258, 73]
        assert await ids(api, "/session?item_id=50,181&k=3") == [258, 73]
        # 50's lists had to make room for those of 181
        await error(api, "/session?item_id=50&fallback=none", 404, "unknown_items")
        add(redis_client, "g2", similar={50: [(73, 0.5)]}, following={})
        assert await ids(api, "/session?item_id=50") == [73]


async def test_a_list_that_is_none_is_named(
    api: httpx.AsyncClient, published: None, redis_client: "redis.Redis"
) -> None:
    redis_client.rpush(KEYS.of("g1").next(73), "no entry")
    message = await error(api, "/session?item_id=73", 503, "corrupt_generation")
    assert "recs:g1:next:73" in message
    redis_client.rpush(KEYS.of("g1").next(258), "404:1")  # an item that is none
    message = await error(api, "/session?item_id=258", 503, "corrupt_generation")
    assert "recs:g1:items 404" in message


async def test_the_last_thirty_items_count_and_cost_one_round_trip(
    redis_client: "redis.Redis", api: httpx.AsyncClient
) -> None:
    """Each list names only the item itself and one that nobody has."""
    publish(redis_client, items=dict.fromkeys(range(1, 202), ITEMS[50]))
    for item_id in range(1, 101):
        for key_of in (KEYS.of("g1").similar, KEYS.of("g1").next):
            pairs = [(item_id, 0.5), (item_id + 100, 0.5)]
            redis_client.rpush(key_of(item_id), *contract.encode(pairs))
    await api.get("/ready")

    def n_trips() -> int:
        calls: dict[str, Any] = redis_client.info("commandstats")
        return int(calls["cmdstat_smembers"]["calls"])

    before = n_trips()
    query = ",".join(map(str, range(1, 101)))
    newest = await ids(api, f"/session?item_id={query}&k=5")
    assert n_trips() == before + 1
    assert newest == [200, 199, 198, 197, 196]
    rest = "&".join(f"exclude={item_id}" for item_id in range(172, 201))
    assert await ids(api, f"/session?item_id={query}&{rest}") == [171]


async def test_several_users_in_one_answer(
    api: httpx.AsyncClient, published: None
) -> None:
    """Each as it would be alone, in the order asked."""
    for query in ("k=2", "genre=drama", "offset=1&exclude=73", "because=1"):
        asked = [7, 42, 999, 13, 42]
        path = "/recommend?" + "&".join(f"user_id={user_id}" for user_id in asked)
        response = await api.get(f"{path}&{query}")
        assert response.headers["cache-control"] == "private, no-cache"
        alone = [(await api.get(f"/recommend/{i}?{query}")).json() for i in asked]
        assert response.json() == {"users": alone}
    message = await error(api, f"{path}&fallback=none", 404, "unknown_user")
    assert "999" in message
    text = (await api.get("/metrics")).text
    assert 'lookup_requests_total{route="/recommend",status="200"} 4' in text


async def test_ids_of_text(api: httpx.AsyncClient, redis_client: "redis.Redis") -> None:
    """A text may hold commas and colons."""
    items = dict.fromkeys(("a,b", "c:1", "d"), ITEMS[50])
    publish(redis_client, items=items, users={"u,1": [("d", 1.0)]}, popular=[("d", 1)])
    keys = KEYS.of("g1")
    redis_client.hset(keys.meta, mapping={"user_ids": "text", "item_ids": "text"})
    redis_client.rpush(keys.similar("a,b"), "c:1:0.5", "d:0.25")
    body = (await api.get("/session", params={"item_id": "a,b", "because": 1})).json()
    assert [item["item_id"] for item in body["items"]] == ["c:1", "d"]
    assert body["items"][0]["because"][0]["item_id"] == "a,b"
    users: Any = (await api.get("/recommend", params={"user_id": "u,1"})).json()
    assert [one["user_id"] for one in users["users"]] == ["u,1"]
    assert json.dumps(users["users"][0]["items"][0]["item_id"]) == '"d"'
