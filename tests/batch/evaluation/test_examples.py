from itertools import pairwise

import pytest

from batch.evaluation import examples
from batch.evaluation.examples import N_USERS, Example, Recommended, spread
from tests.batch.evaluation.conftest import HoldOut, rated

RATINGS = [5.0, 1.0, 4.0, 5.0, 2.0, 4.0, 5.0, 3.0]
# The history of user 1 is 7 = ceil(0.8 · 8) ratings; user 2 has no hold-out.
WORLD = rated(10, {1: dict(enumerate(RATINGS, 1)), 2: {1: 3.0}})


def test_examples_as_of_the_hold_out(hold_out: HoldOut) -> None:
    """Users without a list are left out."""
    connection = hold_out(WORLD)
    assert examples.read(connection, {}, {}) == []
    assert [found.user_id for found in examples.read(connection, {2: [1]}, {})] == ["2"]
    found = examples.read(connection, {1: [9, 8], 2: [10]}, {1: {8: 3.0}})
    highest = [(7, 5.0), (4, 5.0), (1, 5.0), (6, 4.0), (3, 4.0)]
    latest = [(7, 5.0), (6, 4.0), (5, 2.0), (4, 5.0), (3, 4.0)]
    only = [("Item 1", 3.0)]
    assert found == [
        Example("2", 1, 0, only, only, [Recommended("Item 10", None)]),
        Example(
            user_id="1",
            n_history=7,
            n_held_out=1,
            liked=[(f"Item {item}", rating) for item, rating in highest],
            recent=[(f"Item {item}", rating) for item, rating in latest],
            recommended=[Recommended("Item 9", None), Recommended("Item 8", 3.0)],
        ),
    ]


@pytest.mark.parametrize("n_users", [0, 1, 2, 9, 10, 11, 100, 943])
def test_ten_users_are_evenly_spread(n_users: int) -> None:
    chosen = spread(range(n_users))
    assert len(set(chosen)) == len(chosen) == min(N_USERS, n_users)
    if chosen:
        assert (chosen[0], chosen[-1]) == (0, n_users - 1)
    steps = [after - before for before, after in pairwise(chosen)]
    assert max(steps, default=0) - min(steps, default=0) <= 1
