"""Users and items whose ids are text: what goes in comes out."""

import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest
import redis

from lookup.shared import contract
from lookup.shared.contract import History, IdKind
from tests.conftest import ITEMS, KEYS, publish
from tests.lookup.serving import error, serving

pytestmark = pytest.mark.anyio

AWKWARD = ["a,b:c/d% é", "007", "../x y?&#+", '"\\[]{}', "x" * 128]
USER = AWKWARD[0]
G = KEYS.of("g1")


@pytest.fixture
def shop(redis_client: "redis.Redis") -> None:
    """Publish lists whose ids of users and items are awkward texts."""
    pairs = [(item_id, 5.0 - place) for place, item_id in enumerate(AWKWARD)]
    items = dict.fromkeys(AWKWARD, ITEMS[50])
    users = dict.fromkeys(AWKWARD, pairs)
    publish(redis_client, users=users, popular=pairs, items=items)
    redis_client.hset(G.meta, mapping={"user_ids": "text", "item_ids": "text"})
    for user_id in AWKWARD:
        reasons = contract.encode_because([AWKWARD[:2]])
        redis_client.rpush(G.because(user_id), *reasons)
        history = History(1, [(AWKWARD[1], 5.0)], [(AWKWARD[2], 5.0)])
        redis_client.set(G.history(user_id), contract.encode_history(history))
        redis_client.rpush(G.similar(user_id), *contract.encode(pairs[1:]))


@pytest.fixture
async def api(redis_url: str, shop: None) -> AsyncIterator[httpx.AsyncClient]:
    """Serve them."""
    async with serving(redis_url) as client:
        yield client


@pytest.mark.parametrize("which", AWKWARD)
async def test_ids_come_out_as_they_went_in(api: httpx.AsyncClient, which: str) -> None:
    """In the path of each route and in its answer."""
    path = quote(which, safe="")
    found = (await api.get(f"/recommend/{path}?k=5")).json()
    assert (found["user_id"], found["source"]) == (which, "personal")
    assert [item["item_id"] for item in found["items"]] == AWKWARD
    similar = (await api.get(f"/similar/{path}")).json()
    assert similar["item_id"] == which
    assert [item["item_id"] for item in similar["items"]] == AWKWARD[1:]
    assert (await api.get(f"/items/{path}")).json()["item_id"] == which
    user = (await api.get(f"/users/{path}")).json()
    assert user["user_id"] == which
    assert user["highest"][0]["item_id"] == AWKWARD[1]
    assert user["last"][0]["item_id"] == AWKWARD[2]


async def test_reasons_have_their_ids(api: httpx.AsyncClient) -> None:
    found = await api.get(f"/recommend/{quote(USER, safe='')}?because=1&k=1")
    reasons = found.json()["items"][0]["because"]
    assert [reason["item_id"] for reason in reasons] == AWKWARD[:2]


async def test_exclude_does_not_split_texts(api: httpx.AsyncClient) -> None:
    """It is repeatable instead."""
    exclude = {"exclude": [AWKWARD[0], AWKWARD[3]]}
    found = (await api.get("/popular", params=exclude)).json()
    ids = [item["item_id"] for item in found["items"]]
    assert ids == [AWKWARD[1], AWKWARD[2], AWKWARD[4]]
    found = (await api.get("/popular", params={"exclude": "007,x"})).json()
    assert len(found["items"]) == 5


async def test_each_id_of_a_film_hides_it(
    api: httpx.AsyncClient, redis_client: "redis.Redis"
) -> None:
    item = {"title": "T", "genres": ["G"], "year": 1990, "same_as": AWKWARD[0]}
    redis_client.hset(G.items, "other", json.dumps(item))
    found = (await api.get("/popular?exclude=other")).json()
    assert [item["item_id"] for item in found["items"]] == AWKWARD[1:]


@pytest.mark.parametrize("text", ["", "x" * 129, "a%00b", "a%0A", "%C2%85"])
async def test_what_can_be_no_id_is_refused(api: httpx.AsyncClient, text: str) -> None:
    for route in ("recommend", "users", "similar", "items"):
        message = await error(api, f"/{route}/{text}", 422, "invalid_parameter")
        assert "expected 1 to 128 characters without control characters" in message


async def test_an_unknown_user_gets_what_is_popular(api: httpx.AsyncClient) -> None:
    """Leading zeros tell users apart."""
    found = (await api.get("/recommend/7")).json()
    assert (found["user_id"], found["source"]) == ("7", "popular")
    message = await error(api, "/users/0%2F7", 404, "unknown_user")
    assert "user 0/7 is not in generation g1" in message


async def test_the_schema_says_that_ids_are_text(api: httpx.AsyncClient) -> None:
    described = (await api.get("/openapi.json")).json()["components"]
    text = {"type": "string", "minLength": 1, "maxLength": 128}
    assert described["parameters"]["user_id"]["schema"] == text
    assert described["parameters"]["exclude"]["schema"]["items"] == text
    assert described["schemas"]["List"]["properties"]["item_id"] == {"type": "string"}


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (["1", "10", "9007199254740991"], IdKind.POSITIVE),
        (["0", "1"], IdKind.INTEGER),
        (["01"], IdKind.TEXT),
        (["-1"], IdKind.TEXT),
        (["9007199254740992"], IdKind.TEXT),
        (["1", "b"], IdKind.TEXT),
        (["١"], IdKind.TEXT),
    ],
)
def test_numbers_are_numbers_where_all_are(keys: list[str], kind: IdKind) -> None:
    assert IdKind.of(keys) is kind
    assert [kind.parse(key) for key in keys] == [kind.external(key) for key in keys]
