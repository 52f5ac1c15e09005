"""The routes and their parameters, on a real Redis."""

from dataclasses import asdict
from typing import Any

import httpx
import pytest
import redis

from lookup.settings import Settings
from lookup.shared import contract
from lookup.shared.contract import About, History
from tests.conftest import ITEMS, KEYS, POPULAR, USERS, publish
from tests.lookup.serving import error, ids, serving

pytestmark = pytest.mark.anyio

ORIGIN = {"generation": "g1", "model_version": "3", "scored_at": "2026-11-24T01:30:00Z"}
ABOUT = About(3, 5, ["Action"], [7, 42], "by time", {"model": {"ndcg_at_10": 0.25}})
HISTORY = History(27, highest=[(50, 5.0), (73, 4.5)], last=[(267, 1.0), (50, 5.0)])
BECAUSE = [[181, 258], [], [50], [73, 50, 181], [258]]


@pytest.fixture
def published(redis_client: "redis.Redis", published: None) -> None:
    """Publish more than the lists, as the batch would."""
    similar = contract.encode([(181, 0.9), (258, 0.5), (73, 0.25)])
    redis_client.rpush(KEYS.of("g1").similar(50), *similar)
    redis_client.rpush(KEYS.of("g1").similar(73), *contract.encode([]))
    because = contract.encode_because(BECAUSE)
    redis_client.rpush(KEYS.of("g1").because(42), *because)
    for user_id, history in ((42, HISTORY), (13, History(0, [], []))):
        key = KEYS.of("g1").history(user_id)
        redis_client.set(key, contract.encode_history(history))


async def test_body_is_the_contract_s(api: httpx.AsyncClient, published: None) -> None:
    """Byte for byte: keys, their order, compact, UTF-8 as it is."""
    response = await api.get("/recommend/42?k=2")
    assert response.headers["content-type"] == "application/json"
    assert response.content.decode() == (
        '{"user_id":42,"k":2,"generation":"g1","model_version":"3",'
        '"scored_at":"2026-11-24T01:30:00Z","source":"personal","items":['
        '{"rank":1,"item_id":50,"title":"Star Wars (1977)",'
        '"genres":["Action","Sci-Fi"],"year":1977,"score":3.1416},'
        '{"rank":2,"item_id":73,"title":"Misérables, Les (1995)",'
        '"genres":["Drama"],"year":1995,"score":2.5}]}'
    )
    body = (await api.get("/popular?k=1")).json()
    assert list(body) == ["k", *ORIGIN, "source", "items"]
    assert body["source"] == "popular"
    assert body["items"][0]["item_id"] == POPULAR[0][0]


async def test_a_generation_without_a_model_says_so(
    api: httpx.AsyncClient, published: None, redis_client: "redis.Redis"
) -> None:
    """A user's list is popular items, and no fallback that one may refuse."""
    assert (await api.get("/ready")).json()["source"] == "personal"
    publish(redis_client, "g2", model_version="")
    redis_client.hset(KEYS.of("g2").meta, "source", "popular")
    ready = (await api.get("/ready")).json()
    assert (ready["source"], ready["model_version"]) == ("popular", "")
    body = (await api.get("/recommend/42?k=2&fallback=none")).json()
    reason = body["fallback_reason"]
    assert (body["source"], reason) == ("popular", "too_little_data")
    assert [item["item_id"] for item in body["items"]] == [50, 73]
    unknown = (await api.get("/recommend/9999")).json()
    assert unknown["fallback_reason"] == "unknown_user"


