"""What tests of several stages share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch import warehouse
from tests.worlds import Connection


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Give an empty warehouse."""
    with warehouse.connect(tmp_path) as connection:
        yield connection
