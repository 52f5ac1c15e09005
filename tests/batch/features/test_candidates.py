from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batch import warehouse
from batch.features import candidates, tables
from batch.features.candidates import Pairs
from batch.features.columns import FEATURES
from tests import worlds
from tests.sql.given import given
from tests.worlds import Connection, Cutoff, moved, ordered

RAGGED = worlds.ragged()


# --- pairs ---------------------------------------------------------------------------


def test_pairs_are_every_unseen_item(connection: Connection) -> None:
    worlds.stage(connection, worlds.checkerboard(n_users=4, n_items=12, n_ratings=5))
    tables.build(connection, n_cuts=1)
    pairs = candidates.pairs(connection, [1, 3])
    assert pairs.values.column_names == list(FEATURES)
    assert {str(field.type) for field in pairs.values.schema} == {"float"}
    assert len(pairs) == pairs.values.num_rows == 2 * (12 - 4)
    assert pairs.n_users == 2
    assert sorted(pairs.labels.tolist()) == [0.0] * 14 + [4.0] * 2
    assert pairs.user_ids.dtype == pairs.item_ids.dtype == np.int32


def test_no_users_have_no_pairs_but_all_columns(connection: Connection) -> None:
    """Training on too small a release fails later, with a message of its own."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=2)
    assert list(candidates.blocks(connection, [])) == [[]]
    for pairs in (candidates.pairs(connection, []), candidates.sample(connection, [])):
        assert len(pairs) == pairs.n_users == pairs.values.num_rows == 0
        assert pairs.values.column_names == list(FEATURES)


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
    pairs = literal([(1, 10, 0.0), (1, 20, 4.0), (2, 10, 3.0)])
    taken = pairs.take(np.array([2, 0]))
    assert taken.as_table().to_pylist() == [
        {"user_id": 2, "item_id": 10, "label": 3.0, "item": 10.0},
        {"user_id": 1, "item_id": 10, "label": 0.0, "item": 10.0},
    ]


def test_every_second_user_has_all_of_their_pairs() -> None:
    rows = [(9, 1, 0.0), (3, 1, 0.0), (5, 1, 4.0), (3, 2, 5.0), (9, 2, 0.0)]
    pairs = literal(rows)
    assert pairs.of_every(2).user_ids.tolist() == [9, 3, 3, 9]
    assert len(pairs.of_every(1)) == 5
    assert pairs.of_every(9).item_ids.tolist() == [1, 2]


def test_windows_are_numbered_in_one_table() -> None:
    first, second = literal([(1, 10, 0.0), (1, 20, 4.0)]), literal([(1, 30, 5.0)])
    table = candidates.as_table([first, first.take(np.array([], np.int64)), second])
    assert table.column_names == ["window", "user_id", "item_id", "label", "item"]
    assert table["window"].to_pylist() == [1, 1, 3]
    assert table["item_id"].to_pylist() == [10, 20, 30]


@pytest.mark.parametrize("cutoff", [Cutoff(0), Cutoff(1), Cutoff(2), Cutoff(0, 3)])
def test_what_is_unknown_is_null(connection: Connection, cutoff: Cutoff) -> None:
    """No division by zero leaves NaN or infinity."""
    table = worlds.features(connection, RAGGED, cutoff)
    odd = [n for n in FEATURES if not pc.all(pc.is_finite(table[n])).as_py()]
    assert odd == []


def test_every_feature_has_different_values(connection: Connection) -> None:
    table = worlds.features(connection, RAGGED, Cutoff(1))
    assert [n for n in FEATURES if len(pc.unique(table[n].drop_null())) < 2] == []


# --- blocks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs_per_block", "share", "sizes"),
    [
        (1, 1.0, [1] * 5),
        (100, 1.0, [2, 2, 1]),
        (149, 1.0, [2, 2, 1]),
        (999, 1.0, [5]),
        (100, 0.5, [4, 1]),
        (100, 0.001, [4, 1]),
    ],
)
def test_blocks_split_users_in_order(
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    pairs_per_block: int,
    share: float,
    sizes: list[int],
) -> None:
    """Of fifty items, at least half of them, and with at least one user."""
    worlds.stage(connection, RAGGED)
    monkeypatch.setattr(candidates, "PAIRS_PER_BLOCK", pairs_per_block)
    blocks = list(candidates.blocks(connection, [3, 4, 5, 8, 9], share))
    assert [len(block) for block in blocks] == sizes
    assert [user for block in blocks for user in block] == [3, 4, 5, 8, 9]


def test_users_with_a_future_can_teach(connection: Connection) -> None:
    cutoffs = [(3, 1, 2), (1, 2, 5), (2, 4, 4)]
    given(connection, "int_cutoffs", "user_id n_history n_with_future", cutoffs)
    assert warehouse.users_with_future(connection) == [1, 3]


def test_evenly_spaced_users() -> None:
    users = range(10)
    assert list(candidates.evenly_spaced(users, 10)) == list(users)
    assert list(candidates.evenly_spaced(users, 5)) == [0, 2, 4, 6, 8]
    assert list(candidates.evenly_spaced(users, 4)) == [0, 3, 6, 9]
    assert list(candidates.evenly_spaced([], 4)) == []


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
    """And a share of the negatives, larger on a catalogue of fifty items."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    monkeypatch.setattr(candidates, "NEGATIVE_SHARE", negative_share)
    monkeypatch.setattr(candidates, "MIN_NEGATIVES", min_negatives)
    user_ids = warehouse.user_ids(connection)
    pairs = candidates.pairs(connection, user_ids)
    sample = candidates.sample(connection, user_ids)
    assert (sample.labels > 0).sum() == (pairs.labels > 0).sum() > 0
    kept = (sample.labels == 0).sum() / (pairs.labels == 0).sum()
    assert share - 0.05 < kept < share + 0.05


def test_a_sample_is_bounded_and_does_not_depend_on_blocks(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    monkeypatch.setattr(candidates, "MIN_NEGATIVES", 20)
    user_ids = warehouse.user_ids(connection)
    at_once = ordered(candidates.sample(connection, user_ids).as_table())
    monkeypatch.setattr(candidates, "PAIRS_PER_BLOCK", 7 * 50)
    blocks = ordered(candidates.sample(connection, user_ids).as_table())
    assert moved(at_once, blocks) == []
    monkeypatch.setattr(candidates, "MAX_PAIRS", 30)
    sample = candidates.sample(connection, user_ids)
    assert 0 < (sample.labels == 0).sum() < 60