async def test_default_k_is_the_setting(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    """Unless the lists are shorter."""
    publish(redis_client, top_n=5)
    for setting, k in ((2, 2), (100, 5)):
        async with serving(redis_url, Settings(k_default=setting)) as api:
            assert (await api.get("/recommend/42")).json()["k"] == k
            assert len(await ids(api, "/recommend/42")) == k


async def test_fewer_than_k(api: httpx.AsyncClient, published: None) -> None:
    assert await ids(api, "/recommend/7?k=5") == [258, 50]
    body = (await api.get("/recommend/13?k=5")).json()
    assert (body["source"], body["items"], body["k"]) == ("personal", [], 5)


async def test_unknown_user_gets_the_popular_list(
    api: httpx.AsyncClient, published: None
) -> None:
    body = (await api.get("/recommend/999?k=2")).json()
    assert (body["user_id"], body["source"]) == (999, "popular")
    assert body["fallback_reason"] == "unknown_user"
    assert [item["item_id"] for item in body["items"]] == [181, 50]
    assert await ids(api, "/recommend/999?k=2&fallback=popular") == [181, 50]
    message = await error(api, "/recommend/999?fallback=none", 404, "unknown_user")
    assert "999" in message
    await error(api, "/recommend/999?fallback=none&k=6", 422, "invalid_parameter")
    assert await ids(api, "/recommend/7?fallback=none") == [258, 50]
    assert await ids(api, "/recommend/13?fallback=none") == []
    for path in ("/recommend/42", "/popular", "/similar/50"):
        assert "fallback_reason" not in (await api.get(path)).json()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
async def test_pages_make_up_the_list(
    api: httpx.AsyncClient, published: None, size: int
) -> None:
    found = []
    for offset in range(0, 5, size):
        path = f"/recommend/42?k={size}&offset={offset}"
        found += (await api.get(path)).json()["items"]
    assert [item["item_id"] for item in found] == [item for item, _ in USERS[42]]
    assert [item["rank"] for item in found] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("user_id", [42, 13, 999])
@pytest.mark.parametrize("offset", [5, 100, 10**18 - 1])
async def test_a_page_beyond_the_end_is_empty(
    api: httpx.AsyncClient, published: None, user_id: int, offset: int
) -> None:
    body = (await api.get(f"/recommend/{user_id}?offset={offset}")).json()
    assert body["items"] == []
    assert body["source"] == ("popular" if user_id == 999 else "personal")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/recommend/42?genre=Drama", [73, 258]),
        ("/recommend/42?genre=dRAMA", [73, 258]),
        ("/recommend/42?genre=Drama&genre=Action", [50, 73, 181, 258]),
        ("/recommend/42?genre=Sci-Fi&exclude=50", [258]),
        ("/recommend/42?genre=Western", []),
        ("/recommend/42?exclude=50,181", [73, 258, 267]),
        ("/recommend/42?exclude=50&exclude=181", [73, 258, 267]),
        ("/recommend/42?exclude=999999", [50, 73, 181, 258, 267]),
        ("/recommend/42?genre=Action&k=1&offset=1", [181]),
        ("/recommend/42?exclude=50&k=2&offset=2", [258, 267]),
        ("/recommend/42?genre=Action&offset=2", []),
        ("/popular?genre=drama", [258, 73]),
        ("/recommend/999?exclude=181&k=1", [50]),
        ("/popular?offset=1&k=2&exclude=50", [258, 73]),
        ("/similar/50?offset=1&k=1", [258]),
        ("/similar/50?genre=drama&exclude=73", [258]),
        ("/similar/73", []),  # an empty list
        ("/similar/181", []),  # no list
    ],
)
async def test_filters_come_before_paging(
    api: httpx.AsyncClient, published: None, path: str, expected: list[int]
) -> None:
    response = await api.get(path)
    assert response.status_code == 200, response.text
    items = response.json()["items"]
    assert [item["item_id"] for item in items] == expected
    first = 2 if "offset=1" in path else 3 if "offset=2" in path else 1
    assert [item["rank"] for item in items] == [first + i for i in range(len(items))]


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("/recommend/0", "user_id='0'"),
        ("/recommend/4.5", "user_id='4.5'"),
        ("/recommend/x", "user_id='x'"),
        ("/recommend/+5", "user_id='+5'"),
        ("/recommend/%20", "user_id=' '"),
        ("/recommend/42%0A", "user_id='42\\n'"),
        ("/recommend/٤٢", "user_id='٤٢'"),
        ("/recommend/" + "1" * 1001, "user_id='1111"),
        ("/recommend/" + "9" * 5000, "user_id='9999"),
        ("/similar/x", "item_id='x'"),
        ("/items/0", "item_id='0'"),
        ("/users/-1", "user_id='-1'"),
        ("/recommend/42?k=0", "k='0': expected an integer from 1 to 5"),
        ("/recommend/42?k=6", "k='6': expected an integer from 1 to 5"),
        ("/popular?k=6", "k='6': expected an integer from 1 to 5"),
        ("/similar/50?k=6", "k='6': expected an integer from 1 to 5"),
        ("/recommend/42?k=5.0", "k='5.0'"),
        ("/recommend/42?k=+5", "k=' 5'"),
        ("/recommend/42?k=٥", "k='٥'"),
        ("/recommend/42?k=" + "1" * 5000, "k='1111"),
        ("/recommend/42?k=", "k=''"),
        ("/recommend/42?k=5&k=5", "k is given 2 times"),
        ("/recommend/42?offset=-1", "offset='-1'"),
        ("/recommend/42?offset=" + "1" * 19, "offset='1111"),
        ("/recommend/42?offset=1&offset=1", "offset is given 2 times"),
        ("/recommend/42?genre=", "genre=''"),
        ("/recommend/42?exclude=", "exclude=''"),
        ("/recommend/42?exclude=50,,181", "exclude=''"),
        ("/recommend/42?exclude=50,x", "exclude='x'"),
        ("/recommend/42?fallback=no", "fallback='no': expected popular or none"),
        ("/recommend/42?because=2", "because='2': expected 0 or 1"),
        ("/recommend/42?K=5", "'K' is not a parameter; known: k, offset, genre"),
        ("/popular?fallback=none", "'fallback' is not a parameter; known: k, offset"),
        ("/popular?because=1", "'because' is not a parameter"),
        ("/items/50?k=1", "'k' is not a parameter; known: none"),
        ("/users/42?k=1", "'k' is not a parameter; known: none"),
        ("/about?k=1", "'k' is not a parameter; known: none"),
    ],
)
async def test_bad_parameters_are_quoted(
    api: httpx.AsyncClient, published: None, path: str, quoted: str
) -> None:
    await api.get("/ready")  # so that TOP_N is known
    assert quoted in await error(api, path, 422, "invalid_parameter")


