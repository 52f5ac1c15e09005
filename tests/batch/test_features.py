from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batch import features, warehouse
from batch.errors import BatchError
from batch.features import FEATURES
from tests import worlds
from tests.worlds import Connection, World, moved, ordered

RAGGED = worlds.ragged()


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Give an empty warehouse."""
    with warehouse.connect(tmp_path) as connection:
        yield connection


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Give the real release."""
    return worlds.real(tmp_path_factory.mktemp("unpacked"))


# --- what a feature is ---------------------------------------------------------------


def test_no_name_stands_twice() -> None:
    """Each feature is in one family."""
    assert len(set(FEATURES)) == len(FEATURES)


def test_pairs_are_every_unseen_item(connection: Connection) -> None:
    """The label is the rating that came next; values are in the order of FEATURES."""
    worlds.stage(connection, worlds.checkerboard(n_users=4, n_items=12, n_ratings=5))
    warehouse.build_moment(connection, n_cuts=1)
    pairs = features.pairs(connection, [1, 3])
    assert pairs.values.column_names == list(FEATURES)
    assert {str(field.type) for field in pairs.values.schema} == {"float"}
    assert len(pairs) == pairs.values.num_rows == 2 * (12 - 4)
    assert pairs.n_users == 2
    assert sorted(pairs.labels.tolist()) == [0.0] * 14 + [4.0] * 2
    assert pairs.user_ids.dtype == pairs.item_ids.dtype == np.int32


def test_pairs_of_nobody_are_none(connection: Connection) -> None:
    """No users, no pairs, and the columns are there all the same."""
    worlds.stage(connection, RAGGED)
    warehouse.build_moment(connection, n_cuts=0)
    pairs = features.pairs(connection, [])
    assert (len(pairs), pairs.n_users) == (0, 0)
    assert pairs.values.column_names == list(FEATURES)


def test_pairs_as_a_table(connection: Connection) -> None:
    """Ids and labels stand before the values, row by row."""
    worlds.stage(connection, RAGGED)
    warehouse.build_moment(connection, n_cuts=1)
    pairs = features.pairs(connection, [4, 5], names=["item_n_ratings"])
    table = pairs.as_table()
    assert table.column_names == ["user_id", "item_id", "label", "item_n_ratings"]
    assert table["item_id"].to_pylist() == pairs.item_ids.tolist()
    assert table["item_n_ratings"].equals(pairs.values["item_n_ratings"])


def test_a_feature_that_is_gone_is_named(connection: Connection) -> None:
    """A model of older SQL is told what it misses, not guessed for."""
    worlds.stage(connection, RAGGED)
    warehouse.build_moment(connection, n_cuts=0)
    with pytest.raises(BatchError, match=r"gives no moon_phase, which .* train"):
        features.pairs(connection, [1], names=["item_n_ratings", "moon_phase"])


@pytest.mark.parametrize("n_cuts", [0, 1, 2])
def test_what_is_unknown_is_null(connection: Connection, n_cuts: int) -> None:
    """No division by zero leaves NaN or infinity behind."""
    table = worlds.features(connection, RAGGED, n_cuts)
    odd = [n for n in FEATURES if not pc.all(pc.is_finite(table[n])).as_py()]
    assert odd == []


def test_every_feature_says_something(connection: Connection) -> None:
    """None is the same for all pairs, and each is known of some."""
    table = worlds.features(connection, RAGGED, n_cuts=1)
    assert [n for n in FEATURES if len(pc.unique(table[n].drop_null())) < 2] == []


# --- a sample ------------------------------------------------------------------------


def test_a_sample_keeps_all_positives(connection: Connection) -> None:
    """A tenth of the negatives, and every item that was rated next."""
    worlds.stage(connection, RAGGED)
    warehouse.build_moment(connection, n_cuts=1)
    user_ids = warehouse.user_ids(connection)
    every, sample = (
        features.pairs(connection, user_ids),
        features.sample(connection, user_ids),
    )
    assert (sample.labels > 0).sum() == (every.labels > 0).sum() > 0
    share = (sample.labels == 0).sum() / (every.labels == 0).sum()
    assert 0.07 < share < 0.13


