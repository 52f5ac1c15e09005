"""On a world whose histories are read off."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from batch import warehouse
from batch.evaluation import examples
from batch.evaluation.examples import N_USERS, Recommended, spread
from batch.features import tables
from tests import worlds
from tests.worlds import Connection, World

WORLD = World(
    # user 1's seven of eight, the last one held out: 7 = ceil(0.8 · 8)
    [
        (1, item, [5.0, 1.0, 4.0, 5.0, 2.0, 4.0, 5.0, 3.0][item - 1], item)
        for item in range(1, 9)
    ]
    # user 2 has one rating and no hold-out
    + [(2, 1, 3.0, 1)],
    [(item, None, []) for item in range(1, 11)],
    [(user, None, None, None) for user in (1, 2)],
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Give the world above as of its hold-out."""
    with warehouse.connect(tmp_path) as connection:
        worlds.stage(connection, WORLD)
        tables.build(connection, n_cuts=1)
        yield connection


def test_a_user_is_shown_as_the_model_saw_them(connection: Connection) -> None:
    """Best rated and latest first, and what is recommended beside what came next."""
    [shorter, found] = examples.read(connection, {1: [9, 8], 2: [10]}, {1: {8: 3.0}})
    assert (found.user_id, found.n_history, found.n_held_out) == (1, 7, 1)
    assert found.liked == [
        ("Item 7", 5.0),
        ("Item 4", 5.0),
        ("Item 1", 5.0),
        ("Item 6", 4.0),
        ("Item 3", 4.0),
    ]
    assert found.recent == [
        ("Item 7", 5.0),
        ("Item 6", 4.0),
        ("Item 5", 2.0),
        ("Item 4", 5.0),
        ("Item 3", 4.0),
    ]
    assert found.recommended == [
        Recommended("Item 9", None),
        Recommended("Item 8", 3.0),
    ]
    assert (shorter.user_id, shorter.n_history, shorter.n_held_out) == (2, 1, 0)
    assert shorter.liked == shorter.recent == [("Item 1", 3.0)]
    assert shorter.recommended == [Recommended("Item 10", None)]


def test_users_without_a_list_are_not_shown(connection: Connection) -> None:
    """Where users are thinned out, not all are measured."""
    assert [found.user_id for found in examples.read(connection, {2: [1]}, {})] == [2]
    assert examples.read(connection, {}, {}) == []


@pytest.mark.parametrize("n_users", [0, 1, 2, 9, 10, 11, 100, 943])
def test_ten_users_are_spread_from_the_first_to_the_last(n_users: int) -> None:
    chosen = spread(range(n_users))
    assert len(set(chosen)) == len(chosen) == min(N_USERS, n_users)
    if chosen:
        assert (chosen[0], chosen[-1]) == (0, n_users - 1)
    steps = [after - before for before, after in pairwise(chosen)]
    assert max(steps, default=0) - min(steps, default=0) <= 1
