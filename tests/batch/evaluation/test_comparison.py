from dataclasses import asdict

import numpy as np
import pytest

from batch.evaluation.comparison import Comparison, compare
from batch.evaluation.evaluation import Evaluation, evaluate, read_held_out
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.batch.evaluation.conftest import HoldOut
from tests.worlds import Connection

USERS = range(1, 41)


@pytest.fixture
def connection(hold_out: HoldOut) -> Connection:
    return hold_out(worlds.checkerboard(len(USERS)))


def compared(connection: Connection, n_new: int, n_prod: int) -> Comparison:
    """Compare models whose only hits come first for so many of the 40 users."""
    held_out = read_held_out(connection, USERS)

    def model(n_hits: int) -> Evaluation:
        lists = {user: [*held_out[user]][: user <= n_hits] for user in USERS}
        scores = np.zeros(1, np.float32)
        rankings = (Ranking(u, np.array(lists[u], np.int32), scores) for u in USERS)
        return evaluate(connection, rankings)

    return compare(model(n_new), model(n_prod), "1", "served")


def test_a_model_differs_from_itself_by_exactly_nothing(connection: Connection) -> None:
    found = compared(connection, 7, 7)
    assert found.is_no_worse
    assert found.as_dict() == {
        "prod": asdict(found.candidate.model),
        "prod_measured": "served",
        "difference": 0.0,
        "difference_interval": [0.0, 0.0],
        "difference_liked": 0.0,
        "difference_liked_interval": [0.0, 0.0],
    }


def test_a_better_and_a_worse_model(connection: Connection) -> None:
    """Hits for ten more users are a significant difference in both directions."""
    found = compared(connection, 20, 10)
    gain = found.differences["ndcg_at_10"]
    expected = found.candidate.model.ndcg_at_10 - found.prod.model.ndcg_at_10
    assert gain.mean == pytest.approx(expected)
    assert 0 < gain.interval[0] < gain.mean < gain.interval[1]
    assert found.is_no_worse
    reverse = compared(connection, 10, 20)
    loss = reverse.differences["ndcg_at_10"]
    assert loss.mean == -gain.mean
    assert loss.interval == pytest.approx([-end for end in gain.interval[::-1]], 0.1)
    assert not reverse.is_no_worse


def test_a_small_gain_is_enough(connection: Connection) -> None:
    """The mean decides, even where the interval includes 0."""
    assert compared(connection, 11, 10).is_no_worse
    found = compared(connection, 10, 11)
    assert not found.is_no_worse
    assert found.differences["ndcg_at_10"].interval[1] == 0
