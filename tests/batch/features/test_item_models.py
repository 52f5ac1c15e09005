from collections.abc import Sequence

import numpy as np

from batch.features import candidates, item_models, tables
from batch.features.item_models import PENALTY, UNIT
from tests import worlds
from tests.sql.given import given
from tests.worlds import Connection, World


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


def test_ease_of_two_items(connection: Connection) -> None:
    """By hand. Item 99 is not modelled."""
    names = "item_id n_ratings"
    given(connection, "int_modelled_items", names, [(10, 40), (30, 60)])
    both = [(10, 30, 2), (30, 10, 2), (10, 99, 7), (99, 30, 7)]
    given(connection, "int_item_pairs", "item_id other_item_id n_both", both)
    item_models.build(connection)
    weights = item_models.read(connection)
    assert weights.item_ids.tolist() == [10, 30]
    a, b, c = 40 + PENALTY, 60 + PENALTY, 2
    assert weights.ease.tolist() == whole([[0, c / a], [c / b, 0]])
    diagonal = np.array([b, a]) / (a * b - c * c)
    assert np.allclose(item_models.ease_diagonal(connection), diagonal, rtol=1e-12)


def whole(weights: Sequence[Sequence[float]]) -> list[list[float]]:
    """Round to whole units."""
    return [[float(round(value / UNIT)) for value in row] for row in weights]


def test_items_of_the_own_colour_have_weight(connection: Connection) -> None:
    """Items of the other colour have none."""
    worlds.stage(connection, worlds.checkerboard())
    tables.build(connection, n_cuts=1)
    weights = item_models.read(connection)
    odd = weights.item_ids % 2
    is_own = (odd[:, None] == odd) & ~np.eye(len(odd), dtype=bool)
    assert (weights.ease[is_own] * UNIT > 0.001).all()
    assert (weights.ease[~is_own] == 0).all()


def test_a_world_without_co_occurrences_has_no_model(connection: Connection) -> None:
    """It has pairs."""
    world = World(
        [(user, 2 * user - i, 4.0, i) for user in range(1, 5) for i in range(2)],
        [(item, None, []) for item in range(1, 9)],
        [(user, None, None, None) for user in range(1, 5)],
    )
    worlds.stage(connection, world)
    tables.build(connection, n_cuts=0)
    weights = item_models.read(connection)
    assert weights.item_ids.tolist() == []
    assert weights.ease.shape == (0, 0)
    assert len(candidates.pairs(connection, [1, 2, 3, 4])) == 4 * 6
