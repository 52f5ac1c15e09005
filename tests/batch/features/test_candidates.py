from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batch import warehouse
from batch.errors import BatchError
from batch.features import candidates, tables
from batch.features.candidates import FEATURES, Pairs
from tests import worlds
from tests.worlds import Connection, Moment, World, moved, ordered

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
    tables.build(connection, n_cuts=1)
    pairs = candidates.pairs(connection, [1, 3])
    assert pairs.values.column_names == list(FEATURES)
    assert {str(field.type) for field in pairs.values.schema} == {"float"}
    assert len(pairs) == pairs.values.num_rows == 2 * (12 - 4)
    assert pairs.n_users == 2
    assert sorted(pairs.labels.tolist()) == [0.0] * 14 + [4.0] * 2
    assert pairs.user_ids.dtype == pairs.item_ids.dtype == np.int32


def test_pairs_of_nobody_are_none(connection: Connection) -> None:
    """No users, no pairs, and the columns are there all the same."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=0)
    pairs = candidates.pairs(connection, [])
    assert (len(pairs), pairs.n_users) == (0, 0)
    assert pairs.values.column_names == list(FEATURES)


def test_pairs_as_a_table(connection: Connection) -> None:
    """Ids and labels stand before the values, row by row."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    pairs = candidates.pairs(connection, [4, 5], names=["item_n_ratings"])
    table = pairs.as_table()
    assert table.column_names == ["user_id", "item_id", "label", "item_n_ratings"]
    assert table["item_id"].to_pylist() == pairs.item_ids.tolist()
    assert table["item_n_ratings"].equals(pairs.values["item_n_ratings"])


def literal(rows: Sequence[tuple[int, int, float]]) -> Pairs:
    """Make pairs of (user_id, item_id, label), with the item as their feature."""
    users, items, labels = zip(*rows, strict=True)
    return Pairs(
        np.array(users, np.int32),
        np.array(items, np.int32),
        np.array(labels, np.float32),
        pa.table({"item": pa.array(items, pa.float32())}),
    )


def test_rows_are_taken_in_the_order_given() -> None:
    """Ids, labels and values stay side by side."""
    pairs = literal([(1, 10, 0.0), (1, 20, 4.0), (2, 10, 3.0)])
    taken = pairs.take(np.array([2, 0]))
    assert taken.as_table().to_pylist() == [
        {"user_id": 2, "item_id": 10, "label": 3.0, "item": 10.0},
        {"user_id": 1, "item_id": 10, "label": 0.0, "item": 10.0},
    ]


def test_every_second_user_has_all_of_their_pairs() -> None:
    """The first, the third and so on, whatever order the pairs are in."""
    rows = [(9, 1, 0.0), (3, 1, 0.0), (5, 1, 4.0), (3, 2, 5.0), (9, 2, 0.0)]
    pairs = literal(rows)
    assert pairs.of_every(2).user_ids.tolist() == [9, 3, 3, 9]
    assert len(pairs.of_every(1)) == 5
    assert pairs.of_every(9).item_ids.tolist() == [1, 2]


def test_windows_are_numbered_in_one_table() -> None:
    """From 1, before all other columns; an empty one is no obstacle."""
    first, second = literal([(1, 10, 0.0), (1, 20, 4.0)]), literal([(1, 30, 5.0)])
    table = candidates.as_table([first, first.take(np.array([], np.int64)), second])
    assert table.column_names == ["window", "user_id", "item_id", "label", "item"]
    assert table["window"].to_pylist() == [1, 1, 3]
    assert table["item_id"].to_pylist() == [10, 20, 30]


def test_a_feature_that_is_gone_is_named(connection: Connection) -> None:
    """A model of older SQL is told what it misses, not guessed for."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=0)
    with pytest.raises(BatchError, match=r"gives no moon_phase, which .* train"):
        candidates.pairs(connection, [1], names=["item_n_ratings", "moon_phase"])


@pytest.mark.parametrize("moment", [Moment(0), Moment(1), Moment(2), Moment(0, 3)])
def test_what_is_unknown_is_null(connection: Connection, moment: Moment) -> None:
    """No division by zero leaves NaN or infinity behind."""
    table = worlds.features(connection, RAGGED, moment)
    odd = [n for n in FEATURES if not pc.all(pc.is_finite(table[n])).as_py()]
    assert odd == []


def test_every_feature_says_something(connection: Connection) -> None:
    """None is the same for all pairs, and each is known of some."""
    table = worlds.features(connection, RAGGED, Moment(1))
    assert [n for n in FEATURES if len(pc.unique(table[n].drop_null())) < 2] == []


# --- a sample ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("negative_share", "min_negatives", "share"), [(0.1, 0, 0.1), (0.1, 20, 0.4)]
)
def test_a_sample_keeps_all_positives(
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    negative_share: float,
    min_negatives: int,
    share: float,
) -> None:
    """And a share of the negatives: more of a catalogue of fifty items."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    monkeypatch.setattr(candidates, "NEGATIVE_SHARE", negative_share)
    monkeypatch.setattr(candidates, "MIN_NEGATIVES", min_negatives)
    user_ids = warehouse.user_ids(connection)
    every, sample = (
        candidates.pairs(connection, user_ids),
        candidates.sample(connection, user_ids),
    )
    assert (sample.labels > 0).sum() == (every.labels > 0).sum() > 0
    kept = (sample.labels == 0).sum() / (every.labels == 0).sum()
    assert share - 0.05 < kept < share + 0.05


