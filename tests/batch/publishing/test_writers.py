"""The writers and the shared keys, with a real Redis and a small world."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import redis

from batch import warehouse
from batch.errors import BatchError
from batch.features import tables
from batch.publishing import pipeline, shared_keys, verify, writers
from batch.publishing.cluster import Redis
from batch.publishing.connections import Client
from batch.publishing.external_ids import ExternalIds, Ids
from batch.publishing.shared_keys import Item
from batch.scoring.ranking import Ranking
from lookup.shared import contract
from lookup.shared.contract import About
from lookup.shared.keys import CATALOGUE
from tests import worlds
from tests.batch.publishing.test_generations import ITEMS, META, ranking
from tests.conftest import KEYS
from tests.worlds import Connection

NAME = "20261124T184909Z-f16ffa"
ABOUT = About(1, 2, [], [1], None, {})
SAME = ExternalIds.of(range(1, 41))
IDS = Ids(SAME, SAME)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Give a world where odd users rate odd items and even users even ones."""
    with warehouse.connect(tmp_path_factory.mktemp("spill")) as connection:
        worlds.stage(connection, worlds.checkerboard())
        tables.build(connection, n_cuts=0)
        yield connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The Parquet file."""
    return tmp_path / "g.parquet"


def seen(connection: Connection, user_id: int) -> list[int]:
    """Return the items of a user's history, newest first."""
    query = "select item_id from int_history where user_id = $1 order by n_back"
    return [item for (item,) in connection.execute(query, [user_id]).fetchall()]


def unseen(connection: Connection, user_id: int) -> Ranking:
    """Rank what a user has not rated by item_id."""
    left = sorted(set(range(1, 41)) - set(seen(connection, user_id)))
    return ranking(user_id, *((item_id, -float(item_id)) for item_id in left))


def write(
    connection: Connection, client: Redis, path: Path, *blocks: list[Ranking]
) -> None:
    """Write blocks with all writers."""
    own = Client(client, KEYS)
    with writers.open_writers(own, connection, "g", path, IDS) as opened:
        for block in blocks:
            for writer in opened:
                writer.write(block)


def entries(client: Redis, key: str) -> list[str]:
    """Read a list."""
    return list(map(str, client.lrange(key, 0, -1)))


def contents(client: redis.Redis) -> dict[str, str]:
    """Dump all keys."""
    return {str(key): str(client.dump(key)) for key in client.keys("*")}


def test_explanations_are_parallel_to_the_list(
    board: Connection, redis_client: redis.Redis, path: Path
) -> None:
    """One to three of the user's own for items of their colour, none for others."""
    rankings = [unseen(board, user_id) for user_id in (1, 2, 3)]
    write(board, redis_client, path, rankings)
    for one in rankings:
        texts = entries(redis_client, KEYS.of("g").because(one.user_id))
        found = contract.decode_because(texts)
        assert contract.encode_because(found) == texts
        own = set(seen(board, one.user_id))
        for item_id, item_ids in zip(one.item_ids.tolist(), found, strict=True):
            assert bool(item_ids) == (item_id % 2 == one.user_id % 2)
            assert len(item_ids) <= 3
            assert own.issuperset(item_ids)


def test_histories_have_the_highest_and_the_last(
    board: Connection, redis_client: redis.Redis, path: Path
) -> None:
    """Ten of each at most, the newest of equals first."""
    write(board, redis_client, path, [unseen(board, 5)])
    text = redis_client.get(KEYS.of("g").history(5))
    history = contract.decode_history(str(text))
    newest = [(item_id, 4.0) for item_id in seen(board, 5)]
    assert history.n_ratings == 15
    assert history.highest == history.last == newest[:10]


