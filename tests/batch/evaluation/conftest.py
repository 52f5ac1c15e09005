from collections.abc import Callable, Iterator
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
