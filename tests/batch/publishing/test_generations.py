"""Generations in a real Redis."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
import redis

from batch.errors import BatchError, LockHeld
from batch.publishing import connections, generations, lock, shared_keys, writers
from batch.publishing.connections import Client
from batch.publishing.generations import Meta, locked
from batch.publishing.lock import Lock
from batch.publishing.shared_keys import Item
from batch.scoring.ranking import Ranking
from lookup.shared import contract
from tests import staged
from tests.conftest import KEYS, RedisServer, free_port, wait_until

POPULAR = [(50, 9.0)]
ITEMS = [
    Item(50, "Star Wars (1977)", ["Action", "Sci-Fi"], 1977),
    Item(73, "Misérables, Les (1995)", [], None),
]
NAMES = [f"20261124T18490{i}Z-f16ffa" for i in range(5)]
DIED = "20261124T190000Z-000000"
META = Meta("MovieLensXGB", "3", "2026-11-24T01:30:00Z", 2, 2, 4, 4, 100, "ml-1m", "f")


def ranking(user_id: int, *entries: tuple[int, float]) -> Ranking:
    """Lay out one user's list."""
    item_ids = np.array([item_id for item_id, _ in entries], dtype=np.int32)
    scores = np.array([score for _, score in entries], dtype=np.float32)
    return Ranking(user_id, item_ids, scores)


RANKINGS = [ranking(1, (50, 3.14159), (73, -0.5)), ranking(2, (73, 1.0)), ranking(3)]


def publish(client: Client, *names: str, published_at: float | None = None) -> None:
    """Write generations and make one after the other current."""
    for generation in names:
        with locked(client) as held:
            publish_within(client, held, generation, published_at)


def publish_within(
    client: Client, held: Lock, generation: str, published_at: float | None = None
) -> None:
    """Write a generation and make it current, under the lock."""
    staged.stage(client, generation, RANKINGS, POPULAR, ITEMS)
    shared_keys.write_meta(client, generation, META)
    held.make_current(generation, published_at or time.time())


@pytest.fixture
def own_client(own_server: RedisServer) -> Iterator[Client]:
    """A client of a server that a test may harm."""
    with redis.Redis.from_url(own_server.url, decode_responses=True) as server:
        yield Client(server, KEYS)


def test_a_generation_is_what_the_contract_says(single: Client) -> None:
    publish(single, "g1")
    assert single.redis.get("recs:current") == "g1"
    assert single.redis.zrange("recs:generations", 0, -1) == ["g1"]
    assert single.redis.lrange("recs:g1:user:1", 0, 4) == ["50:3.1416", "73:-0.5000"]
    assert single.redis.lrange("recs:g1:user:3", 0, -1) == [contract.NO_ITEMS]
    assert single.redis.lrange("recs:g1:popular", 0, -1) == ["50:9.0000"]
    star_wars = json.loads(str(single.redis.hget("recs:g1:items", "50")))
    assert star_wars == {
        "title": "Star Wars (1977)",
        "genres": ["Action", "Sci-Fi"],
        "year": 1977,
        "n_ratings": 0,
    }
    assert "Misérables" in str(single.redis.hget("recs:g1:items", "73"))
    meta = {
        "model_name": "MovieLensXGB",
        "model_version": "3",
        "scored_at": "2026-11-24T01:30:00Z",
        "n_users": "2",
        "n_items": "2",
        "n_ratings": "4",
        "n_pairs": "4",
        "top_n": "100",
        "release": "ml-1m",
        "fingerprint": "f",
        "user_ids": "positive integer",
        "item_ids": "positive integer",
        "source": "personal",
    }
    assert generations.current(single) == ("g1", meta)
    assert single.redis.get("recs:lock") is None


def test_only_one_batch_at_a_time(client: Client) -> None:
    key = client.keys.lock
    with locked(client):
        with (
            pytest.raises(LockHeld, match=rf"{re.escape(key)}: .+:\d+; wait for it"),
            locked(client),
        ):
            pass
        assert 0 < client.redis.ttl(key) <= lock.LOCK_SECONDS
    with locked(client):
        pass
    assert not client.redis.exists(key)


