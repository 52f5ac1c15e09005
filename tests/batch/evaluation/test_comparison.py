from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from batch import warehouse
from batch.evaluation import comparison
from batch.evaluation.evaluate import Evaluation, evaluate, read_held_out
from batch.features import tables
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.worlds import Connection

N_USERS = 40


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Give a checkerboard as of its hold-out."""
    with warehouse.connect(tmp_path) as connection:
        worlds.stage(connection, worlds.checkerboard(N_USERS))
        tables.build(connection, n_cuts=1)
        yield connection


def hitting(connection: Connection, n_users: int) -> Evaluation:
    """Evaluate lists that begin with a hit for the first users, and have no other."""
    held_out = read_held_out(connection, range(1, N_USERS + 1))
    lists = [
        [next(iter(held_out[user]))] if user <= n_users else []
        for user in range(1, N_USERS + 1)
    ]
    return evaluate(
        connection,
        [
            Ranking(i + 1, np.array(items, np.int32), np.zeros(len(items), np.float32))
            for i, items in enumerate(lists)
        ],
    )


def test_a_model_is_no_better_than_itself_by_exactly_nothing(
    connection: Connection,
) -> None:
    one, other = hitting(connection, 7), hitting(connection, 7)
    found = comparison.compare(one, other, "1", "evaluated")
    assert (found.difference, found.interval) == (0.0, (0.0, 0.0))
    assert (found.difference_liked, found.interval_liked) == (0.0, (0.0, 0.0))
    assert found.is_no_worse


def test_a_better_and_a_worse_model(connection: Connection) -> None:
    """Ten users of 40 make the difference: one way and the other, by as much."""
    better, worse = hitting(connection, 20), hitting(connection, 10)
    found = comparison.compare(better, worse, "1", "evaluated")
    expected = better.model.ndcg_at_10 - worse.model.ndcg_at_10
    assert found.difference == pytest.approx(expected)
    assert 0 < found.interval[0] < found.difference < found.interval[1]
    assert found.is_no_worse
    back = comparison.compare(worse, better, "1", "evaluated")
    assert back.difference == -found.difference
    assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]), 0.1)
    assert not back.is_no_worse


def test_a_little_is_enough(connection: Connection) -> None:
    """The mean decides, though the interval says that it may be luck."""
    better, worse = hitting(connection, 11), hitting(connection, 10)
    assert comparison.compare(better, worse, "1", "evaluated").is_no_worse
    found = comparison.compare(worse, better, "1", "evaluated")
    assert not found.is_no_worse
    assert found.interval[1] == 0


def test_a_comparison_as_json(connection: Connection) -> None:
    evaluation = hitting(connection, 7)
    told = comparison.compare(evaluation, evaluation, "1", "served").as_dict()
    assert told == {
        "prod": evaluation.as_dict()["model"],
        "prod_measured": "served",
        "difference": 0.0,
        "difference_interval": [0.0, 0.0],
        "difference_liked": 0.0,
        "difference_liked_interval": [0.0, 0.0],
    }
