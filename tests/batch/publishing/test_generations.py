"""Generations in a real Redis."""

import json
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import redis

from batch.errors import BatchError, LockHeld
from batch.publishing import connections, generations
from batch.publishing.generations import Item, Lock, Meta
from batch.scoring.ranking import Ranking
from lookup.shared import contract
from tests import staged
from tests.conftest import RedisServer, free_port, wait_until

ITEMS = [
    Item(50, "Star Wars (1977)", ["Action", "Sci-Fi"], 1977),
    Item(73, "Misérables, Les (1995)", [], None),
]
META = Meta("MovieLensXGB", "3", "2026-11-24T01:30:00Z", 2, 2, 4, 100, "f00")


def ranking(user_id: int, *entries: tuple[int, float]) -> Ranking:
    """Lay out one user's list."""
    item_ids = np.array([item_id for item_id, _ in entries], dtype=np.int32)
    scores = np.array([score for _, score in entries], dtype=np.float32)
    return Ranking(user_id, item_ids, scores)


RANKINGS = [ranking(1, (50, 3.14159), (73, -0.5)), ranking(2, (73, 1.0)), ranking(3)]


def publish_one(
    client: connections.Client, generation: str, rankings: Sequence[Ranking] = RANKINGS
) -> None:
    """Write a generation and make it current."""
    with Lock(client) as lock:
        staged.stage(client, generation, rankings, [(50, 9.0)], ITEMS)
        generations.describe(client, generation, META)
        lock.flip(generation, time.time())


def test_a_generation_is_what_the_contract_says(redis_client: redis.Redis) -> None:
    """redis-cli is enough to see what is served."""
    publish_one(redis_client, "g1")
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
    assert redis_client.hgetall("recs:g1:meta") == {
        "model_name": "MovieLensXGB",
        "model_version": "3",
        "scored_at": "2026-11-24T01:30:00Z",
        "n_users": "2",
        "n_items": "2",
        "n_pairs": "4",
        "top_n": "100",
        "fingerprint": "f00",
    }
    assert redis_client.get("recs:lock") is None
    assert generations.current(redis_client) == (
        "g1",
        redis_client.hgetall("recs:g1:meta"),
    )


def test_a_staged_generation_is_not_served_before_the_flip(
    redis_client: redis.Redis,
) -> None:
    publish_one(redis_client, "g1")
    staged.stage(redis_client, "g2", RANKINGS, [(50, 9.0)], ITEMS)
    assert redis_client.get("recs:current") == "g1"


def test_more_users_than_a_pipeline_holds(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "COMMANDS_PER_TRIP", 7)
    monkeypatch.setattr(generations, "LISTS_PER_TRIP", 7)
    monkeypatch.setattr(connections, "KEYS_PER_TRIP", 7)
    rankings = [ranking(user_id, (50, 1.0)) for user_id in range(1, 31)]
    items = [Item(item_id, str(item_id), [], None) for item_id in range(1, 20)]
    n_users = staged.stage(redis_client, "g1", rankings, [(50, 9.0)], items)
    assert n_users == 30
    assert len(redis_client.keys("recs:g1:user:*")) == 30
    assert redis_client.hlen("recs:g1:items") == 19


def test_a_generation_that_lost_a_list_is_refused(redis_client: redis.Redis) -> None:
    """As a server that evicts keys would lose it."""

    def losing() -> Iterator[Ranking]:
        yield from (ranking(user_id, (50, 1.0)) for user_id in range(1, 1001))
        redis_client.delete("recs:g1:user:7")
        yield ranking(1001, (50, 1.0))

    with pytest.raises(BatchError, match="1000 of 1001 lists.*maxmemory-policy"):
        staged.stage(redis_client, "g1", losing(), [(50, 9.0)], ITEMS)


def test_only_one_batch_at_a_time(redis_client: redis.Redis) -> None:
    with Lock(redis_client):
        with pytest.raises(LockHeld, match=r"recs:lock: .+:\d+; wait for it"):
            Lock(redis_client).__enter__()
        assert 0 < redis_client.ttl("recs:lock") <= generations.LOCK_SECONDS
    with Lock(redis_client):
        pass


def test_the_lock_is_renewed_while_it_is_held(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "LOCK_SECONDS", 1)
    with Lock(redis_client):
        time.sleep(1.5)
        assert redis_client.exists("recs:lock")


def test_who_lost_the_lock_can_neither_flip_nor_release(
    redis_client: redis.Redis,
) -> None:
    publish_one(redis_client, "g1")
    with Lock(redis_client) as lock:
        redis_client.set("recs:lock", "somebody else")
        with pytest.raises(BatchError, match="lost recs:lock before g2"):
            lock.flip("g2", time.time())
    assert redis_client.get("recs:current") == "g1"
    assert redis_client.get("recs:lock") == "somebody else"


