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
from batch.publishing import (
    cluster,
    connections,
    generations,
    lock,
    shared_keys,
    writers,
)
from batch.publishing.connections import Client
from batch.publishing.generations import Meta, locked
from batch.publishing.shared_keys import Item
from batch.scoring.ranking import Ranking
from lookup.shared import contract
from tests import staged
from tests.conftest import RedisServer, free_port, wait_until

POPULAR = [(50, 9.0)]
ITEMS = [
    Item(50, "Star Wars (1977)", ["Action", "Sci-Fi"], 1977),
    Item(73, "Misérables, Les (1995)", [], None),
]
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
            staged.stage(client, generation, RANKINGS, POPULAR, ITEMS)
            shared_keys.write_meta(client, generation, META)
            held.make_current(generation, published_at or time.time())


@pytest.fixture
def own_client(own_server: RedisServer) -> Iterator[redis.Redis]:
    """A client of a server that a test may harm."""
    with redis.Redis.from_url(own_server.url, decode_responses=True) as client:
        yield client


def test_a_generation_is_what_the_contract_says(redis_client: redis.Redis) -> None:
    publish(redis_client, "g1")
    assert redis_client.get("recs:current") == "g1"
    assert redis_client.zrange("recs:generations", 0, -1) == ["g1"]
    assert redis_client.lrange("recs:g1:user:1", 0, 4) == ["50:3.1416", "73:-0.5000"]
    assert redis_client.lrange("recs:g1:user:3", 0, -1) == [contract.NO_ITEMS]
    assert redis_client.lrange("recs:g1:popular", 0, -1) == ["50:9.0000"]
    star_wars = json.loads(str(redis_client.hget("recs:g1:items", "50")))
    assert star_wars == {
        "title": "Star Wars (1977)",
        "genres": ["Action", "Sci-Fi"],
        "year": 1977,
    }
    assert "Misérables" in str(redis_client.hget("recs:g1:items", "73"))
    meta = {
        "model_name": "MovieLensXGB",
        "model_version": "3",
        "scored_at": "2026-11-24T01:30:00Z",
        "n_users": "2",
        "n_items": "2",
        "n_pairs": "4",
        "top_n": "100",
        "fingerprint": "f00",
    }
    assert generations.current(redis_client) == ("g1", meta)
    assert redis_client.get("recs:lock") is None


def test_only_one_batch_at_a_time(client: Client) -> None:
    key = cluster.lock_key(client)
    with locked(client):
        with (
            pytest.raises(LockHeld, match=rf"{re.escape(key)}: .+:\d+; wait for it"),
            locked(client),
        ):
            pass
        assert 0 < client.ttl(key) <= lock.LOCK_SECONDS
    with locked(client):
        pass
    assert not client.exists(key)


