"""Similar items, items, users and reasons, on a real Redis."""

import json
from dataclasses import asdict
from typing import Any

import httpx
import pytest
import redis

from lookup.shared import contract
from lookup.shared.contract import About, History
from tests.conftest import ITEMS
from tests.lookup.serving import error, ids

pytestmark = pytest.mark.anyio

ORIGIN = {
    "generation": "g1",
    "model_version": "3",
    "scored_at": "2026-11-24T01:30:00Z",
}


@pytest.fixture
def published(redis_client: "redis.Redis", published: None) -> None:
    """Publish what goes beyond the lists as well, as the batch would write it."""
    similar = contract.encode([(181, 0.9), (258, 0.5), (73, 0.25)])
    because = contract.encode_because([[181, 258], [], [50], [73, 50, 181], [258]])
    history = History(
        n_ratings=27, highest=[(50, 5.0), (73, 4.5)], last=[(267, 1.0), (50, 5.0)]
    )
    redis_client.rpush(contract.similar_key("g1", 50), *similar)
    redis_client.rpush(contract.similar_key("g1", 73), *contract.encode([]))
    redis_client.rpush(contract.because_key("g1", 42), *because)
    redis_client.set(contract.history_key("g1", 42), contract.encode_history(history))
    redis_client.set(
        contract.history_key("g1", 13),
        contract.encode_history(History(n_ratings=0, highest=[], last=[])),
    )


ABOUT = About(3, 5, ["Action"], [7, 42], "by time", {"model": {"ndcg_at_10": 0.25}})


async def test_about(
    api: httpx.AsyncClient, published: None, redis_client: "redis.Redis"
) -> None:
    """The generation as a whole, from when on it tells of itself."""
    await error(api, "/about", 404, "unknown_about")
    redis_client.set(contract.about_key("g1"), contract.encode_about(ABOUT))
    body = (await api.get("/about")).json()
    assert body == {**ORIGIN, "top_n": 5, **asdict(ABOUT)}
    await error(api, "/about?k=1", 422, "invalid_parameter")


async def test_garbled_about_is_named(
    api: httpx.AsyncClient, published: None, redis_client: "redis.Redis"
) -> None:
    redis_client.set(contract.about_key("g1"), "{}")
    message = await error(api, "/about", 503, "corrupt_generation")
    assert "recs:g1:about" in message


async def test_similar_items(api: httpx.AsyncClient, published: None) -> None:
    """The form of every list, with the item that it is about."""
    body = (await api.get("/similar/50?k=2")).json()
    assert body == {
        "item_id": 50,
        "k": 2,
        **ORIGIN,
        "source": "similar",
        "items": [
            {"rank": 1, "item_id": 181, **ITEMS[181], "score": 0.9},
            {"rank": 2, "item_id": 258, **ITEMS[258], "score": 0.5},
        ],
    }
    assert list(body)[:2] == ["item_id", "k"]


async def test_similar_is_paged_and_filtered(
    api: httpx.AsyncClient, published: None
) -> None:
    """As every list."""
    assert await ids(api, "/similar/50?offset=1&k=1") == [258]
    assert await ids(api, "/similar/50?genre=drama&exclude=73") == [258]


@pytest.mark.parametrize("item_id", [73, 181])
async def test_items_like_no_other_have_an_empty_list(
    api: httpx.AsyncClient, published: None, item_id: int
) -> None:
    """Whether the batch wrote an empty list or none."""
    assert await ids(api, f"/similar/{item_id}") == []


@pytest.mark.parametrize("path", ["/similar/999", "/items/999", "/items/" + "9" * 999])
async def test_unknown_items(
    api: httpx.AsyncClient, published: None, path: str
) -> None:
    """404, with the generation that lacks it."""
    assert "g1" in await error(api, path, 404, "unknown_item")


async def test_one_item(api: httpx.AsyncClient, published: None) -> None:
    """What is known of it; null where nothing is."""
    body = (await api.get("/items/73")).json()
    assert body == {"item_id": 73, **ITEMS[73], **ORIGIN}
    assert (await api.get("/items/267")).json()["year"] is None


async def test_what_a_user_rated(api: httpx.AsyncClient, published: None) -> None:
    """The highest and the last, with what people know the items by."""
    body = (await api.get("/users/42")).json()
    assert body == {
        "user_id": 42,
        **ORIGIN,
        "n_ratings": 27,
        "highest": [
            {"item_id": 50, **ITEMS[50], "rating": 5.0},
            {"item_id": 73, **ITEMS[73], "rating": 4.5},
        ],
        "last": [
            {"item_id": 267, **ITEMS[267], "rating": 1.0},
            {"item_id": 50, **ITEMS[50], "rating": 5.0},
        ],
    }
    nothing = (await api.get("/users/13")).json()
    assert (nothing["n_ratings"], nothing["highest"], nothing["last"]) == (0, [], [])


