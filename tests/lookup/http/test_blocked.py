"""Items that no list may show."""

from typing import Any

import httpx
import pytest
import redis

from batch.publishing import connections, generations, users
from lookup.shared import contract
from lookup.shared.contract import History
from tests.conftest import ITEMS, KEYS, publish
from tests.lookup.serving import error, ids

pytestmark = pytest.mark.anyio

G1 = KEYS.of("g1")


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("/recommend/42?k=2", [50, 73], [73, 258]),
        ("/recommend/42", [50, 73, 181, 258, 267], [73, 258, 267]),
        ("/recommend/42?k=2&offset=1", [73, 181], [258, 267]),
        ("/recommend/42?genre=sci-fi", [50, 258], [258]),
        ("/recommend/42?k=2&exclude=73", [50, 181], [258, 267]),
        ("/recommend/99?k=2", [181, 50], [258, 73]),
        ("/popular?k=1", [181], [258]),
        ("/similar/50?k=1", [181], [73]),
    ],
)
async def test_lists_leave_them_out_and_fill_up_from_behind(
    api: httpx.AsyncClient,
    redis_client: "redis.Redis",
    path: str,
    before: list[int],
    after: list[int],
) -> None:
    """At once, whatever is cached, and no answer is taken for one from before."""
    publish(redis_client)
    redis_client.rpush(G1.similar(50), *contract.encode([(181, 0.9), (73, 0.5)]))
    etags = set()
    for members, expected in (((), before), ((50, 181, "x"), after), ((), before)):
        redis_client.delete(KEYS.blocked)
        for member in members:
            redis_client.sadd(KEYS.blocked, member)
        for _ in range(2):
            assert await ids(api, path) == expected
            answer = await api.get(path)
            etags.add(answer.headers["etag"])
            ranks = [item["rank"] for item in answer.json()["items"]]
            assert ranks == list(range(ranks[0], ranks[0] + len(ranks)))
    assert len(etags) == 2


@pytest.mark.parametrize("item_id", [50, 51])
@pytest.mark.parametrize("how", ["blocked", "excluded", "blocked with garbled items"])
async def test_each_id_of_a_film_hides_it(
    api: httpx.AsyncClient, redis_client: "redis.Redis", item_id: int, how: str
) -> None:
    """Lists hold the id that stands for it, 50."""
    publish(redis_client, items={**ITEMS, 51: {**ITEMS[50], "same_as": 50}})
    if how == "excluded":
        path = f"/recommend/42?k=2&exclude={item_id}"
    else:
        path = "/recommend/42?k=2"
        redis_client.sadd(KEYS.blocked, item_id)
    if "garbled" in how:
        garbled: dict[Any, Any] = {"7": "{", "8": "[]", "9": '"same_as"'}
        redis_client.hset(G1.items, mapping=garbled)
        redis_client.sadd(KEYS.blocked, *garbled)
    assert await ids(api, path) == [73, 181]
    assert (await api.get("/items/51")).json()["title"] == ITEMS[50]["title"]
    assert "same_as" not in (await api.get("/items/51")).json()


async def test_explanations_follow_their_items(
    api: httpx.AsyncClient, redis_client: "redis.Redis"
) -> None:
    publish(redis_client)
    reasons = contract.encode_because([[267], [258], [73], [], []])
    redis_client.rpush(G1.because(42), *reasons)
    redis_client.sadd(KEYS.blocked, 50)
    items = (await api.get("/recommend/42?k=2&because=1")).json()["items"]
    found = [(item["item_id"], item["because"][0]["item_id"]) for item in items]
    assert found == [(73, 258), (181, 73)]


async def test_what_a_user_rated_and_the_item_itself_stay(
    api: httpx.AsyncClient, redis_client: "redis.Redis"
) -> None:
    publish(redis_client)
    redis_client.rpush(G1.similar(50), *contract.encode([(181, 0.9)]))
    history = contract.encode_history(History(1, [(50, 5.0)], [(50, 5.0)]))
    redis_client.set(G1.history(42), history)
    redis_client.sadd(KEYS.blocked, 50)
    assert (await api.get("/items/50")).json()["item_id"] == 50
    assert (await api.get("/users/42")).json()["highest"][0]["item_id"] == 50
    assert await ids(api, "/similar/50") == [181]


async def test_they_stay_blocked_in_later_generations(
    api: httpx.AsyncClient, redis_client: "redis.Redis"
) -> None:
    publish(redis_client)
    redis_client.sadd(KEYS.blocked, *range(1000))
    assert await ids(api, "/recommend/42") == []
    redis_client.srem(KEYS.blocked, 73)
    publish(redis_client, "g2")
    assert await ids(api, "/recommend/42?k=1") == [73]


async def test_a_user_who_was_removed_is_unknown_at_once(
    api: httpx.AsyncClient, redis_client: "redis.Redis"
) -> None:
    """However hot the answers were, and of other users nothing changes."""
    publish(redis_client)
    redis_client.set(G1.history(42), contract.encode_history(History(1, [], [])))
    url = redis_client.get_connection_kwargs()
    for _ in range(2):
        assert await ids(api, "/recommend/42?k=2") == [50, 73]
        assert (await api.get("/users/42")).status_code == 200
    address = f"redis://{url['host']}:{url['port']}"
    with connections.connect(address) as client, generations.locked(client) as lock:
        assert users.forget(client, lock, "42") == 2
    for _ in range(2):
        answer = (await api.get("/recommend/42?k=2")).json()
        assert answer["fallback_reason"] == "unknown_user"
        await error(api, "/recommend/42?fallback=none", 404, "unknown_user")
        await error(api, "/users/42", 404, "unknown_user")
        assert await ids(api, "/recommend/7") == [258, 50]


async def test_another_type_is_named(
    api: httpx.AsyncClient, redis_client: "redis.Redis"
) -> None:
    publish(redis_client)
    redis_client.set(KEYS.blocked, "50")
    message = await error(api, "/recommend/42", 503, "corrupt_generation")
    assert f"{KEYS.blocked} is not a set" in message