def test_a_sample_is_bounded(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Larger releases keep fewer negatives."""
    worlds.stage(connection, RAGGED)
    warehouse.build_moment(connection, n_cuts=1)
    monkeypatch.setattr(features, "MAX_PAIRS", 30)
    sample = features.sample(connection, warehouse.user_ids(connection))
    assert 0 < (sample.labels == 0).sum() < 60


# --- no leakage ----------------------------------------------------------------------


@pytest.fixture(params=[1, 2])
def n_cuts(request: pytest.FixtureRequest) -> int:
    """Cut once for the hold-out, twice for the training."""
    n_cuts: int = request.param
    return n_cuts


def test_the_future_moves_no_feature(connection: Connection, n_cuts: int) -> None:
    """Other items, ratings and times after the cut: not one cell is another."""
    other = worlds.change(RAGGED, n_cuts, worlds.rewrite_future)
    assert set(other.ratings) != set(RAGGED.ratings)
    before = worlds.features(connection, RAGGED, n_cuts)
    assert moved(before, worlds.features(connection, other, n_cuts)) == []


def test_the_future_does_change_the_labels(connection: Connection, n_cuts: int) -> None:
    """The test above has altered what is to be predicted."""
    futures = []
    for world in (RAGGED, worlds.change(RAGGED, n_cuts, worlds.rewrite_future)):
        worlds.stage(connection, world)
        warehouse.build_moment(connection, n_cuts)
        futures.append(set(connection.table("int_future").fetchall()))
    before, after = futures
    assert len(before) == len(after) > 50
    assert len(before & after) < len(before) / 10


def test_a_shorter_future_moves_no_feature(connection: Connection, n_cuts: int) -> None:
    """Ratings that were never given have no say either."""
    other = worlds.change(RAGGED, n_cuts, worlds.drop_future(n_cuts))
    assert len(other.ratings) < len(RAGGED.ratings)
    before = worlds.features(connection, RAGGED, n_cuts)
    assert moved(before, worlds.features(connection, other, n_cuts)) == []


def test_the_past_moves_features(connection: Connection, n_cuts: int) -> None:
    """The comparison does see a difference where there is one."""
    other = worlds.change(RAGGED, n_cuts, worlds.rewrite_past)
    before = worlds.features(connection, RAGGED, n_cuts)
    changed = set(moved(before, worlds.features(connection, other, n_cuts)))
    assert {"item_avg_rating", "user_liked_share", "liked_similarity"} < changed
    assert not changed & {"user_id", "item_id", "user_n_ratings", "similarity"}


@pytest.mark.parametrize("model", ["int_item_weeks", "int_item_audiences"])
def test_a_model_that_sees_the_future_is_caught(
    connection: Connection, n_cuts: int, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One intermediate table made of all ratings is enough to fail the tests above."""
    read = warehouse.read

    def leaky(name: str) -> str:
        query = read(name)
        if name.endswith(model):
            return query.replace("from int_history", "from int_ratings")
        return query

    monkeypatch.setattr(warehouse, "read", leaky)
    other = worlds.change(RAGGED, n_cuts, worlds.rewrite_future)
    before = worlds.features(connection, RAGGED, n_cuts)
    assert moved(before, worlds.features(connection, other, n_cuts)) != []


@pytest.mark.slow
def test_the_future_moves_no_feature_of_the_real_release(
    connection: Connection, real: World, n_cuts: int
) -> None:
    """Nor does another future where there are many users, nor a shorter one."""
    before = worlds.features(connection, real, n_cuts, every=3)
    for how in (worlds.rewrite_future, worlds.drop_future(n_cuts)):
        other = worlds.change(real, n_cuts, how)
        assert set(other.ratings) != set(real.ratings)
        after = worlds.features(connection, other, n_cuts, every=3)
        assert moved(before, after) == []


@pytest.mark.slow
def test_the_past_moves_features_of_the_real_release(
    connection: Connection, real: World
) -> None:
    """The comparison sees a difference there as well."""
    other = worlds.change(real, 1, worlds.rewrite_past)
    before = worlds.features(connection, real, 1, every=20)
    changed = moved(before, worlds.features(connection, other, 1, every=20))
    assert {"item_avg_rating", "user_liked_share", "liked_similarity"} < set(changed)


# --- no skew -------------------------------------------------------------------------


def blockwise(
    connection: Connection, user_ids: Sequence[int], size: int, keep: pa.Table
) -> pa.Table:
    """Compute features as the scoring does, of the pairs in `keep`."""
    blocks = [user_ids[i : i + size] for i in range(0, len(user_ids), size)]
    tables = [features.pairs(connection, block).as_table() for block in blocks]
    ids = ["user_id", "item_id"]
    wanted = keep.select(ids)
    return ordered(pa.concat_tables(tables).join(wanted, ids, join_type="inner"))


@pytest.mark.parametrize("size", [1, 7])
def test_training_and_scoring_see_the_same_features(
    connection: Connection, n_cuts: int, size: int
) -> None:
    """A pair of the sample, all users at once, is the one of a block, cell by cell."""
    worlds.stage(connection, RAGGED)
    warehouse.build_moment(connection, n_cuts)
    user_ids = warehouse.user_ids(connection)
    sample = ordered(features.sample(connection, user_ids).as_table())
    assert sample.num_rows > 100
    assert moved(sample, blockwise(connection, user_ids, size, sample)) == []


@pytest.mark.slow
def test_training_and_scoring_see_the_same_features_of_the_real_release(
    connection: Connection, real: World
) -> None:
    """Neither a join's order nor the number of threads at work makes a difference."""
    worlds.stage(connection, real)
    warehouse.build_moment(connection, n_cuts=2)
    user_ids = warehouse.user_ids(connection)
    sample = ordered(features.sample(connection, user_ids).as_table())
    few = user_ids[::10]
    chosen = sample.filter(pc.is_in(sample["user_id"], pa.array(few, pa.int32())))
    assert moved(chosen, blockwise(connection, few, 30, chosen)) == []