def test_the_lock_is_renewed_while_it_is_held(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LOCK_SECONDS", 1)
    with locked(redis_client):
        time.sleep(1.5)
        assert redis_client.exists("recs:lock")


def test_the_lock_of_a_dead_batch_expires(redis_client: redis.Redis) -> None:
    redis_client.set("recs:lock", "host:1:dead", px=300)

    def is_free() -> bool:
        with suppress(LockHeld), locked(redis_client):
            return True
        return False

    assert not is_free()
    wait_until(is_free, seconds=3)


def keys(client: Client) -> set[str]:
    """Return all keys."""
    return set(client.scan_iter(count=1000))


def test_a_batch_that_lost_the_lock_changes_nothing(client: Client) -> None:
    """It may have slept while the next batch did all its work."""
    publish(client, "g1")
    key = cluster.lock_key(client)
    with locked(client) as mine:
        client.set(key, "another")
        staged.stage(client, "g2", RANKINGS, POPULAR, ITEMS)
        before = keys(client)
        with pytest.raises(BatchError, match=f"lost {re.escape(key)} before g2"):
            mine.make_current("g2", time.time())
        for keep in ({"g1"}, ()):
            with pytest.raises(BatchError, match="to another batch"):
                generations.remove_unheld(client, mine, keep)
        with pytest.raises(BatchError, match="another batch took over"):
            mine.check()
        assert keys(client) == before
        assert generations.held(client) == ["g1"]
    assert client.get("recs:current") == "g1"
    assert client.get(key) == "another"


def test_leftovers_go_and_the_previous_generation_stays(client: Client) -> None:
    assert generations.to_keep(client) == set()
    publish(client, "g1", "g2", "g3")
    staged.stage(client, "died", RANKINGS, POPULAR, ITEMS)
    client.set("others", "stay")
    with locked(client) as held:
        generations.remove_leftovers(client, held)
    assert generations.held(client) == ["g2", "g3"]
    owners = {contract.generation_of(key) for key in keys(client) - {"others"}}
    assert owners == {None, "g2", "g3"}
    assert client.get("others") == "stay"


def test_rolling_back(client: Client) -> None:
    """One goes back as far as generations are held, and the order stays."""
    with pytest.raises(BatchError, match="None is served.*none"):
        generations.previous(client)
    publish(client, "b", "a")
    assert generations.previous(client) == "b"
    with locked(client) as held:
        held.make_current("b", time.time())
    assert generations.current(client) == ("b", client.hgetall("recs:b:meta"))
    assert generations.held(client) == ["b", "a"]
    assert generations.to_keep(client) == {"a", "b"}
    with pytest.raises(BatchError, match=r"b is served.*\(b, a\) none is older"):
        generations.previous(client)


def test_a_clock_that_is_set_back_changes_no_order(redis_client: redis.Redis) -> None:
    for generation, published_at in (("g1", 2e9), ("g2", 1e9), ("g3", 1e9 + 1)):
        publish(redis_client, generation, published_at=published_at)
    assert generations.held(redis_client) == ["g1", "g2", "g3"]
    assert generations.to_keep(redis_client) == {"g2", "g3"}
    assert generations.previous(redis_client) == "g2"
    with locked(redis_client) as held:
        held.make_current("g2", 1e9)
    assert generations.held(redis_client) == ["g1", "g2", "g3"]


def test_a_redis_that_a_dead_batch_left_full_is_emptied_of_it(
    own_client: redis.Redis,
) -> None:
    """Without room Redis refuses even the lock."""
    publish(own_client, "g1")
    own_client.rpush("recs:died:user:1", *["x" * 1000] * 1000)
    used = int(own_client.info("memory")["used_memory"])
    own_client.config_set("maxmemory", used - 200_000)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        own_client.set("more", "x")
    with locked(own_client):
        assert own_client.keys("recs:died:*") == []
    assert own_client.get("recs:current") == "g1"


def test_a_generation_can_be_saved(
    own_server: RedisServer, own_client: redis.Redis
) -> None:
    publish(own_client, "g1")
    generations.save(own_client)
    own_server.kill()
    own_server.start()
    assert own_client.get("recs:current") == "g1"


def test_a_server_that_comes_back_with_half_of_it_serves_the_former(
    own_server: RedisServer, own_client: redis.Redis
) -> None:
    """It had saved the lock and some lists, but not the meta."""
    publish(own_client, "g1")
    with locked(own_client) as held:
        staged.stage(own_client, "g2", RANKINGS, POPULAR, ITEMS)
        own_client.save()
        shared_keys.write_meta(own_client, "g2", META)
        own_server.kill()
        own_server.start()
        held.check()
        assert own_client.keys("recs:g2:user:*")
        with pytest.raises(BatchError, match="g2 vanished.*did Redis restart"):
            held.make_current("g2", time.time())
    assert own_client.get("recs:current") == "g1"


def test_a_list_that_existed_is_refused(redis_client: redis.Redis) -> None:
    redis_client.rpush("recs:g1:user:290", "50:1.0000")
    rankings = [ranking(user_id, (50, 1.0)) for user_id in range(1, 301)]
    with (
        pytest.raises(BatchError, match="g1 is not new: recs:g1:user:290 existed"),
        writers.list_writer(redis_client, "g1") as lists,
    ):
        lists.write(rankings)
    # no unread answer is left on a connection
    assert redis_client.get("recs:current") is None


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
    with redis.Redis.from_url(own_server.url) as admin:
        with (
            pytest.raises(BatchError, match="failed: .*is the server up"),
            connections.connect(own_server.url) as client,
            writers.list_writer(client, "g1") as lists,
        ):
            lists.write(rankings[:700])
            admin.client_kill_filter(_type="normal", skipme=True)
            lists.write(rankings[700:])
        keys = list(admin.scan_iter(match="recs:g1:user:*", count=1000))
        assert 128 <= len(keys) < 1000
        assert {admin.llen(key) for key in keys} == {2}


def test_a_full_redis_is_reported_as_such(own_server: RedisServer) -> None:
    rankings = [ranking(user_id, (50, 1.0)) for user_id in range(1, 3001)]
    with (
        pytest.raises(BatchError, match="it is full: give it more memory"),
        connections.connect(own_server.url) as client,
    ):
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", used + 100_000)
        staged.stage(client, "g1", rankings, POPULAR, ITEMS)


def test_a_user_without_the_right_to_info_can_publish(own_server: RedisServer) -> None:
    with redis.Redis.from_url(own_server.url) as admin:
        words = ("worker", "on", ">secret", "~*", "+@all", "-info")
        admin.execute_command("ACL SETUSER", *words)
    url = own_server.url.replace("//", "//worker:secret@")
    with connections.connect(url) as client:
        connections.check_writable(client, url)
        publish(client, "g1")
