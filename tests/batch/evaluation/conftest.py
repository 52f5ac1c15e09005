from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from batch import warehouse
from batch.features import tables
from tests import worlds
from tests.worlds import Connection, World

HoldOut = Callable[[World], Connection]


@pytest.fixture
def hold_out(tmp_path: Path) -> Iterator[HoldOut]:
    """Return a function that builds a world's tables as of its hold-out."""
    with warehouse.connect(tmp_path) as connection:

        def build(world: World) -> Connection:
            worlds.stage(connection, world)
            tables.build(connection, n_cuts=1)
            return connection

        yield build


def rated(n_items: int, by_user: Mapping[int, Mapping[int, float]]) -> World:
    """Return a world whose users rate items in the order given."""
    return World(
        [
            (user, item, rating, second)
            for user, ratings in by_user.items()
            for second, (item, rating) in enumerate(ratings.items())
        ],
        [(item, None, []) for item in range(1, n_items + 1)],
        [(user, None, None, None) for user in by_user],
    )
