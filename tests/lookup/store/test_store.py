"""Reads from a real Redis, while it is killed, paused, flipped and garbled."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest
import redis

from lookup.shared import contract
from lookup.store.generation import CorruptGeneration, Entry, Generation
from lookup.store.store import KEPT, NoGeneration, Store, StoreUnavailable
from tests.conftest import ITEMS, USERS, RedisServer, publish

pytestmark = pytest.mark.anyio


def of_user(user_id: int) -> Callable[[str], str]:
    """Name a user's list, given a generation."""
    return partial(contract.user_key, user_id=user_id)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """Use a store, and close it."""
    store = Store(url)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """Give a store on the session's Redis."""
    async with opened(redis_url) as store:
        yield store


def n_calls(client: "redis.Redis") -> int:
    """Count the commands that Redis has carried out."""
    return int(client.info("stats")["total_commands_processed"])


async def test_list_comes_in_its_order(
    store: Store, redis_client: "redis.Redis"
) -> None:
    """The batch's order is the answer's."""
    publish(redis_client)
    generation, entries = await store.entries(of_user(42))
    assert entries == USERS[42]
    assert (generation.name, generation.model_version, generation.top_n) == (
        "g1",
        "3",
        5,
    )


async def test_length_cuts_the_list(store: Store, redis_client: "redis.Redis") -> None:
    """Only what is asked for is read."""
    publish(redis_client)
    _, entries = await store.entries(of_user(42), 2)
    assert entries == USERS[42][:2]


async def test_unknown_is_not_the_same_as_nothing_left(
    store: Store, redis_client: "redis.Redis"
) -> None:
    """A user who has seen everything is known."""
    publish(redis_client)
    assert (await store.entries(of_user(13)))[1] == []
    assert (await store.entries(of_user(999)))[1] is None


async def test_steady_state_is_one_round_trip(
    store: Store, redis_client: "redis.Redis"
) -> None:
    """Two commands, sent together, and none for what does not change."""
    publish(redis_client)
    await store.entries(of_user(42))
    before = n_calls(redis_client)
    for _ in range(10):
        await store.entries(of_user(42))
    assert n_calls(redis_client) - before == 2 * 10 + 1  # one is the count's own


async def test_nothing_published(store: Store, redis_client: "redis.Redis") -> None:
    """An empty Redis is a clear case, before and after there was something."""
    with pytest.raises(NoGeneration, match="recs:current"):
        await store.generation()
    publish(redis_client)
    await store.entries(of_user(42))
    redis_client.flushall()
    with pytest.raises(NoGeneration):
        await store.entries(of_user(42))


async def test_flip_is_followed(store: Store, redis_client: "redis.Redis") -> None:
    """The next answer after a flip is of the new generation, also back again."""
    publish(redis_client, "g1", model_version="1")
    publish(redis_client, "g2", users={42: [(73, 9.0)]}, current=False)
    assert (await store.entries(of_user(42)))[0].name == "g1"
    redis_client.set(contract.CURRENT, "g2")
    generation, entries = await store.entries(of_user(42))
    assert (generation.name, entries) == ("g2", [(73, 9.0)])
    redis_client.set(contract.CURRENT, "g1")
    assert (await store.entries(of_user(42)))[1] == USERS[42]


async def test_deleted_generation_is_left(
    store: Store, redis_client: "redis.Redis"
) -> None:
    """A user is not taken for unknown because their list went with its generation."""
    publish(redis_client, "g1")
    await store.entries(of_user(42))
    publish(redis_client, "g2")
    redis_client.delete(*redis_client.keys("recs:g1:*"))
    generation, entries = await store.entries(of_user(42))
    assert (generation.name, entries) == ("g2", USERS[42])


async def test_memory_is_bounded(store: Store, redis_client: "redis.Redis") -> None:
    """Years of nightly batches do not add up."""
    for number in range(5):
        publish(redis_client, f"g{number}")
        await store.entries(of_user(42))
    assert len(store._kept) == KEPT


async def test_callers_share_one_load(
    store: Store, redis_client: "redis.Redis"
) -> None:
    """A flip under load does not read the catalogue once a request."""
    publish(redis_client)
    before = n_calls(redis_client)
    await asyncio.gather(*(store.generation() for _ in range(50)))
    assert n_calls(redis_client) - before == 1 + 4 + 1


async def test_load_survives_the_one_who_asked(
    store: Store, redis_client: "redis.Redis"
) -> None:
    """A client that goes away does not take the others' load with it."""
    publish(redis_client)
    first, second = (asyncio.create_task(store.generation()) for _ in range(2))
    while not store._loading:
        await asyncio.sleep(0)
    first.cancel()
    assert (await second).name == "g1"


async def test_dangling_pointer_is_corrupt(
    store: Store, redis_client: "redis.Redis"
) -> None:
    """A pointer at nothing says so, and heals when the generation is there."""
    redis_client.set(contract.CURRENT, "g9")
    with pytest.raises(CorruptGeneration, match="recs:g9:meta"):
        await store.generation()
    publish(redis_client, "g9")
    assert (await store.generation()).name == "g9"