def test_a_sample_is_the_same_in_blocks(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks bound the memory, and nothing else depends on them."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    monkeypatch.setattr(candidates, "MIN_NEGATIVES", 20)
    user_ids = warehouse.user_ids(connection)
    at_once = ordered(candidates.sample(connection, user_ids).as_table())
    monkeypatch.setattr(candidates, "PAIRS_PER_BLOCK", 7 * 50)
    monkeypatch.setattr(candidates, "SMALL_CATALOGUE", 0)
    blocks = ordered(candidates.sample(connection, user_ids).as_table())
    assert moved(at_once, blocks) == []


def test_a_sample_of_nobody_is_empty(connection: Connection) -> None:
    """A release in which nobody has rated enough fails later, and says so."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=2)
    sample = candidates.sample(connection, [])
    assert len(sample) == sample.values.num_rows == 0
    assert sample.values.column_names == list(FEATURES)


@pytest.mark.parametrize(
    ("n_pairs", "sizes"), [(1, [1] * 5), (100, [2, 2, 1]), (149, [2, 2, 1]), (999, [5])]
)
def test_blocks_part_users_in_their_order(
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    n_pairs: int,
    sizes: list[int],
) -> None:
    """Of fifty items, as many users as have so many pairs, and one at the least."""
    worlds.stage(connection, RAGGED)
    monkeypatch.setattr(candidates, "PAIRS_PER_BLOCK", n_pairs)
    monkeypatch.setattr(candidates, "SMALL_CATALOGUE", 0)
    blocks = list(candidates.blocks(connection, [3, 4, 5, 8, 9]))
    assert [len(block) for block in blocks] == sizes
    assert [user for block in blocks for user in block] == [3, 4, 5, 8, 9]


def test_blocks_of_a_small_catalogue_are_twice_as_large(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    worlds.stage(connection, RAGGED)
    monkeypatch.setattr(candidates, "PAIRS_PER_BLOCK", 100)
    blocks = list(candidates.blocks(connection, [3, 4, 5, 8, 9]))
    assert [len(block) for block in blocks] == [4, 1]


def test_nobody_is_one_block(connection: Connection) -> None:
    """So that a sample of nobody has its columns."""
    worlds.stage(connection, RAGGED)
    assert [list(block) for block in candidates.blocks(connection, [])] == [[]]


def test_a_sample_is_bounded(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Larger releases keep fewer negatives."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    monkeypatch.setattr(candidates, "MAX_PAIRS", 30)
    sample = candidates.sample(connection, warehouse.user_ids(connection))
    assert 0 < (sample.labels == 0).sum() < 60


# --- no leakage ----------------------------------------------------------------------


@pytest.fixture(
    params=[Moment(1), Moment(2), Moment(1, n_next=3), Moment(0, n_next=3)],
    ids=["hold-out", "training", "training-nearer", "refit-nearer"],
)
def moment(request: pytest.FixtureRequest) -> Moment:
    """Give each moment whose future is known."""
    moment: Moment = request.param
    return moment


def test_the_future_moves_no_feature(connection: Connection, moment: Moment) -> None:
    """Other items, ratings and times after the cut: not one cell is another."""
    other = worlds.change(RAGGED, moment, worlds.rewrite_future)
    assert set(other.ratings) != set(RAGGED.ratings)
    before = worlds.features(connection, RAGGED, moment)
    assert moved(before, worlds.features(connection, other, moment)) == []


def test_the_future_does_change_the_labels(
    connection: Connection, moment: Moment
) -> None:
    """The test above has altered what is to be predicted."""
    futures = []
    for world in (RAGGED, worlds.change(RAGGED, moment, worlds.rewrite_future)):
        worlds.stage(connection, world)
        tables.build(connection, *moment)
        futures.append(set(connection.table("int_future").fetchall()))
    before, after = futures
    assert len(before) == len(after) > 50
    assert len(before & after) < len(before) / 10


def test_a_shorter_future_moves_no_feature(
    connection: Connection, moment: Moment
) -> None:
    """Ratings that were never given have no say either."""
    other = worlds.change(RAGGED, moment, worlds.drop_future(moment))
    assert len(other.ratings) < len(RAGGED.ratings)
    before = worlds.features(connection, RAGGED, moment)
    assert moved(before, worlds.features(connection, other, moment)) == []


def test_the_past_moves_features(connection: Connection, moment: Moment) -> None:
    """The comparison does see a difference where there is one."""
    other = worlds.change(RAGGED, moment, worlds.rewrite_past)
    before = worlds.features(connection, RAGGED, moment)
    changed = set(moved(before, worlds.features(connection, other, moment)))
    assert {"item_avg_rating", "user_liked_share", "liked_similarity"} < changed
    assert not changed & {"user_id", "item_id", "user_n_ratings", "similarity"}


LEAKS = {
    "int_item_weeks": ("from int_history", "from int_ratings"),
    "int_item_audiences": ("from int_history", "from int_ratings"),
    "int_cooccurrence_ratings": (
        "from int_history",
        "from (select *, 0 as n_back, true as is_liked from int_ratings)",
    ),
    "int_modelled_items": (
        "from int_item_counts",
        "from (select item_id, count(*) as n_sampled, 1 as popularity_rank "
        "from int_ratings group by all)",
    ),
}
"""Model → what it reads, and the same of all ratings."""


@pytest.mark.parametrize("model", LEAKS)
def test_a_model_that_sees_the_future_is_caught(
    connection: Connection, moment: Moment, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One intermediate table made of all ratings is enough to fail the tests above."""
    read, (right, leaky) = warehouse.read, LEAKS[model]

    def leaking(name: str) -> str:
        query = read(name)
        if name.endswith(model):
            assert right in query
            return query.replace(right, leaky)
        return query

    monkeypatch.setattr(warehouse, "read", leaking)
    other = worlds.change(RAGGED, moment, worlds.rewrite_future)
    before = worlds.features(connection, RAGGED, moment)
    assert moved(before, worlds.features(connection, other, moment)) != []


@pytest.mark.slow
@pytest.mark.parametrize("moment", [Moment(1), Moment(1, n_next=3)])
def test_the_future_moves_no_feature_of_the_real_release(
    connection: Connection, real: World, moment: Moment
) -> None:
    """Nor does another future where there are many users, nor a shorter one."""
    before = worlds.features(connection, real, moment, every=4)
    for how in (worlds.rewrite_future, worlds.drop_future(moment)):
        other = worlds.change(real, moment, how)
        assert set(other.ratings) != set(real.ratings)
        after = worlds.features(connection, other, moment, every=4)
        assert moved(before, after) == []


@pytest.mark.slow
def test_the_past_moves_features_of_the_real_release(
    connection: Connection, real: World
) -> None:
    """The comparison sees a difference there as well."""
    other = worlds.change(real, Moment(1), worlds.rewrite_past)
    before = worlds.features(connection, real, Moment(1), every=20)
    changed = moved(before, worlds.features(connection, other, Moment(1), every=20))
    assert {"item_avg_rating", "user_liked_share", "liked_similarity"} < set(changed)


# --- no skew -------------------------------------------------------------------------


def blockwise(
    connection: Connection, user_ids: Sequence[int], size: int, keep: pa.Table
) -> pa.Table:
    """Compute features as the scoring does, of the pairs in `keep`."""
    blocks = [user_ids[i : i + size] for i in range(0, len(user_ids), size)]
    tables = [candidates.pairs(connection, block).as_table() for block in blocks]
    ids = ["user_id", "item_id"]
    wanted = keep.select(ids)
    return ordered(pa.concat_tables(tables).join(wanted, ids, join_type="inner"))


@pytest.mark.parametrize("size", [1, 7])
def test_training_and_scoring_see_the_same_features(
    connection: Connection,
    moment: Moment,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pair of the sample, all users at once, is the one of a block, cell by cell."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, *moment)
    monkeypatch.setattr(candidates, "MIN_NEGATIVES", 20)  # of fifty items, not all
    user_ids = warehouse.user_ids(connection)
    sample = ordered(candidates.sample(connection, user_ids).as_table())
    assert sample.num_rows > 100
    assert moved(sample, blockwise(connection, user_ids, size, sample)) == []


@pytest.mark.slow
def test_training_and_scoring_see_the_same_features_of_the_real_release(
    connection: Connection, real: World
) -> None:
    """Neither a join's order nor the number of threads at work makes a difference."""
    worlds.stage(connection, real)
    tables.build(connection, n_cuts=2)
    user_ids = warehouse.user_ids(connection)
    sample = ordered(candidates.sample(connection, user_ids).as_table())
    few = user_ids[::10]
    chosen = sample.filter(pc.is_in(sample["user_id"], pa.array(few, pa.int32())))
    assert moved(chosen, blockwise(connection, few, 30, chosen)) == []
