"""Flips and rollbacks while 64 connections read from a real `python -m lookup`."""

import asyncio
import json
import re
import time
from collections import Counter
from typing import Any, Self

import pytest
import redis

from batch.publishing import connections, generations
from lookup.shared import contract
from lookup.shared.contract import About, History
from lookup.shared.keys import CATALOGUE
from tests.conftest import KEYS
from tests.conftest import publish as write
from tests.lookup.conftest import start  # noqa: F401 (a fixture)
from tests.lookup.programs import Start, started

pytestmark = pytest.mark.anyio

N_FLIPS = 200
N_CONNECTIONS = 64
N_USERS = 8
N_ITEMS = 12
LENGTH = 10
PAUSE_SECONDS = 0.06

PATHS = (
    "/recommend/{user}?k=4",
    "/recommend/{user}?k=3&offset=5",
    "/recommend/{user}?k=5&because=1",
    "/recommend/{user}?k=5&genre=Drama&exclude=2,3",
    "/recommend/999999?k=3&offset=1",
    "/popular?k=4&offset=2",
    "/popular?k=4&genre=Drama&genre=War",
    "/trending?k=4",
    "/new?k=4&genre=War",
    "/recommend/999999?k=3&genre=War",
    "/search?q=in&k=4",
    "/similar/{user}?k=4",
    "/items/{user}",
    "/users/{user}",
    "/about",
)
"""Every kind of list; user 999999 is unknown and gets the popular one."""


def title(item_id: int, number: int) -> str:
    """Return the title of an item in one generation only."""
    return f"{item_id} in {number}"


def write_numbered(client: redis.Redis, number: int) -> str:
    """Write a generation whose every key holds its number; do not flip to it."""
    generation = f"20261124T{number:06}Z-f16ffa"
    pairs = [(item_id, float(number)) for item_id in range(1, LENGTH + 1)]
    items = {
        item_id: {
            "title": title(item_id, number),
            "genres": ["Drama", "War"],
            "year": 1990,
        }
        for item_id in range(1, N_ITEMS + 1)
    }
    rated = [(11, float(number)), (12, float(number))]
    pipe = client.pipeline()
    for user_id in range(1, N_USERS + 1):
        why = contract.encode_because([[11, 12]] * LENGTH)
        pipe.rpush(KEYS.of(generation).because(user_id), *why)
        history = contract.encode_history(History(number, rated, rated))
        pipe.set(KEYS.of(generation).history(user_id), history)
        similar = contract.encode(pairs)
        pipe.rpush(KEYS.of(generation).similar(user_id), *similar)
    for kind in CATALOGUE:
        for genre in (None, "Drama", "War"):
            if (kind, genre) != ("popular", None):
                key = KEYS.of(generation).catalogue(kind, genre)
                pipe.rpush(key, *contract.encode(pairs))
    about = About(number, N_ITEMS, ["Drama", "War"], [1], str(number), {})
    pipe.set(KEYS.of(generation).about, contract.encode_about(about))
    pipe.execute()
    write(
        client,
        generation,
        users=dict.fromkeys(range(1, N_USERS + 1), pairs),
        popular=pairs,
        items=items,
        top_n=LENGTH,
        model_version=str(number),
        current=False,
    )
    # the flip adds it
    client.zrem(KEYS.generations, generation)
    return generation


def flip_and_roll_back(url: str, n_flips: int) -> None:
    """Publish generations, go back after every third, and remove what is not kept."""
    with connections.connect(url) as client, generations.locked(client) as lock:
        n_done, number = 0, 1
        while n_done < n_flips:
            number += 1
            generation = write_numbered(client.redis, number)  # type: ignore[arg-type]
            lock.make_current(generation, time.time())
            n_done += 1
            generations.remove_leftovers(client, lock, 2)
            if number % 3 == 0:
                time.sleep(PAUSE_SECONDS)
                lock.make_current(generations.previous(client), time.time())
                n_done += 1
                generations.remove_leftovers(client, lock, 2)
            time.sleep(PAUSE_SECONDS * (number % 2))  # now in a row, now with a pause


class Connection:
    """A persistent connection that costs less than a library's."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._in, self._out = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._out.close()
        await self._out.wait_closed()

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Send a request; return the status and the body."""
        self._out.write(f"GET {path} HTTP/1.1\r\nHost: lookup\r\n\r\n".encode())
        head = (await self._in.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        assert length, head
        body = await self._in.readexactly(int(length[1]))
        return int(head.split()[1]), json.loads(body)


def check(path: str, status: int, body: dict[str, Any]) -> str:
    """Check that a response is of the generation that it names; return that."""
    assert status == 200, (path, status, body)
    generation: str = body["generation"]
    number = int(generation[9:15])
    assert body["model_version"] == str(number), body
    if path == "/about":
        assert (body["n_users"], body["protocol"]) == (number, str(number)), body
    elif path.startswith("/users/"):
        assert body["n_ratings"] == number, body
        assert all_are_of(body["highest"] + body["last"], number, "rating"), body
    elif path.startswith("/items/"):
        assert body["title"] == title(body["item_id"], number), body
    else:
        assert body["source"] == source_of(path), body
        assert len(body["items"]) == body["k"], body
        if body["source"] == "search":
            assert all(
                item["title"].endswith(f" in {number}") for item in body["items"]
            )
        else:
            assert all_are_of(body["items"], number, "score"), body
    return generation


def source_of(path: str) -> str:
    """Return the source that the list of a path has."""
    kind = path[1:].partition("?")[0].partition("/")[0]
    if kind in ("similar", "search", *CATALOGUE):
        return kind
    is_known = path.startswith("/recommend") and "/999999?" not in path
    return "personal" if is_known else "popular"


def all_are_of(items: list[dict[str, Any]], number: int, field: str) -> bool:
    """Return whether items and their explanations are of one generation."""
    both = [*items, *(one for item in items for one in item.get("because", ()))]
    return all(item[field] == number for item in items) and all(
        item["title"] == title(item["item_id"], number) for item in both
    )


@pytest.mark.parametrize("workers", [1, 2])
async def test_no_response_is_mixed_or_missing(
    start: Start,  # noqa: F811
    redis_url: str,
    redis_client: redis.Redis,
    workers: int,
) -> None:
    """No 5xx and no 404 while generations are flipped to, rolled back and removed."""
    first = write_numbered(redis_client, 1)
    redis_client.set(KEYS.current, first)
    redis_client.zadd(KEYS.generations, {first: time.time()})
    port, _ = started(start, "--workers", workers, REDIS_URL=redis_url)
    writing = asyncio.create_task(
        asyncio.to_thread(flip_and_roll_back, redis_url, N_FLIPS)
    )
    seen = Counter[str]()

    async def read(turn: int) -> None:
        async with Connection(port) as connection:
            while not writing.done():
                path = PATHS[turn % len(PATHS)].format(user=1 + turn // 7 % N_USERS)
                seen[check(path, *await connection.get(path))] += 1
                turn += 1

    await asyncio.gather(*(read(turn) for turn in range(N_CONNECTIONS)))
    await writing
    assert len(seen) > 50, "flips happened during the reads"
    assert set(redis_client.keys("recs:[2g]*")) == {
        name
        for generation in redis_client.zrange(KEYS.generations, 0, -1)
        for name in redis_client.keys(f"recs:{generation!s}:*")
    } | {KEYS.generations}