def test_retire_keeps_what_it_is_told_and_sweeps_the_rest(
    redis_client: redis.Redis,
) -> None:
    for generation in ("g1", "g2", "g3"):
        publish_one(redis_client, generation)
    staged.stage(redis_client, "died", RANKINGS, [(50, 9.0)], ITEMS)
    redis_client.set("others", "stay")
    with Lock(redis_client) as lock:
        generations.retire(redis_client, lock, {"g2", "g3"})
    assert generations.generations(redis_client) == ["g2", "g3"]
    assert redis_client.keys("recs:g1:*") == redis_client.keys("recs:died:*") == []
    assert redis_client.exists("recs:g2:meta", "recs:g3:meta", "recs:current") == 3
    assert redis_client.get("others") == "stay"


def test_the_one_before_is_kept(redis_client: redis.Redis) -> None:
    """Also when a batch died before it could retire, and after a rollback."""
    assert generations.kept(redis_client) == set()
    for generation in ("g1", "g2", "g3"):
        publish_one(redis_client, generation)
    assert generations.kept(redis_client) == {"g2", "g3"}
    with Lock(redis_client) as lock:
        lock.flip("g1", time.time())
    assert generations.kept(redis_client) == {"g1", "g2"}


def test_a_clock_that_is_set_back_changes_no_order(redis_client: redis.Redis) -> None:
    """What is served last is rolled back from, to what was served before it."""
    for generation, published_at in (("g1", 2e9), ("g2", 1e9), ("g3", 1e9 + 1)):
        staged.stage(redis_client, generation, RANKINGS, [(50, 9.0)], ITEMS)
        generations.describe(redis_client, generation, META)
        with Lock(redis_client) as lock:
            lock.flip(generation, published_at)
    assert generations.generations(redis_client) == ["g1", "g2", "g3"]
    assert generations.kept(redis_client) == {"g2", "g3"}
    assert generations.before(redis_client) == "g2"
    with Lock(redis_client) as lock:
        lock.flip("g2", 1e9)
    assert generations.generations(redis_client) == ["g1", "g2", "g3"]


def test_who_lost_the_lock_removes_nothing(redis_client: redis.Redis) -> None:
    """It may have slept through the next batch's whole work."""
    publish_one(redis_client, "g1")
    with Lock(redis_client) as lock:
        redis_client.set("recs:lock", "somebody else")
        staged.stage(redis_client, "g2", RANKINGS, [(50, 9.0)], ITEMS)
        before = set(redis_client.keys("*"))
        for keep in ({"g1"}, ()):
            with pytest.raises(BatchError, match="lost recs:lock to another batch"):
                generations.retire(redis_client, lock, keep)
        with pytest.raises(BatchError, match="lost recs:lock to another batch"):
            generations.retire(
                redis_client, lock, generations.generations(redis_client)
            )
        assert set(redis_client.keys("*")) == before
        assert generations.generations(redis_client) == ["g1"]


def test_a_generation_that_failed_is_discarded(redis_client: redis.Redis) -> None:
    publish_one(redis_client, "g1")
    before = set(redis_client.keys("*"))
    with Lock(redis_client) as lock:
        staged.stage(redis_client, "g2", RANKINGS, [(50, 9.0)], ITEMS)
        generations.describe(redis_client, "g2", META)
        generations.retire(redis_client, lock, generations.generations(redis_client))
    assert set(redis_client.keys("*")) == before


def test_a_redis_that_a_dead_batch_left_full_is_emptied_of_it(
    own_server: RedisServer,
) -> None:
    """Without room the lock itself is refused, and nobody would ever clean up."""
    with redis.Redis.from_url(own_server.url, decode_responses=True) as client:
        publish_one(client, "g1")
        client.rpush("recs:died:user:1", *["x" * 1000] * 1000)
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", used - 200_000)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            client.set("more", "x")
        with Lock(client):
            assert client.keys("recs:died:*") == []
        assert client.get("recs:current") == "g1"


def test_a_generation_can_be_saved(own_server: RedisServer) -> None:
    """A kill right after that loses nothing; the embedded server counts on it."""
    with redis.Redis.from_url(own_server.url, decode_responses=True) as client:
        publish_one(client, "g1")
        generations.save(client)
        own_server.kill()
        own_server.start()
        assert client.get("recs:current") == "g1"