def test_the_lock_is_renewed_while_it_is_held(
    single: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK_SECONDS", 1)
    with locked(single):
        time.sleep(1.5)
        assert single.redis.exists("recs:lock")


def test_the_lock_of_a_dead_batch_expires(single: Client) -> None:
    single.redis.set("recs:lock", "host:1:dead", px=300)

    def is_free() -> bool:
        with suppress(LockHeld), locked(single):
            return True
        return False

    assert not is_free()
    wait_until(is_free, seconds=3)


def keys(client: Client) -> set[str]:
    """Return all keys."""
    return set(client.redis.scan_iter(count=1000))


def test_a_batch_that_lost_the_lock_changes_nothing(client: Client) -> None:
    """It may have slept while the next batch did all its work."""
    publish(client, "g1")
    key = client.keys.lock
    with locked(client) as mine:
        client.redis.set(key, "another")
        staged.stage(client, DIED, RANKINGS, POPULAR, ITEMS)
        before = keys(client)
        with pytest.raises(BatchError, match=f"lost {re.escape(key)} before {DIED}"):
            mine.make_current(DIED, time.time())
        for keep in ({"g1"}, ()):
            with pytest.raises(BatchError, match="to another batch"):
                generations.remove_unheld(client, mine, keep)
        with pytest.raises(BatchError, match="another batch took over"):
            mine.check()
        assert keys(client) == before
        assert generations.held(client) == ["g1"]
    assert client.redis.get("recs:current") == "g1"
    assert client.redis.get(key) == "another"


def test_leftovers_go_and_what_is_held_or_of_others_stays(client: Client) -> None:
    """Names that are not of our form stay, below our prefix too."""
    assert generations.to_keep(client, 3) == set()
    publish(client, *NAMES[:4])
    staged.stage(client, DIED, RANKINGS, POPULAR, ITEMS)
    others = ["others", "recs:cache:home", f"recs:{DIED}:cache", "recs:g1:user:1"]
    others += ["recs:cache:{a}", f"shop:{DIED}:user:1", f"recs:x:{DIED}:meta"]
    for key in others:
        client.redis.set(key, "stay")
    garbled = [b"recs:cache:\xff", b"recs:%b:user:\xff" % DIED.encode()]  # no UTF-8
    for name in garbled:
        client.redis.set(name, "stay")
    with locked(client) as held:
        generations.remove_leftovers(client, held, 3)
    assert client.redis.delete(*garbled) == 2
    assert generations.held(client) == list(NAMES[1:4])
    left = keys(client) - set(others)
    assert keys(client) >= set(others)
    owners = {client.keys.generation_of(key) for key in left}
    assert owners == {None, *NAMES[1:4]}
    assert left - {client.keys.current, client.keys.generations} == {
        key for key in left if client.keys.generation_of(key)
    }


def test_rolling_back(client: Client) -> None:
    """One goes back as far as generations are held, and the order stays."""
    with pytest.raises(BatchError, match="None is served.*none"):
        generations.previous(client)
    publish(client, "b", "a", "c")
    for name, older in (("a", "b"), ("b", None)):
        assert generations.previous(client) == name
        with locked(client) as held:
            held.make_current(name, time.time())
        meta = client.redis.hgetall(f"recs:{name}:meta")
        assert generations.current(client) == (name, meta)
        assert generations.held(client) == ["b", "a", "c"]
        assert generations.to_keep(client, 3) == {"a", "b", "c"}
        assert generations.to_keep(client, 2) == {name, older or "a"}
    with pytest.raises(BatchError, match=r"b is served.*\(b, a, c\) none is older"):
        generations.previous(client)


@pytest.mark.parametrize(
    ("served", "n", "kept"),
    [
        *(("e", 2, "de"), ("e", 3, "cde"), ("e", 9, "abcde"), ("d", 2, "cd")),
        *(("d", 3, "cde"), ("c", 3, "bcd"), ("b", 2, "ab"), ("a", 2, "ab")),
        ("a", 3, "abc"),
    ],
)
def test_as_many_are_kept_as_are_wanted(
    single: Client, served: str, n: int, kept: str
) -> None:
    """The served one and the one before it, even if many are newer."""
    publish(single, *"abcde")
    single.redis.set("recs:current", served)
    assert generations.to_keep(single, n) == set(kept)


def test_what_was_rolled_back_goes_with_the_next_publication(single: Client) -> None:
    """A later rollback leads to what was served before."""
    publish(single, *"abcd")
    with locked(single) as held:
        held.make_current("b", time.time())
        publish_within(single, held, "e")
    assert generations.to_keep_after(single, "e", "b", 3) == {"a", "b", "e"}
    assert generations.to_keep_after(single, "e", "b", 2) == {"b", "e"}
    assert generations.to_keep_after(single, "e", "d", 3) == {"c", "d", "e"}
    assert generations.to_keep_after(single, "e", None, 9) == {*"abcde"}


def test_a_clock_that_is_set_back_changes_no_order(single: Client) -> None:
    for generation, published_at in (("g1", 2e9), ("g2", 1e9), ("g3", 1e9 + 1)):
        publish(single, generation, published_at=published_at)
    assert generations.held(single) == ["g1", "g2", "g3"]
    assert generations.to_keep(single, 2) == {"g2", "g3"}
    assert generations.previous(single) == "g2"
    with locked(single) as held:
        held.make_current("g2", 1e9)
    assert generations.held(single) == ["g1", "g2", "g3"]


def test_a_redis_that_a_dead_batch_left_full_is_emptied_of_it(
    own_client: Client,
) -> None:
    """Without room Redis refuses even the lock."""
    publish(own_client, "g1")
    own_client.redis.rpush(f"recs:{DIED}:user:1", *["x" * 1000] * 1000)
    used = int(own_client.redis.info("memory")["used_memory"])
    own_client.redis.config_set("maxmemory", used - 200_000)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        own_client.redis.set("more", "x")
    with locked(own_client):
        assert own_client.redis.keys(f"recs:{DIED}:*") == []
    assert own_client.redis.get("recs:current") == "g1"


def test_a_generation_can_be_saved(own_server: RedisServer, own_client: Client) -> None:
    publish(own_client, "g1")
    own_client.redis.bgsave()  # a save that does not hold what comes next
    own_client.redis.set("recs:current", "g2")
    generations.save(own_client, own_server.folder)
    own_server.kill()
    own_server.start()
    assert own_client.redis.get("recs:current") == "g2"


def test_a_save_that_fails_or_does_not_end_is_an_error(
    own_server: RedisServer, own_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis serves meanwhile."""
    publish(own_client, "g1")
    folder = own_server.folder
    (in_the_way := folder / "dump.rdb").mkdir()
    with pytest.raises(BatchError, match=rf"cannot save it in {folder} \(see .*log\)"):
        generations.save(own_client, folder)
    in_the_way.rmdir()
    own_client.redis.config_set("rdb-key-save-delay", 100_000)
    own_client.redis.bgsave()
    monkeypatch.setattr(generations, "SAVE_SECONDS", 0.2)
    with pytest.raises(BatchError, match=r"\(not within 0 s\), and it is lost"):
        generations.save(own_client, folder)
    assert own_client.redis.get("recs:current") == "g1"


def test_a_server_that_comes_back_with_half_of_it_serves_the_former(
    own_server: RedisServer, own_client: Client
) -> None:
    """It had saved the lock and some lists, but not the meta."""
    publish(own_client, "g1")
    with locked(own_client) as held:
        staged.stage(own_client, "g2", RANKINGS, POPULAR, ITEMS)
        own_client.redis.save()
        shared_keys.write_meta(own_client, "g2", META)
        own_server.kill()
        own_server.start()
        held.check()
        assert own_client.redis.keys("recs:g2:user:*")
        with pytest.raises(BatchError, match="g2 vanished.*did Redis restart"):
            held.make_current("g2", time.time())
    assert own_client.redis.get("recs:current") == "g1"


def test_a_list_that_existed_is_refused(single: Client) -> None:
    single.redis.rpush("recs:g1:user:290", "50:1.0000")
    rankings = [ranking(user_id, (50, 1.0)) for user_id in range(1, 301)]
    ids = staged.ids_of(rankings)
    with (
        pytest.raises(BatchError, match="is not new: recs:g1:user:290 existed"),
        writers.list_writer(single, KEYS.of("g1").user, ids.users, ids.items) as lists,
    ):
        lists.write(rankings)
    # no unread answer is left on a connection
    assert single.redis.get("recs:current") is None


@pytest.mark.parametrize("password", ["", ":secret@"])
def test_an_unreachable_redis_is_named_without_its_password(password: str) -> None:
    address = f"127.0.0.1:{free_port()}/0"
    with (
        pytest.raises(BatchError, match=f"{address} failed.*REDIS_URL") as raised,
        connections.connect(f"redis://{password}{address}"),
    ):
        pass
    assert "secret" not in str(raised.value)


def test_a_broken_connection_doubles_no_list(own_server: RedisServer) -> None:
    """What was on its way is not sent again."""
    rankings = [ranking(user_id, (50, 2.0), (73, 1.0)) for user_id in range(1, 1001)]
    ids = staged.ids_of(rankings)
    with redis.Redis.from_url(own_server.url) as admin:
        with (
            pytest.raises(BatchError, match="failed: .*is the server up"),
            connections.connect(own_server.url) as client,
            writers.list_writer(
                client, KEYS.of("g1").user, ids.users, ids.items
            ) as lists,
        ):
            lists.write(rankings[:700])
            admin.client_kill_filter(_type="normal", skipme=True)
            lists.write(rankings[700:])
        keys = list(admin.scan_iter(match="recs:g1:user:*", count=1000))
        assert 128 <= len(keys) < 1000
        assert {admin.llen(key) for key in keys} == {2}
