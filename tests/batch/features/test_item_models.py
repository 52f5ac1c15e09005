from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from batch import warehouse
from batch.features import candidates, item_models, tables
from batch.features.item_models import (
    MODELS,
    PENALTIES,
    SCORES,
    STATE_UNIT,
    UNIT,
    Weights,
)
from tests import worlds
from tests.sql.given import given
from tests.worlds import Connection, World

RAGGED = worlds.ragged()


def sums(connection: Connection, n_ratings: Sequence[int]) -> None:
    """Make the tables of two items, 10 and 30, that the models are solved from.

    Both were rated by two users; 30 came after 10, and never before it.
    """
    known = list(zip((10, 30), n_ratings, strict=True))
    given(connection, "int_modelled_items", "item_id n_ratings", known)
    both = [(10, 30, 2), (30, 10, 2), (10, 99, 7), (99, 30, 7)]
    given(connection, "int_item_pairs", "item_id other_item_id n_both", both)
    ratings = [(1, 10, 1), (1, 30, 2), (2, 10, 4), (2, 99, 5), (2, 30, 6)]
    names = "user_id item_id position"
    given(connection, "int_cooccurrence_ratings", names, ratings)


# --- the models ----------------------------------------------------------------------


def test_ease_is_the_ridge_regression_of_each_item_on_the_others() -> None:
    draw = np.random.default_rng(0)
    rated = (draw.random((30, 6)) < 0.4).astype(float)
    weights = item_models.ease(
        np.linalg.inv(rated.T @ rated + 2 * np.eye(len(rated.T)))
    )
    for item in range(6):
        others = [other for other in range(6) if other != item]
        x = rated[:, others]
        ridge = np.linalg.solve(x.T @ x + 2 * np.eye(5), x.T @ rated[:, item])
        assert np.allclose(weights[others, item], ridge, rtol=0, atol=1e-12)
        assert weights[item, item] == 0


def test_models_of_two_items(connection: Connection) -> None:
    """By hand. Item 99 is not modelled, and nothing follows item 30."""
    sums(connection, n_ratings=(40, 60))
    item_models.build(connection)
    weights = item_models.read(connection)
    assert weights.item_ids.tolist() == [10, 30]
    assert tuple(weights.models) == MODELS
    a, b, c = 40 + PENALTIES["ease"], 60 + PENALTIES["ease"], 2
    assert whole([[0, c / a], [c / b, 0]]) == weights.models["ease"].tolist()
    for name, (before, after) in item_models.FADES.items():
        a, b = 40 + PENALTIES[name], 60 + PENALTIES[name]
        together = before + before**2
        # at distance two, of the states that end at the first rating and at item 99
        following = (1 - after) * (1 + before + after)
        solved = following / (a * b - together**2)
        found = weights.models[name].tolist()
        assert found == whole([[0, b * solved], [0, -together * solved]])


def whole(weights: Sequence[Sequence[float]]) -> list[list[float]]:
    """Round to whole units."""
    return [[float(round(value / UNIT)) for value in row] for row in weights]