@pytest.mark.parametrize("entry", ["50", "x:1", "50:nan", b"\xff\xfe:1"])
async def test_garbled_entry_is_corrupt(
    store: Store, redis_client: "redis.Redis", entry: str | bytes
) -> None:
    """One bad list names itself and leaves the connection usable for others."""
    publish(redis_client)
    redis_client.rpush("recs:g1:user:42", entry)
    with pytest.raises(CorruptGeneration, match="recs:g1:user:42"):
        await store.entries(of_user(42))
    assert (await store.entries(of_user(7)))[1] == USERS[7]


async def test_wrong_type_is_unavailable(
    store: Store, redis_client: "redis.Redis"
) -> None:
    """Redis' own complaints are passed on as one error."""
    publish(redis_client)
    redis_client.set("recs:g1:user:5", "text")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await store.entries(of_user(5))
    assert (await store.entries(of_user(7)))[1] == USERS[7]


@pytest.mark.slow
async def test_killed_redis_fails_at_once_and_comes_back(
    own_server: RedisServer,
) -> None:
    """No waiting while it is gone, no failing once it is back."""
    async with opened(own_server.url) as store:
        for _ in range(3):
            with redis.Redis.from_url(own_server.url) as client:
                publish(client)
            # many connections, each of which breaks
            await asyncio.gather(*(store.entries(of_user(42)) for _ in range(40)))
            own_server.kill()
            start = time.monotonic()
            for _ in range(20):
                with pytest.raises(StoreUnavailable):
                    await store.entries(of_user(42))
            assert time.monotonic() - start < 0.5
            own_server.start()
            with pytest.raises(NoGeneration):  # it kept nothing, and says so
                await store.generation()
            with redis.Redis.from_url(own_server.url) as client:
                publish(client)
            found = await asyncio.gather(
                *(store.entries(of_user(42)) for _ in range(40))
            )
            assert all(entries == USERS[42] for _, entries in found)


@pytest.mark.slow
async def test_silent_redis_is_given_up_soon(own_server: RedisServer) -> None:
    """A Redis that accepts and never answers holds nobody for long."""
    with redis.Redis.from_url(own_server.url) as client:
        publish(client)
    async with opened(own_server.url) as store:
        await store.entries(of_user(42))
        own_server.pause()
        start = time.monotonic()
        found = await asyncio.gather(
            *(store.entries(of_user(42)) for _ in range(100)), return_exceptions=True
        )
        assert all(isinstance(error, StoreUnavailable) for error in found)
        assert time.monotonic() - start < 2.5


async def test_many_at_once(store: Store, redis_client: "redis.Redis") -> None:
    """More requests than connections wait their turn."""
    publish(redis_client)
    found = await asyncio.gather(*(store.entries(of_user(42)) for _ in range(500)))
    assert all(entries == USERS[42] for _, entries in found)


def publish_world(client: "redis.Redis", number: int) -> None:
    """Publish a generation every part of which tells its number.

    The one before is kept, as the batch does, and now and then rolled back to.
    """
    publish(
        client,
        f"g{number}",
        users={user: [(50, float(number))] * 5 for user in range(1, 9)},
        items={50: {**ITEMS[50], "title": str(number)}},
        popular=[(50, float(number))],
        model_version=str(number),
    )
    if number and number % 5 == 0:
        client.set(contract.CURRENT, f"g{number - 1}")
        client.set(contract.CURRENT, f"g{number}")
    old = [contract.user_key(f"g{number - 2}", user) for user in range(1, 9)]
    client.delete(*old, *client.keys(f"recs:g{number - 2}:*"))


def is_of_one_generation(generation: Generation, entries: Sequence[Entry]) -> bool:
    """Tell whether list, meta, items and popular list all belong together."""
    number = generation.name[1:]
    popular = generation.entries("popular", generation.popular)
    scores = {entry.score for entry in (*entries, *popular)}
    return (
        scores == {float(number)}
        and len(entries) == 5
        and generation.model_version == number
        and generation.item(50)["title"] == number
    )


@pytest.mark.slow
async def test_no_answer_mixes_generations(
    store: Store, redis_client: "redis.Redis"
) -> None:
    """While generations are published, flipped to, back and deleted, each is whole."""
    publish_world(redis_client, 0)
    done = asyncio.Event()

    async def write() -> None:
        for number in range(1, 150):
            await asyncio.to_thread(publish_world, redis_client, number)
            await asyncio.sleep(number % 3 * 0.005)  # now in a row, now with a pause
        done.set()

    async def read(user_id: int) -> set[str]:
        seen = set()
        while not done.is_set():
            generation, entries = await store.entries(of_user(user_id))
            assert entries is not None, f"user {user_id} unknown in {generation.name}"
            assert is_of_one_generation(generation, entries)
            seen.add(generation.name)
        return seen

    writing = asyncio.create_task(write())
    seen = await asyncio.gather(*(read(user) for user in range(1, 9)))
    await writing
    assert len(set().union(*seen)) > 50, "flips were under the reads"