def test_a_server_that_comes_back_with_half_of_it_serves_what_it_did(
    own_server: RedisServer,
) -> None:
    """It had saved our lock, and the lists that there were, while we wrote others."""
    with redis.Redis.from_url(own_server.url, decode_responses=True) as client:
        publish_one(client, "g1")
        with Lock(client) as lock:

            def saving() -> Iterator[Ranking]:
                yield from RANKINGS[:2]
                client.save()
                yield from RANKINGS[2:]

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(generations, "LISTS_PER_TRIP", 1)
                staged.stage(client, "g2", saving(), [(50, 9.0)], ITEMS)
            generations.describe(client, "g2", META)
            own_server.kill()
            own_server.start()
            lock.check()
            assert client.keys("recs:g2:user:*")
            with pytest.raises(BatchError, match="g2 vanished.*did Redis restart"):
                lock.flip("g2", time.time())
            # or it comes back before the last of it is written
            generations.complete(client, "g2", [(50, 9.0)], ITEMS)
            generations.describe(client, "g2", META)
            with pytest.raises(BatchError, match="[12] of 3 lists.*did Redis restart"):
                generations.check(client, "g2", [1, 2, 3], 4, len(ITEMS))
        assert client.get("recs:current") == "g1"


def test_rolling_back(redis_client: redis.Redis) -> None:
    """One goes back as far as generations are held, and the order stays."""
    publish_one(redis_client, "b")
    publish_one(redis_client, "a")
    assert generations.before(redis_client) == "b"
    with Lock(redis_client) as lock:
        lock.flip("b", time.time())
    assert redis_client.get("recs:current") == "b"
    assert generations.generations(redis_client) == ["b", "a"]
    with pytest.raises(BatchError, match=r"b is served.*\(b, a\) none is older"):
        generations.before(redis_client)


def test_rolling_back_to_nothing(redis_client: redis.Redis) -> None:
    with pytest.raises(BatchError, match="None is served.*none"):
        generations.before(redis_client)


@pytest.mark.parametrize("password", ["", ":secret@"])
def test_a_redis_that_is_not_there_is_named_without_its_password(password: str) -> None:
    port = free_port()
    url = f"redis://{password}127.0.0.1:{port}/0"
    with (
        pytest.raises(
            BatchError, match=f"127.0.0.1:{port}/0 failed.*REDIS_URL"
        ) as told,
        connections.connect(url),
    ):
        pass
    assert "secret" not in str(told.value)


def test_a_redis_that_dies_under_a_run_is_reported(own_server: RedisServer) -> None:
    def killing() -> Iterator[Ranking]:
        yield from RANKINGS
        own_server.kill()

    with (
        pytest.raises(BatchError, match="failed: .*is the server up"),
        connections.connect(own_server.url) as client,
    ):
        staged.stage(client, "g1", killing(), [(50, 9.0)], ITEMS)


def test_a_connection_that_breaks_doubles_no_list(own_server: RedisServer) -> None:
    """What is on its way then is not sent again."""
    with redis.Redis.from_url(own_server.url) as admin:

        def breaking() -> Iterator[Ranking]:
            for user_id in range(1, 1001):
                if user_id == 700:
                    admin.client_kill_filter(_type="normal", skipme=True)
                yield ranking(user_id, (50, 2.0), (73, 1.0))

        with (
            pytest.raises(BatchError, match="failed: .*is the server up"),
            connections.connect(own_server.url) as client,
        ):
            staged.stage(client, "g1", breaking(), [(50, 9.0)], ITEMS)
        keys = list(admin.scan_iter(match="recs:g1:user:*", count=1000))
        assert 128 <= len(keys) < 1000
        assert {admin.llen(key) for key in keys} == {2}


def test_a_list_that_was_there_is_refused(redis_client: redis.Redis) -> None:
    """Also one of the last trips."""
    redis_client.rpush("recs:g1:user:290", "50:1.0000")
    rankings = [ranking(user_id, (50, 1.0)) for user_id in range(1, 301)]
    with pytest.raises(BatchError, match="g1 is not new"):
        generations.write_lists(redis_client, "g1", rankings)
    # no answer is left on a connection for somebody else to read
    assert redis_client.get("recs:current") is None


def test_a_redis_that_is_full_is_told_as_such(own_server: RedisServer) -> None:
    rankings = [ranking(user_id, (50, 1.0)) for user_id in range(1, 3001)]
    with (
        pytest.raises(BatchError, match="it is full: give it more memory"),
        connections.connect(own_server.url) as client,
    ):
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", used + 100_000)
        staged.stage(client, "g1", rankings, [(50, 9.0)], ITEMS)


def test_who_may_not_ask_what_the_server_is_has_one_server(
    own_server: RedisServer,
) -> None:
    with redis.Redis.from_url(own_server.url) as admin:
        admin.execute_command(
            "ACL SETUSER", "worker", "on", ">secret", "~*", "+@all", "-info"
        )
    url = own_server.url.replace("//", "//worker:secret@")
    with connections.connect(url) as client:
        assert not connections.is_cluster(client)
        publish_one(client, "g1")


def test_the_lock_of_a_batch_that_died_expires(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "LOCK_SECONDS", 1)
    redis_client.set("recs:lock", "host:1:dead", ex=1)

    def taken() -> bool:
        try:
            with Lock(redis_client):
                return True
        except LockHeld:
            return False

    assert not taken()
    attempt: Callable[[], bool] = taken
    wait_until(attempt, seconds=3)