def test_models_of_transitions_solve_the_normal_equations(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(states × states + penalty) · weights = states × targets, by the definition."""
    monkeypatch.setattr(warehouse, "SCAFFOLDING", ())
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    known = dict(connection.table("int_modelled_items").fetchall())
    places = {item: place for place, item in enumerate(sorted(known))}
    rated = connection.table("int_cooccurrence_ratings").order("user_id, position")
    users: dict[int, list[tuple[int, int]]] = {}
    for user, item, position in rated.select(
        "user_id", "item_id", "position"
    ).fetchall():
        if item in known:
            users.setdefault(user, []).append((item, position))
    weights = item_models.read(connection)
    for name, (before, after) in item_models.FADES.items():
        gram, following = np.zeros((2, len(known), len(known)))
        for ratings in users.values():
            for one, position in ratings:
                for other, later in ratings:
                    distance = later - position
                    if not 0 < distance <= 100:
                        continue
                    gram[places[one], places[other]] += before**distance
                    following[places[one], places[other]] += (1 - after) * sum(
                        before**n * after ** (distance - 1 - n) for n in range(distance)
                    )
        gram += gram.T
        gram += np.diag([known[item] + PENALTIES[name] for item in sorted(known)])
        left = gram @ weights.models[name] * UNIT
        # a weight is rounded by half a unit, and rows of the gram sum to some hundreds
        assert np.abs(left - following).max() < UNIT * np.abs(gram).sum(axis=1).max()
        assert following.max() > 100 * UNIT * np.abs(gram).sum(axis=1).max()


# --- the scores ----------------------------------------------------------------------


def test_a_score_is_a_sum_over_the_ratings() -> None:
    models = {name: np.array([[1.0, 2.0], [4.0, 8.0]]) * 1000 for name in MODELS}
    models["far"] = -models["far"]
    states = pa.table(
        {
            "user_id": pa.array([5, 3, 5], pa.int32()),
            "item_id": pa.array([30, 10, 10], pa.int32()),
            "whole": pa.array([10_000, 10_000, 10_000], pa.int32()),
            "slow": pa.array([10_000, 5000, 1000], pa.int32()),
            "recent": pa.array([10_000, 0, 500], pa.int32()),
            "soon": pa.array([0, 0, 1], pa.int32()),
            "liked": pa.array([0, 5000, 0], pa.int32()),
        }
    )
    weights = Weights(np.array([10, 30], np.int32), models)
    table = item_models.scores(weights, [3, 4, 5], states)
    assert table.column_names == ["user_id", "item_id", *SCORES]
    assert table["user_id"].to_pylist() == [3, 3, 4, 4, 5, 5]
    assert table["item_id"].to_pylist() == [10, 30] * 3
    for name, expected in {
        "ease_score": [0.001, 0.002, 0.0, 0.0, 0.005, 0.010],
        "slow_ease_score": [0.0005, 0.001, 0.0, 0.0, 0.0041, 0.0082],
        "recent_ease_score": [0.0, 0.0, 0.0, 0.0, 0.00405, 0.0081],
        "liked_ease_score": [0.0005, 0.001, 0.0, 0.0, 0.0, 0.0],
        "near_score": [0.0, 0.0, 0.0, 0.0, 0.00405, 0.0081],
        "far_score": [-0.0005, -0.001, 0.0, 0.0, -0.0041, -0.0082],
        "soon_score": [0.0, 0.0, 0.0, 0.0, 1000 * UNIT * STATE_UNIT, 2e-7],
    }.items():
        assert table[name].to_pylist() == pytest.approx(expected, rel=1e-6), name


def scored(connection: Connection, user_ids: Sequence[int]) -> pa.Table:
    """Score users with the cutoff's models."""
    parameters = {"user_ids": list(user_ids)}
    states = warehouse.fetch(connection, "marts/user_states", parameters)
    return item_models.scores(item_models.read(connection), user_ids, states)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_scores_do_not_depend_on_the_block(connection: Connection, size: int) -> None:
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    user_ids = warehouse.user_ids(connection)
    parts = [
        scored(connection, user_ids[start : start + size])
        for start in range(0, len(user_ids), size)
    ]
    together = scored(connection, user_ids)
    assert together.num_rows > 500
    assert worlds.moved(together, pa.concat_tables(parts)) == []


def test_sums_of_many_ratings_are_exact() -> None:
    draw = np.random.default_rng(0)
    n = 2000
    model = draw.integers(-(10**6), 10**6, (n, n)).astype(float)
    models = dict.fromkeys(MODELS, model)
    state = draw.integers(0, 10_001, n)
    columns = {name: pa.array(state, pa.int32()) for name in STATES}
    items = np.arange(1, n + 1, dtype=np.int32)
    states = pa.table({"user_id": np.ones(n, np.int32), "item_id": items, **columns})
    table = item_models.scores(Weights(items, models), [1], states)
    first = sum(int(s) * int(w) for s, w in zip(state, model[:, 0], strict=True))
    expected = np.float32(first * (UNIT * STATE_UNIT))
    assert table["ease_score"][0].as_py() == expected
    backwards = item_models.scores(
        Weights(items, models), [1], states.take(items[::-1] - 1)
    )
    assert backwards.equals(table)


STATES = ("whole", "slow", "recent", "soon", "liked")


# --- worlds --------------------------------------------------------------------------


def test_items_of_the_own_colour_score_higher(connection: Connection) -> None:
    """In all models; items of the other colour have no weight."""
    worlds.stage(connection, worlds.checkerboard())
    tables.build(connection, n_cuts=1)
    for row in scored(connection, warehouse.user_ids(connection)).to_pylist():
        own = (row["item_id"] - row["user_id"]) % 2 == 0
        if own:
            assert row["ease_score"] > 0.01
        else:
            assert [row[name] for name in SCORES] == [0.0] * len(SCORES)


def test_what_always_follows_scores_highest(connection: Connection) -> None:
    """All users go up the items: the next one is predicted, passed ones are not."""
    starts = {user: 1 + user % 10 for user in range(1, 201)}
    world = World(
        [(u, start + i, 4.0, i) for u, start in starts.items() for i in range(5)],
        [(item, None, []) for item in range(1, 16)],
        [(user, None, None, None) for user in starts],
    )
    worlds.stage(connection, world)
    tables.build(connection, n_cuts=0)
    table = scored(connection, [1])  # has rated 2 to 6
    by_item = {row["item_id"]: row for row in table.to_pylist()}
    for name in ("near_score", "far_score", "soon_score"):
        unseen = {item: by_item[item][name] for item in (1, *range(7, 15))}
        assert max(unseen, key=lambda item: unseen[item]) == 7, name
        assert unseen[7] > 2 * abs(unseen[1]), name


def test_a_world_without_co_occurrences_has_no_models(connection: Connection) -> None:
    """It has features, and none of them from models."""
    world = World(
        [(user, 2 * user - i, 4.0, i) for user in range(1, 5) for i in range(2)],
        [(item, None, []) for item in range(1, 9)],
        [(user, None, None, None) for user in range(1, 5)],
    )
    worlds.stage(connection, world)
    tables.build(connection, n_cuts=0)
    weights = item_models.read(connection)
    assert weights.item_ids.tolist() == []
    assert {model.shape for model in weights.models.values()} == {(0, 0)}
    pairs = candidates.pairs(connection, [1, 2, 3, 4])
    assert len(pairs) == 4 * 6
    for name in SCORES:
        assert pairs.values[name].null_count == len(pairs)


def test_scores_are_null_just_for_items_that_are_not_modelled(
    connection: Connection,
) -> None:
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    known = set(item_models.read(connection).item_ids.tolist())
    pairs = candidates.pairs(connection, warehouse.user_ids(connection))
    unknown = [item not in known for item in pairs.item_ids.tolist()]
    assert {True, False} == set(unknown)
    for name in SCORES:
        assert pairs.values[name].is_null().to_pylist() == unknown
