import duckdb
import numpy as np
import pytest

from batch.features import tables, transitions
from batch.features.item_models import UNIT
from batch.features.transitions import AFTER, BEFORE, PENALTY
from tests import worlds
from tests.sql.given import given
from tests.worlds import Connection, World

RAGGED = worlds.ragged()


def test_weights_of_two_items(connection: Connection) -> None:
    """By hand. Item 99 is not modelled, and nothing follows item 30."""
    names = "item_id n_ratings"
    given(connection, "int_modelled_items", names, [(10, 40), (30, 60)])
    ranks = [(10, 1), (30, 2), (99, 3)]
    given(connection, "int_item_counts", "item_id popularity_rank", ranks)
    given(connection, "int_cooccurrence_users", "user_id", [(1,), (2,)])
    names = "user_id item_id position n_back"
    ratings = [(1, 10, 1, 1), (1, 30, 2, 0)]
    ratings += [(2, 10, 4, 2), (2, 99, 5, 1), (2, 30, 6, 0)]
    given(connection, "int_history", names, ratings)
    item_ids, weights = transitions.solve(connection)
    assert item_ids.tolist() == [10, 30]
    a, b, together = 40 + PENALTY, 60 + PENALTY, BEFORE + BEFORE**2
    # at distance two, of the states that end at the first rating and at item 99
    following = (1 - AFTER) * (1 + BEFORE + AFTER)
    solved = following / (a * b - together**2)
    expected = np.array([[0, b * solved], [0, -together * solved]]) / UNIT
    assert weights.tolist() == np.round(expected).tolist()
    with pytest.raises(duckdb.CatalogException):
        connection.table("int_cooccurrence_ratings")


def test_weights_solve_the_normal_equations(connection: Connection) -> None:
    """(states × states + penalty) · weights = states × targets, by the definition."""
    worlds.stage(connection, RAGGED)
    tables.build(connection, n_cuts=1)
    known = dict(connection.table("int_modelled_items").fetchall())
    places = {item: place for place, item in enumerate(sorted(known))}
    rated = connection.table("int_history").order("user_id, position")
    users: dict[int, list[tuple[int, int]]] = {}
    for user, item, position in rated.select(
        "user_id", "item_id", "position"
    ).fetchall():
        if item in known:
            users.setdefault(user, []).append((item, position))
    _, weights = transitions.solve(connection)
    gram, following = np.zeros((2, len(known), len(known)))
    for ratings in users.values():
        for one, position in ratings:
            for other, later in ratings:
                distance = later - position
                if not 0 < distance <= 100:
                    continue
                gram[places[one], places[other]] += BEFORE**distance
                following[places[one], places[other]] += (1 - AFTER) * sum(
                    BEFORE**n * AFTER ** (distance - 1 - n) for n in range(distance)
                )
    gram += gram.T
    gram += np.diag([known[item] + PENALTY for item in sorted(known)])
    left = gram @ weights * UNIT
    # a weight is rounded by half a unit, and rows of the gram sum to some hundreds
    assert np.abs(left - following).max() < UNIT * np.abs(gram).sum(axis=1).max()
    assert following.max() > 100 * UNIT * np.abs(gram).sum(axis=1).max()


def test_what_always_follows_weighs_most(connection: Connection) -> None:
    """All users go up the items: the next one is predicted, passed ones are not."""
    starts = {user: 1 + user % 10 for user in range(1, 201)}
    world = World(
        [(u, start + i, 4.0, i) for u, start in starts.items() for i in range(5)],
        [(item, None, []) for item in range(1, 16)],
        [(user, None, None, None) for user in starts],
    )
    worlds.stage(connection, world)
    tables.build(connection, n_cuts=0)
    item_ids, weights = transitions.solve(connection)
    assert item_ids.tolist() == [*range(1, 15)]
    row = weights[item_ids == 6][0]
    assert item_ids[row.argmax()] == 7
    assert row.max() > 2 * np.abs(row[item_ids < 6]).max()