async def test_similar_items(api: httpx.AsyncClient, published: None) -> None:
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


async def test_one_item(api: httpx.AsyncClient, published: None) -> None:
    body = (await api.get("/items/73")).json()
    assert body == {"item_id": 73, **ITEMS[73], **ORIGIN}
    assert (await api.get("/items/267")).json()["year"] is None


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/similar/999", "unknown_item"),
        ("/items/999", "unknown_item"),
        ("/items/" + "9" * 999, "unknown_item"),
        ("/users/999", "unknown_user"),
        ("/about", "unknown_about"),
    ],
)
async def test_unknown_ids_are_404(
    api: httpx.AsyncClient, published: None, path: str, code: str
) -> None:
    assert "g1" in await error(api, path, 404, code)


async def test_what_a_user_rated(api: httpx.AsyncClient, published: None) -> None:
    assert (await api.get("/users/42")).json() == {
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


async def test_about(
    api: httpx.AsyncClient, published: None, redis_client: "redis.Redis"
) -> None:
    redis_client.set(KEYS.of("g1").about, contract.encode_about(ABOUT))
    body = (await api.get("/about")).json()
    assert body == {**ORIGIN, "top_n": 5, **asdict(ABOUT), "forerunner": None}


@pytest.mark.parametrize(
    ("path", "key", "text"),
    [
        ("/about", "about", "{}"),
        ("/users/42", "history:42", "[]"),
        ("/users/42", "history:42", "{"),
        ("/users/42", "history:42", '{"n_ratings": 1}'),
        ("/users/42", "history:42", '{"n_ratings":1,"highest":[[1]],"last":[]}'),
        ("/users/42", "history:42", "1"),
    ],
)
async def test_garbled_keys_are_named(
    api: httpx.AsyncClient, redis_client: "redis.Redis", path: str, key: str, text: str
) -> None:
    publish(redis_client)
    redis_client.set(f"recs:g1:{key}", text)
    assert f"recs:g1:{key} " in await error(api, path, 503, "corrupt_generation")


async def explained(api: httpx.AsyncClient, path: str) -> list[list[int]]:
    """Request a list with explanations, and return their item_ids."""
    items = (await api.get(path)).json()["items"]
    for item in items:
        assert list(item)[-1] == "because"
        for reason in item["because"]:
            assert reason["title"] == ITEMS[reason["item_id"]]["title"]
    return [[reason["item_id"] for reason in item["because"]] for item in items]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/recommend/42?because=1", BECAUSE),
        ("/recommend/42?because=1&offset=2&k=2", [[50], [73, 50, 181]]),
        ("/recommend/42?because=1&exclude=50,73", [[50], [73, 50, 181], [258]]),
        ("/recommend/7?because=1&k=2", [[], []]),  # the batch wrote none
        ("/recommend/999?because=1&k=2", [[], []]),  # a fallback
    ],
)
async def test_explanations_stay_with_their_items(
    api: httpx.AsyncClient, published: None, path: str, expected: list[list[int]]
) -> None:
    assert await explained(api, path) == expected


async def test_explanations_are_optional(
    api: httpx.AsyncClient, redis_client: "redis.Redis", published: None
) -> None:
    plain = (await api.get("/recommend/42?because=0")).json()
    assert plain == (await api.get("/recommend/42")).json()
    assert "because" not in plain["items"][0]
    redis_client.ltrim("recs:g1:because:42", 0, 0)
    path = "/recommend/42?because=1"
    assert await explained(api, path) == [[181, 258], [], [], [], []]


@pytest.mark.parametrize("entry", ["x", "50,", "1.5", "999"])
async def test_garbled_explanations_are_503(
    api: httpx.AsyncClient, redis_client: "redis.Redis", published: None, entry: str
) -> None:
    """Also those that name an unknown item."""
    redis_client.lset("recs:g1:because:42", 0, entry)
    await error(api, "/recommend/42?because=1", 503, "corrupt_generation")
    assert (await api.get("/recommend/42")).status_code == 200


async def test_the_description_has_the_limits_of_k(
    api: httpx.AsyncClient, redis_client: "redis.Redis"
) -> None:
    for top_n, default in ((None, 10), (5, 5), (100, 10)):
        if top_n is not None:
            publish(redis_client, f"g{top_n}", top_n=top_n)
        body: dict[str, Any] = (await api.get("/openapi.json")).json()
        k = body["components"]["parameters"]["k"]["schema"]
        assert (k["minimum"], k.get("maximum"), k["default"]) == (1, top_n, default)
