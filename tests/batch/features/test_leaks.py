"""The future moves no feature, and training and scoring see the same features."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batch import warehouse
from batch.features import candidates, tables
from tests import worlds
from tests.worlds import Connection, Cutoff, World, moved, ordered

RAGGED = worlds.ragged()

# --- no leakage ----------------------------------------------------------------------


def test_the_future_moves_no_feature(connection: Connection, cutoff: Cutoff) -> None:
    """Other items, ratings and times after the cutoff change no cell."""
    other = worlds.change(RAGGED, cutoff, worlds.rewrite_future)
    assert set(other.ratings) != set(RAGGED.ratings)
    before = worlds.features(connection, RAGGED, cutoff)
    assert moved(before, worlds.features(connection, other, cutoff)) == []


def test_the_future_does_change_the_labels(
    connection: Connection, cutoff: Cutoff
) -> None:
    futures = []
    for world in (RAGGED, worlds.change(RAGGED, cutoff, worlds.rewrite_future)):
        worlds.stage(connection, world)
        tables.build(connection, *cutoff)
        futures.append(set(connection.table("int_future").fetchall()))
    before, after = futures
    assert len(before) == len(after) > 20
    assert len(before & after) < len(before) / 10


def test_a_shorter_future_moves_no_feature(
    connection: Connection, cutoff: Cutoff
) -> None:
    other = worlds.change(RAGGED, cutoff, worlds.drop_future(cutoff))
    assert len(other.ratings) < len(RAGGED.ratings)
    before = worlds.features(connection, RAGGED, cutoff)
    assert moved(before, worlds.features(connection, other, cutoff)) == []


def test_the_past_moves_features(connection: Connection, cutoff: Cutoff) -> None:
    """The comparison above does see differences."""
    other = worlds.change(RAGGED, cutoff, worlds.rewrite_past)
    before = worlds.features(connection, RAGGED, cutoff)
    changed = set(moved(before, worlds.features(connection, other, cutoff)))
    assert {"item_avg_rating", "user_liked_share", "liked_genre_share"} < changed
    assert not changed & {"user_id", "item_id", "user_n_ratings", "next_share"}


LEAKS = {
    "int_item_weeks": ("from int_history", "from int_ratings"),
    "int_item_audiences": ("from int_history", "from int_ratings"),
    "int_cooccurrence_ratings": (
        "from int_history",
        "from (select *, 0 as n_back from int_ratings)",
    ),
}
"""Model → a part of its SQL, and one that reads all ratings."""


@pytest.mark.parametrize("model", LEAKS)
def test_a_model_that_sees_the_future_is_caught(
    connection: Connection, cutoff: Cutoff, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One intermediate table of all ratings fails the tests above."""
    read, (right, leaky) = warehouse.read, LEAKS[model]

    def leaking(name: str) -> str:
        query = read(name)
        if name.endswith(model):
            assert right in query
            return query.replace(right, leaky)
        return query

    monkeypatch.setattr(warehouse, "read", leaking)
    other = worlds.change(RAGGED, cutoff, worlds.rewrite_future)
    before = worlds.features(connection, RAGGED, cutoff)
    assert moved(before, worlds.features(connection, other, cutoff)) != []


@pytest.mark.slow
@pytest.mark.parametrize("cutoff", [Cutoff(1), Cutoff(1, n_next=3)])
def test_the_future_moves_no_feature_of_the_real_release(
    connection: Connection, real: World, cutoff: Cutoff
) -> None:
    """Neither another future nor a shorter one."""
    before = worlds.features(connection, real, cutoff, every=4)
    for how in (worlds.rewrite_future, worlds.drop_future(cutoff)):
        other = worlds.change(real, cutoff, how)
        assert set(other.ratings) != set(real.ratings)
        after = worlds.features(connection, other, cutoff, every=4)
        assert moved(before, after) == []


@pytest.mark.slow
def test_the_past_moves_features_of_the_real_release(
    connection: Connection, real: World
) -> None:
    other = worlds.change(real, Cutoff(1), worlds.rewrite_past)
    before = worlds.features(connection, real, Cutoff(1), every=20)
    changed = moved(before, worlds.features(connection, other, Cutoff(1), every=20))
    assert {"item_avg_rating", "user_liked_share", "liked_genre_share"} < set(changed)


# --- no skew -------------------------------------------------------------------------


def blockwise(
    connection: Connection, user_ids: Sequence[int], size: int, keep: pa.Table
) -> pa.Table:
    """Compute features as scoring does, of the pairs in `keep`."""
    blocks = [user_ids[i : i + size] for i in range(0, len(user_ids), size)]
    tables = [candidates.pairs(connection, block).as_table() for block in blocks]
    ids = ["user_id", "item_id"]
    wanted = keep.select(ids)
    return ordered(pa.concat_tables(tables).join(wanted, ids, join_type="inner"))


@pytest.mark.parametrize("size", [1, 7])
def test_training_and_scoring_see_the_same_features(
    connection: Connection,
    cutoff: Cutoff,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cell by cell: a sample of all users at once, and blocks of all candidates."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, *cutoff)
    monkeypatch.setattr(candidates, "MIN_NEGATIVES", 20)  # of fifty items, not all
    user_ids = warehouse.user_ids(connection)
    sample = ordered(candidates.sample(connection, user_ids).as_table())
    assert sample.num_rows > 100
    assert moved(sample, blockwise(connection, user_ids, size, sample)) == []


@pytest.mark.slow
def test_training_and_scoring_see_the_same_features_of_the_real_release(
    connection: Connection, real: World
) -> None:
    worlds.stage(connection, real)
    tables.build(connection, n_cuts=2)
    user_ids = warehouse.user_ids(connection)
    sample = ordered(candidates.sample(connection, user_ids).as_table())
    few = user_ids[::10]
    chosen = sample.filter(pc.is_in(sample["user_id"], pa.array(few, pa.int32())))
    assert moved(chosen, blockwise(connection, few, 30, chosen)) == []