async def test_unknown_users_have_no_history(
    api: httpx.AsyncClient, published: None
) -> None:
    """There is nothing popular to show instead."""
    assert "999" in await error(api, "/users/999", 404, "unknown_user")


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"n_ratings": 1}', '{"n_ratings":1,"highest":[[1]],"last":[]}', "1"],
)
async def test_garbled_history_is_503(
    api: httpx.AsyncClient, redis_client: "redis.Redis", published: None, text: str
) -> None:
    """The message names the key."""
    redis_client.set("recs:g1:history:42", text)
    message = await error(api, "/users/42", 503, "corrupt_generation")
    assert "recs:g1:history:42" in message


async def reasons(api: httpx.AsyncClient, path: str) -> list[list[int]]:
    """Ask for a list with reasons, and give their item_ids."""
    items = (await api.get(path)).json()["items"]
    for item in items:
        assert list(item)[-1] == "because"
        for reason in item["because"]:
            assert reason["title"] == ITEMS[reason["item_id"]]["title"]
    return [[reason["item_id"] for reason in item["because"]] for item in items]


async def test_because(api: httpx.AsyncClient, published: None) -> None:
    """Beside each item those of the user's own that drove it, if that is asked for."""
    drove = [[181, 258], [], [50], [73, 50, 181], [258]]
    assert await reasons(api, "/recommend/42?because=1") == drove
    plain = (await api.get("/recommend/42?because=0")).json()
    assert plain == (await api.get("/recommend/42")).json()
    assert "because" not in plain["items"][0]


async def test_reasons_stay_with_their_items(
    api: httpx.AsyncClient, published: None
) -> None:
    """Whatever is filtered out before them."""
    path = "/recommend/42?because=1"
    assert await reasons(api, f"{path}&offset=2&k=2") == [[50], [73, 50, 181]]
    assert await reasons(api, f"{path}&exclude=50,73") == [[50], [73, 50, 181], [258]]


@pytest.mark.parametrize("user_id", [7, 999])
async def test_no_reasons(
    api: httpx.AsyncClient, published: None, user_id: int
) -> None:
    """Where the batch wrote none, and where the list is everybody's."""
    found = await reasons(api, f"/recommend/{user_id}?because=1&k=2")
    assert found == [[], []]


async def test_too_few_reasons(
    api: httpx.AsyncClient, redis_client: "redis.Redis", published: None
) -> None:
    """What is missing at the end is as good as none."""
    redis_client.ltrim("recs:g1:because:42", 0, 0)
    found = await reasons(api, "/recommend/42?because=1")
    assert found == [[181, 258], [], [], [], []]


@pytest.mark.parametrize("entry", ["x", "50,", "1.5", "999"])
async def test_garbled_reasons_are_503(
    api: httpx.AsyncClient, redis_client: "redis.Redis", published: None, entry: str
) -> None:
    """Also those that name no item."""
    redis_client.lset("recs:g1:because:42", 0, entry)
    path = "/recommend/42?because=1"
    await error(api, path, 503, "corrupt_generation")
    assert (await api.get("/recommend/42")).status_code == 200


async def test_a_fallback_says_why(api: httpx.AsyncClient, published: None) -> None:
    """And nothing else does."""
    body = (await api.get("/recommend/999?k=1")).json()
    assert (body["source"], body["fallback_reason"]) == ("popular", "unknown_user")
    for path in ("/recommend/42", "/popular", "/similar/50"):
        assert "fallback_reason" not in (await api.get(path)).json()


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("/recommend/42?because=2", "because='2': expected 0 or 1"),
        ("/recommend/42?because=1&because=1", "because is given 2 times"),
        ("/popular?because=1", "'because' is no parameter"),
        ("/similar/50?fallback=none", "'fallback' is no parameter"),
        ("/similar/x", "item_id='x'"),
        ("/similar/50?k=6", "k='6': expected an integer from 1 to 5"),
        ("/items/0", "item_id='0'"),
        ("/items/50?k=1", "'k' is no parameter; known: none"),
        ("/users/-1", "user_id='-1'"),
        ("/users/42?k=1", "'k' is no parameter; known: none"),
    ],
)
async def test_bad_parameters_are_quoted(
    api: httpx.AsyncClient, published: None, path: str, quoted: str
) -> None:
    """422, with the name, the value and what was expected."""
    await api.get("/ready")
    assert quoted in await error(api, path, 422, "invalid_parameter")


@pytest.mark.parametrize("path", ["/similar/50", "/items/50", "/users/42", "/metrics"])
async def test_nothing_published(api: httpx.AsyncClient, path: str) -> None:
    """As for the lists; metrics are there all the same."""
    if path == "/metrics":
        assert (await api.get(path)).status_code == 200
    else:
        await error(api, path, 503, "no_generation")


async def test_schema_knows_how_long_lists_are(
    api: httpx.AsyncClient, redis_client: "redis.Redis", published: None
) -> None:
    """And what is asked for where nothing is said."""
    body: dict[str, Any] = (await api.get("/openapi.json")).json()
    parameters = body["paths"]["/popular"]["get"]["parameters"]
    (k,) = (p["schema"] for p in parameters if p["name"] == "k")
    assert (k["minimum"], k["maximum"], k["default"]) == (1, 5, 5)
    assert json.dumps(body)