def test_blocks_of_any_size_give_the_same(
    board: Connection,
    redis_client: redis.Redis,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rankings = [unseen(board, user_id) for user_id in range(1, 8)]
    write(board, redis_client, path, rankings)
    whole, table = contents(redis_client), pq.read_table(path)
    redis_client.flushall()
    monkeypatch.setattr(writers, "LISTS_PER_TRIP", 2)
    write(board, redis_client, path, rankings[:3], rankings[3:4], rankings[4:])
    assert contents(redis_client) == whole
    assert len(whole) == 3 * 7
    assert pq.read_table(path) == table


def test_a_user_who_has_seen_everything_has_empty_lists(
    board: Connection, redis_client: redis.Redis, path: Path
) -> None:
    write(board, redis_client, path, [ranking(1), unseen(board, 2)])
    for key in (KEYS.of("g").user(1), KEYS.of("g").because(1)):
        assert entries(redis_client, key) == [contract.NO_ITEMS]


def test_no_users_give_no_keys(
    board: Connection, redis_client: redis.Redis, path: Path
) -> None:
    write(board, redis_client, path)
    assert redis_client.keys("*") == []
    assert pq.read_table(path).num_rows == 0


@pytest.mark.parametrize("key", ["user:1", "because:1"])
def test_keys_that_existed_are_refused(
    board: Connection, redis_client: redis.Redis, path: Path, key: str
) -> None:
    """There is no file then."""
    redis_client.rpush(f"recs:g:{key}", "1")
    with pytest.raises(BatchError, match=f"is not new: recs:g:{key} existed"):
        write(board, redis_client, path, [unseen(board, 1)])
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("user:1", "96 of 97 keys"),
        ("because:3", "96 of 97 keys"),
        ("history:2", "96 of 97 keys"),
        ("similar:7", "96 of 97 keys"),
        ("next:7", "96 of 97 keys"),
        ("popular", "96 of 97 keys"),
        ("new:Drama", "96 of 97 keys"),
        ("about", "96 of 97 keys"),
        ("meta", "96 of 97 keys"),
        ("items", "0 of 2 items"),
    ],
)
def test_a_lost_key_is_missed(
    board: Connection,
    single: Client,
    redis_client: redis.Redis,
    path: Path,
    key: str,
    found: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as by a server that evicts."""
    monkeypatch.setattr(pipeline, "KEYS_PER_TRIP", 7)
    write(board, redis_client, path, list(map(ranking, range(1, 4))))
    shared_keys.write_items(single, "g", ITEMS)
    written = shared_keys.write_catalogue(single, "g", board, 5, SAME)
    lists = {
        KEYS.of("g").similar: shared_keys.read_similar(board, 5),
        KEYS.of("g").next: shared_keys.read_next(board),
    }
    for key_of, some in lists.items():
        written += shared_keys.write_lists(single, key_of, some, SAME)
    shared_keys.write_about(single, "g", ABOUT)
    shared_keys.write_meta(single, "g", META)
    verify.verify(single, "g", [1, 2, 3], len(ITEMS), written)
    assert single.redis.delete(f"recs:g:{key}") == 1
    with pytest.raises(BatchError, match=f"{found}.*maxmemory-policy"):
        verify.verify(single, "g", [1, 2, 3], len(ITEMS), written)


def test_more_items_than_a_trip_takes(
    single: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_keys, "KEYS_PER_TRIP", 7)
    items = [Item(item_id, str(item_id), [], None) for item_id in range(1, 20)]
    shared_keys.write_items(single, "g", items)
    assert single.redis.hlen("recs:g:items") == 19


def test_similar_items_are_lists_like_others(
    board: Connection, single: Client, redis_client: redis.Redis
) -> None:
    """Of one colour, best first, each item but itself."""
    key_of, lists = KEYS.of("g").similar, shared_keys.read_similar(board, 5)
    found = shared_keys.write_lists(single, key_of, lists, SAME)
    assert found == [key_of(item_id) for item_id in range(1, 41)]
    for item_id, key in enumerate(found, start=1):
        pairs = contract.decode(entries(redis_client, key))
        others = [other for other, _ in pairs]
        assert len(others) == 5
        assert item_id not in others
        assert {other % 2 for other in others} == {item_id % 2}
        assert pairs == sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


GENRES = ["a:b/c", "user:1", "É\n{x}", "*"]


def test_catalogue_lists_are_of_all_and_of_each_genre(
    client: Client, tmp_path: Path
) -> None:
    """Whatever genres are called; their keys are ours, and those of no other kind."""
    items: list[tuple[int, int | None, list[str]]]
    items = [(1, 1990, GENRES[:3]), (2, 1991, GENRES[2:]), (3, None, [])]
    ratings = [(1, 1, 4.0, 9), (1, 2, 4.0, 9), (2, 1, 4.0, 9)]
    with warehouse.connect(tmp_path) as connection:
        worlds.stage(connection, worlds.World(ratings, items, [(1, 9, None, None)]))
        tables.build(connection, n_cuts=0)
        keys = shared_keys.write_catalogue(client, NAME, connection, 5, SAME)
        found = shared_keys.read_items(connection, SAME)
    own = KEYS.of(NAME)
    genres = [None, *GENRES]
    assert sorted(keys) == sorted(
        own.catalogue(k, g) for k in CATALOGUE for g in genres
    )
    assert {KEYS.generation_of(key) for key in keys} == {NAME}
    assert entries(client.redis, own.popular) == ["1:2.0000", "2:1.0000", "3:0.0000"]
    shared = own.catalogue("popular", GENRES[2])
    assert entries(client.redis, shared) == ["1:2.0000", "2:1.0000"]
    assert entries(client.redis, own.catalogue("new", "*")) == ["2:1970.0000"]
    assert [item.n_ratings for item in found] == [2, 1, 0]


def test_without_items_there_are_empty_lists(single: Client, tmp_path: Path) -> None:
    with warehouse.connect(tmp_path) as connection:
        worlds.stage(connection, worlds.World([], [], []))
        tables.build(connection, n_cuts=0)
        keys = shared_keys.write_catalogue(single, "g", connection, 5, SAME)
    assert [entries(single.redis, key) for key in keys] == 3 * [[contract.NO_ITEMS]]


def test_next_items_are_eligible_films_that_follow(tmp_path: Path) -> None:
    """Item 1 is followed by 2, 3 and 4: but 2 is the film of 1, and 3 is sold out."""
    ratings = [
        (user, item, 4.0, 100 * position)
        for user in range(1, 31)
        for position, item in enumerate([5, 1, 2, 3, 4] if user < 29 else [1, 2])
    ]
    items: list[tuple[int, int | None, list[str]]]
    items = [(item, 1990, []) for item in range(1, 8)]
    with warehouse.connect(tmp_path) as connection:
        worlds.stage(connection, worlds.World(ratings, items, []))
        connection.execute("update stg_items set title = 'T' where item_id <= 2")
        connection.execute("update stg_items set is_listed = item_id != 3")
        tables.build(connection, n_cuts=0, merges_films=True)
        found = {one.user_id: one for one in shared_keys.read_next(connection)}
    assert set(found) <= {1, 2, 3, 4, 5}  # nobody rated 6 and 7
    assert found[1].item_ids.tolist()[0] == found[2].item_ids.tolist()[0] == 4
    for one in found.values():
        assert not {2, 3, one.user_id} & set(one.item_ids.tolist())
        assert one.scores.tolist() == sorted(one.scores.tolist(), reverse=True)
        assert (one.scores > 0).all()
    assert 1 not in found[2].item_ids


def test_a_small_world(single: Client, tmp_path: Path) -> None:
    """Genres are sorted, and items are similar by genres."""
    metrics = {"ndcg_at_10": 0.25}
    items: list[tuple[int, int | None, list[str]]] = [
        (1, 1990, ["War", "Drama"]),
        (2, None, ["Drama"]),
        (3, 1991, []),
    ]
    with warehouse.connect(tmp_path) as connection:
        worlds.stage(connection, worlds.World([], items, []))
        about = shared_keys.read_about(
            connection, range(1, 25), "by time", metrics, SAME
        )
        tables.build(connection, n_cuts=0)
        similar = shared_keys.read_similar(connection, 5)
        assert [one.user_id for one in similar] == [1, 2]
        assert list(shared_keys.read_next(connection)) == []
        years = [item.year for item in shared_keys.read_items(connection, SAME)]
    examples = list(range(1, 25))
    by_ranker = {"model": metrics}
    words = ["Drama", "War"]
    expected = About(24, 3, words, examples, "by time", by_ranker, False, False)
    assert about == expected
    assert years == [1990, None, 1991]


def test_items_name_the_id_that_stands_for_their_film(tmp_path: Path) -> None:
    """As it is outside."""
    items: list[tuple[int, int | None, list[str]]]
    items = [(1, 1990, []), (2, 1990, []), (3, 1991, [])]
    with warehouse.connect(tmp_path) as connection:
        worlds.stage(connection, worlds.World([], items, []))
        connection.execute(
            "update stg_items set title = 'T', item_key = 'k' || item_id"
        )
        tables.build(connection, n_cuts=0, merges_films=True)
        ids = ExternalIds.read(connection, "item")
        found = shared_keys.read_items(connection, ids)
    assert [(item.item_id, item.same_as) for item in found] == [
        ("k1", None),
        ("k2", "k1"),
        ("k3", None),
    ]
