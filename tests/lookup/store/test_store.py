"""Reads from a real Redis; tests/faults/test_flips.py has flips under load."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest
import redis

from lookup.shared.contract import ExternalId
from lookup.store.errors import CorruptGeneration, NoGeneration, StoreUnavailable
from lookup.store.generation import Generation
from lookup.store.store import MAX_GENERATIONS, Store, lrange
from tests.conftest import KEYS, USERS, RedisServer, publish

pytestmark = pytest.mark.anyio

Entries = Sequence[tuple[ExternalId, float]]


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """A store on the session's Redis."""
    store = Store(redis_url)
    yield store
    await store.close()


async def read(
    store: Store, user_id: int = 42, length: int | None = None
) -> tuple[Generation, Entries | None]:
    """Read a user's list; None if the user is unknown."""
    generation, (texts,) = await store.read(
        lambda generation: [lrange(generation.keys.user(user_id), length)]
    )
    key = KEYS.of(generation.name).user(user_id)
    return generation, generation.entries(key, texts) if texts else None


async def read_at_once(store: Store, n: int) -> None:
    """Read a list many times at once, and check each."""
    found = await asyncio.gather(*(read(store) for _ in range(n)))
    assert all(entries == USERS[42] for _, entries in found)


def n_calls(client: "redis.Redis") -> int:
    """Return how many commands Redis has executed."""
    return int(client.info("stats")["total_commands_processed"])


async def test_lists(store: Store, redis_client: "redis.Redis") -> None:
    publish(redis_client)
    generation, entries = await read(store)
    assert entries == USERS[42]
    assert (generation.name, generation.model_version) == ("g1", "3")
    assert generation.top_n == 5
    assert (await read(store, length=2))[1] == USERS[42][:2]
    assert (await read(store, 13))[1] == []  # known, with nothing left to recommend
    assert (await read(store, 999))[1] is None


async def test_steady_state_is_one_round_trip(
    store: Store, redis_client: "redis.Redis"
) -> None:
    """Four commands, sent together, and none for what does not change."""
    publish(redis_client)
    await read(store)
    before = n_calls(redis_client)
    for _ in range(10):
        await read(store)
    assert n_calls(redis_client) - before == 4 * 10 + 1  # one is n_calls' own


async def test_trust_saves_round_trips(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    """For a while the pointer counts as read, and no longer."""
    publish(redis_client)
    store = Store(redis_url, trust_seconds=60)
    for _ in range(2):  # the second time it is known to be the current one
        await store.generation()
    publish(redis_client, "g2")
    assert (await store.generation()).name == "g1"
    store._trust = 0
    await read(store)
    assert (await store.generation()).name == "g2"
    await store.close()


async def test_nothing_published(store: Store, redis_client: "redis.Redis") -> None:
    with pytest.raises(NoGeneration, match="recs:current"):
        await store.generation()
    publish(redis_client)
    await read(store)
    redis_client.flushall()
    with pytest.raises(NoGeneration):
        await read(store)


async def test_removed_generation_is_left(
    store: Store, redis_client: "redis.Redis"
) -> None:
    """A user is not taken for unknown because the list went with its generation."""
    publish(redis_client, "g1")
    await read(store)
    publish(redis_client, "g2")
    redis_client.delete(*redis_client.keys("recs:g1:*"))
    generation, entries = await read(store)
    assert (generation.name, entries) == ("g2", USERS[42])


async def test_memory_is_bounded(store: Store, redis_client: "redis.Redis") -> None:
    for number in range(5):
        publish(redis_client, f"g{number}")
        await read(store)
    assert len(store._kept) == MAX_GENERATIONS


async def test_concurrent_calls_share_one_load(
    store: Store, redis_client: "redis.Redis"
) -> None:
    publish(redis_client)
    before = n_calls(redis_client)
    await asyncio.gather(*(store.generation() for _ in range(50)))
    assert n_calls(redis_client) - before == 3 + 7 + 1


async def test_load_survives_a_cancelled_call(
    store: Store, redis_client: "redis.Redis"
) -> None:
    publish(redis_client)
    first, second = (asyncio.create_task(store.generation()) for _ in range(2))
    while not store._loading:
        await asyncio.sleep(0)
    first.cancel()
    assert (await second).name == "g1"


async def test_dangling_pointer_is_corrupt(
    store: Store, redis_client: "redis.Redis"
) -> None:
    redis_client.set(KEYS.current, "g9")
    with pytest.raises(CorruptGeneration, match="recs:g9:meta"):
        await store.generation()
    publish(redis_client, "g9")
    assert (await store.generation()).name == "g9"


@pytest.mark.parametrize("entry", ["50", "x:1", "50:nan", b"\xff\xfe:1"])
async def test_garbled_entry_is_corrupt(
    store: Store, redis_client: "redis.Redis", entry: str | bytes
) -> None:
    """The error names the list, and the connection still works."""
    publish(redis_client)
    redis_client.rpush("recs:g1:user:42", entry)
    with pytest.raises(CorruptGeneration, match="recs:g1:user:42"):
        await read(store)
    assert (await read(store, 7))[1] == USERS[7]


async def test_refusals_of_redis_are_passed_on(own_server: RedisServer) -> None:
    errors: list[None] = []
    store = Store(own_server.url, on_error=lambda: errors.append(None))
    with redis.Redis.from_url(own_server.url) as client:
        publish(client)
        await read(store)
        client.execute_command("ACL SETUSER default -lrange")
        with pytest.raises(StoreUnavailable, match="Redis refuses: .*lrange"):
            await read(store)
        client.execute_command("ACL SETUSER default +@all")
    assert (await read(store))[1] == USERS[42]
    assert len(errors) == 1
    await store.close()


async def test_a_refresh_that_fails_or_is_cancelled_is_followed_by_another(
    store: Store, redis_client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(redis_client)
    store._trust = 60
    for _ in range(2):
        await store.generation()

    async def fail() -> Generation:
        raise RuntimeError("a bug")

    monkeypatch.setattr(store, "_read_generation", fail)
    for is_cancelled in (False, True):
        store._trusted_until = time.monotonic() + 20
        await store.generation()
        task = store._refreshing
        assert task is not None
        if is_cancelled:
            task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
        assert store._refreshing is None
    monkeypatch.undo()
    publish(redis_client, "g2")
    await store.generation()
    assert store._refreshing is not None
    await store._refreshing
    assert (await store.generation()).name == "g2"


@pytest.mark.slow
async def test_killed_redis_fails_at_once_and_comes_back(
    own_server: RedisServer,
) -> None:
    store = Store(own_server.url)
    client = redis.Redis.from_url(own_server.url)
    publish(client)
    for _ in range(3):
        await read_at_once(store, 40)  # many connections, each of which breaks
        own_server.kill()
        start = time.monotonic()
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                await read(store)
        assert time.monotonic() - start < 2
        own_server.start()
        with pytest.raises(NoGeneration):  # Redis kept nothing
            await store.generation()
        publish(client)
    await read_at_once(store, 40)
    client.close()
    await store.close()
