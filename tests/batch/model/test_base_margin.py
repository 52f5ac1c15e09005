from collections.abc import Iterator

import numpy as np
import pytest
import xgboost

from batch import warehouse
from batch.features import base_scores, item_models, tables
from batch.features.base_scores import COLUMNS, EASE, GAP, ITEM, Base
from batch.model import base_margin
from batch.model.base_margin import Ratings
from tests import worlds
from tests.worlds import Connection, World

RAGGED = worlds.ragged()


@pytest.fixture
def built(connection: Connection) -> Iterator[Connection]:
    """Build the tables of a ragged world as of the hold-out."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    yield connection


def world_of(ratings: list[tuple[int, int, float, int]]) -> World:
    """Give users and items no more than their ratings."""
    users = sorted({user for user, *_ in ratings})
    items = sorted({item for _, item, *_ in ratings})
    return World(
        ratings,
        [(item, None, []) for item in items],
        [(user, None, None, None) for user in users],
    )


def without(connection: Connection, user_id: int) -> Base:
    """Read what the strong scores are made from, as if a user had rated nothing."""
    others = World(
        [rating for rating in RAGGED.ratings if rating[0] != user_id],
        RAGGED.items,
        RAGGED.users,
    )
    worlds.stage(connection, others)
    tables.build(connection, n_cuts=1)
    return Base.read(connection)


def test_a_user_is_taken_out_of_the_scores_exactly(built: Connection) -> None:
    """The scores are those of tables that never knew the user."""
    ratings, base = Ratings(built), Base.read(built)
    diagonal = item_models.ease_diagonal(built)
    # one whose ratings decide for no item whether the models cover it
    counts = dict(
        built.sql("select item_id, n_sampled from int_item_counts").fetchall()
    )
    row = next(
        row
        for row in np.argsort(-np.diff(ratings.starts))
        if all(
            counts[item_id] != 5
            for item_id in ratings.item_ids[ratings.items[ratings.of(row)]]
        )
    )
    own = ratings.of(row)
    items, is_liked = ratings.items[own], ratings.is_liked[own]
    n = len(items) // 2
    history = ratings.until(np.array([row]), np.array([n]))
    found = base_scores.scores(base, history)
    base_margin.leave_out(found[0], base, diagonal, items, is_liked, n)
    other = without(built, int(ratings.user_ids[row]))
    assert other.item_ids.tolist() == base.item_ids.tolist()
    expected = base_scores.scores(other, history)
    assert np.array_equal(base.modelled, other.modelled)
    covered = base.modelled >= 0
    covered[items[:n]] = False  # no candidates
    assert covered.sum() > 10
    of_ease = np.s_[0, EASE:ITEM, covered]
    assert np.abs(expected[of_ease]).max() > 0.01
    assert np.allclose(found[of_ease], expected[of_ease], rtol=0, atol=1e-4)
    assert np.array_equal(found[0, :EASE], expected[0, :EASE])
    assert np.allclose(found[0, ITEM:GAP], expected[0, ITEM:GAP], rtol=0, atol=1e-4)


def test_the_fit_finds_planted_weights() -> None:
    draw = np.random.default_rng(0)
    columns = draw.normal(size=(4_000, 30, 3)).astype(np.float32) * [1, 10, 0.1]
    planted = np.array([1.0, -0.2, 5.0])
    logits = columns @ planted + draw.gumbel(size=columns.shape[:2])
    labels = np.zeros(columns.shape[:2], np.float32)
    labels[np.arange(len(labels)), logits.argmax(axis=1)] = 1
    labels[:100] = 0  # moments whose next ratings are no candidates
    found = base_margin.conditional_logit(columns.astype(np.float32), labels)
    assert np.allclose(found, planted, rtol=0.1)


def test_a_column_without_a_spread_has_no_weight() -> None:
    draw = np.random.default_rng(0)
    columns = draw.normal(size=(200, 5, 2)).astype(np.float32)
    columns[:, :, 1] = 3
    labels = np.eye(5, dtype=np.float32)[columns[:, :, 0].argmax(axis=1)]
    first, second = base_margin.conditional_logit(columns, labels)
    assert first > 1
    assert second == pytest.approx(0, abs=1e-6)


def test_what_comes_next_ranks_higher(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody rates items in the order of their ids, from anywhere on."""
    monkeypatch.setattr(base_margin, "MIN_MOMENTS", 10)
    draw = np.random.default_rng(1)
    ratings = [
        (user, int(first + n) % 30 + 1, 4.0, 1_000 * n)
        for user, first in enumerate(draw.integers(0, 30, 60), start=1)
        for n in range(12)
    ]
    worlds.stage(connection, world_of(ratings))
    tables.build(connection, n_cuts=1)
    weights = base_margin.fit(connection)
    assert weights is not None
    again = base_margin.fit(connection)
    assert again is not None
    assert np.array_equal(weights, again)
    base = Base.read(connection)
    user_ids = warehouse.user_ids(connection)
    histories = base_scores.read_histories(connection, base.item_ids, user_ids)
    margins = base_margin.margins(base, histories, weights)
    latest = histories.items[histories.starts[:-1]]
    assert (margins.argmax(axis=1) == (latest + 1) % 30).mean() > 0.9


def test_trees_start_from_less_than_is_scored(built: Connection) -> None:
    """For each pair from the margin of its user and item, by the user's weights."""
    base, user_ids = Base.read(built), warehouse.user_ids(built)
    histories = base_scores.read_histories(built, base.item_ids, user_ids)
    draw = np.random.default_rng(3)
    weights = draw.standard_normal((2, len(COLUMNS)))
    margins = base_margin.margins(base, histories, weights)
    rows = np.sort(draw.integers(0, len(user_ids), 40))
    items = draw.integers(0, len(base.item_ids), 40)
    strong = base_scores.of_pairs(built, np.array(user_ids)[rows], base.item_ids[items])
    start = base_margin.to_train_from(strong, weights)
    assert np.allclose(base_margin.SCALE * start, margins[rows, items], rtol=1e-5)
    assert np.abs(start).max() > 0.1
    short = base_scores.Strong(strong.scores, np.ones(40, np.int64))
    assert not np.allclose(base_margin.to_train_from(short, weights), start)


def test_few_histories_teach_nothing(connection: Connection) -> None:
    both = range(1, 9)
    ratings = [(user, item, 4.0, item) for user in both for item in both]
    worlds.stage(connection, world_of(ratings))
    tables.build(connection, n_cuts=1)
    assert base_margin.fit(connection) is None


def test_a_booster_carries_its_weights(built: Connection) -> None:
    matrix = xgboost.DMatrix(np.zeros((4, 1)), label=np.arange(4))
    booster = xgboost.train({}, matrix, 1)
    assert base_margin.read(booster) is None
    base_margin.write(booster, None)
    assert base_margin.read(booster) is None
    weights = np.arange(2.0 * len(COLUMNS)).reshape(2, -1) / 3
    base_margin.write(booster, weights)
    copied = xgboost.Booster()
    copied.load_model(bytearray(booster.save_raw("ubj")))
    found = base_margin.read(copied)
    assert found is not None
    assert np.array_equal(found, weights)
