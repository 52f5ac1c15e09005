"""What is written beside users' lists, in a real Redis and a small world."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from batch import warehouse
from batch.errors import BatchError
from batch.features import tables
from batch.publishing import explanations, generations
from batch.scoring.ranking import Ranking
from lookup.shared import contract
from tests import staged, worlds
from tests.batch.publishing.test_generations import ITEMS, ranking
from tests.worlds import Connection


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Give a world where odd users rate odd items and even users even ones."""
    with warehouse.connect(tmp_path_factory.mktemp("spill")) as connection:
        worlds.stage(connection, worlds.checkerboard())
        tables.build(connection, n_cuts=0)
        yield connection


def unseen(connection: Connection, user_id: int) -> Ranking:
    """Rank what a user has not rated, by nothing but item_id."""
    query = "select item_id from int_history where user_id = $1"
    seen = {item_id for (item_id,) in connection.execute(query, [user_id]).fetchall()}
    left = [item_id for item_id in range(1, 41) if item_id not in seen]
    return ranking(user_id, *((item_id, -float(item_id)) for item_id in left))


def write(
    connection: Connection, client: redis.Redis, *rankings: Ranking
) -> list[Ranking]:
    """Let rankings pass, and give what came through."""
    return list(explanations.written(connection, client, "g", rankings))


def entries(client: redis.Redis, key: str) -> list[str]:
    """Read a list."""
    return list(map(str, client.lrange(key, 0, -1)))


def test_reasons_are_parallel_to_the_list(
    board: Connection, redis_client: redis.Redis
) -> None:
    """One to three of the user's own for each of their colour, none for the others."""
    rankings = [unseen(board, user_id) for user_id in (1, 2, 3)]
    assert write(board, redis_client, *rankings) == rankings
    for ranking_ in rankings:
        user_id = ranking_.user_id
        key = contract.because_key("g", user_id)
        told = contract.decode_because(entries(redis_client, key))
        assert len(told) == len(ranking_.item_ids)
        query = "select item_id from int_history where user_id = $1"
        own = {item for (item,) in board.execute(query, [user_id]).fetchall()}
        for item_id, item_ids in zip(ranking_.item_ids.tolist(), told, strict=True):
            assert bool(item_ids) == (item_id % 2 == user_id % 2)
            assert len(item_ids) <= 3
            assert own.issuperset(item_ids)


def test_reasons_have_the_form_of_the_contract(
    board: Connection, redis_client: redis.Redis
) -> None:
    """SQL writes them, to the byte as `contract.encode_because` does."""
    write(board, redis_client, unseen(board, 1))
    texts = entries(redis_client, contract.because_key("g", 1))
    assert texts == contract.encode_because(contract.decode_because(texts))


def test_histories_tell_the_highest_and_the_last(
    board: Connection, redis_client: redis.Redis
) -> None:
    """Ten of each at most, the newest of equals first."""
    write(board, redis_client, unseen(board, 5))
    text = redis_client.get(contract.history_key("g", 5))
    history = contract.decode_history(str(text))
    query = "select item_id from int_history where user_id = 5 order by n_back"
    newest = [(item, 4.0) for (item,) in board.sql(query).fetchall()]
    assert history.n_ratings == 15
    assert history.highest == history.last == newest[:10]


def test_any_part_of_the_users_is_written_by_itself(
    board: Connection, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order, with many to a query or few, it is the same."""
    rankings = [unseen(board, user_id) for user_id in range(1, 8)]
    write(board, redis_client, *rankings)
    whole = contents(redis_client)
    redis_client.flushall()
    monkeypatch.setattr(explanations, "USERS_PER_QUERY", 2)
    write(board, redis_client, *reversed(rankings[3:]))
    write(board, redis_client, *rankings[:3])
    assert contents(redis_client) == whole
    assert len(whole) == 14


def contents(client: redis.Redis) -> dict[str, str]:
    """Dump all that there is."""
    return {str(key): str(client.dump(key)) for key in client.keys("*")}


def test_who_has_seen_everything_has_no_reasons(
    board: Connection, redis_client: redis.Redis
) -> None:
    """Redis keeps no empty list."""
    write(board, redis_client, ranking(1), unseen(board, 2))
    key = contract.because_key("g", 1)
    assert redis_client.lrange(key, 0, -1) == [contract.NO_ITEMS]


def test_nobody_is_no_trouble(board: Connection, redis_client: redis.Redis) -> None:
    assert write(board, redis_client) == []
    assert redis_client.keys("*") == []


def test_reasons_of_an_old_generation_are_not_added_to(
    board: Connection, redis_client: redis.Redis
) -> None:
    write(board, redis_client, unseen(board, 1))
    with pytest.raises(BatchError, match="g is not new: some of its reasons"):
        write(board, redis_client, unseen(board, 1))


@pytest.mark.parametrize(
    "key", ["history:2", "because:3", "similar:7", "about", "meta"]
)
def test_what_was_lost_is_missed(
    board: Connection, redis_client: redis.Redis, key: str
) -> None:
    """As a server that evicts keys would lose it, before it is served."""
    write(board, redis_client, *map(ranking, range(1, 4)))
    item_ids = explanations.write_similar(board, redis_client, "g", top_n=5)
    generations.tell(redis_client, "g", contract.About(1, 2, [], [1], None, {}))
    redis_client.hset(contract.meta_key("g"), "top_n", "5")
    explanations.check(redis_client, "g", [1, 2, 3], item_ids)
    assert redis_client.delete(f"recs:g:{key}") == 1
    with pytest.raises(BatchError, match=r"holds 47 of 48 keys like recs:g:because:1"):
        explanations.check(redis_client, "g", [1, 2, 3], item_ids)


def test_similar_items_are_lists_like_others(
    board: Connection, redis_client: redis.Redis
) -> None:
    """Of one colour, best first, each item but itself."""
    explanations.write_similar(board, redis_client, "g", top_n=5)
    assert len(redis_client.keys("recs:g:similar:*")) == 40
    for item_id in range(1, 41):
        key = contract.similar_key("g", item_id)
        found = contract.decode(entries(redis_client, key))
        others = [other for other, _ in found]
        assert len(found) == 5
        assert item_id not in others
        assert {other % 2 for other in others} == {item_id % 2}
        assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))


def test_a_world_that_nobody_rated_has_nothing_similar(
    redis_client: redis.Redis, tmp_path: Path
) -> None:
    with warehouse.connect(tmp_path) as connection:
        worlds.stage(connection, worlds.World([], [(1, 1990, [])], []))
        tables.build(connection, n_cuts=0)
        explanations.write_similar(connection, redis_client, "g", top_n=5)
    assert redis_client.keys("*") == []


def test_it_goes_with_its_generation(
    board: Connection, redis_client: redis.Redis
) -> None:
    """No key is left of one that is given up."""
    with generations.Lock(redis_client) as lock:
        passing = explanations.written(board, redis_client, "g", [unseen(board, 1)])
        staged.stage(redis_client, "g", passing, [(50, 9.0)], ITEMS)
        explanations.write_similar(board, redis_client, "g", top_n=5)
        generations.tell(redis_client, "g", contract.About(1, 2, [], [1], None, {}))
        assert len(redis_client.keys("recs:g:*")) == 3 + 40 + 3
        generations.retire(redis_client, lock, keep=())
        assert redis_client.keys("recs:g:*") == []
