from dataclasses import asdict

import numpy as np
import pytest

from batch.evaluation.comparison import Comparison, compare
from batch.evaluation.evaluation import Evaluation, evaluate, read_held_out
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.batch.evaluation.conftest import HoldOut

USERS = range(1, 41)


def compared(hold_out: HoldOut, n_new: int, n_prod: int) -> Comparison:
    """Compare models whose only hits come first for so many of the 40 users."""
    connection = hold_out(worlds.checkerboard(len(USERS)))
    held_out = read_held_out(connection, USERS)

    def model(n_hits: int) -> Evaluation:
        lists = {user: [*held_out[user]][: user <= n_hits] for user in USERS}
        scores = np.zeros(1, np.float32)
        rankings = (Ranking(u, np.array(lists[u], np.int32), scores) for u in USERS)
        return evaluate(connection, rankings)

    return compare(model(n_new), model(n_prod), "1", "served")


def test_a_model_differs_from_itself_by_exactly_nothing(hold_out: HoldOut) -> None:
    found = compared(hold_out, 7, 7)
    assert not found.is_worse
    assert found.as_dict() == {
        "prod": asdict(found.candidate.model),
        "prod_measured": "served",
        "difference": 0.0,
        "difference_interval": [0.0, 0.0],
        "difference_liked": 0.0,
        "difference_liked_interval": [0.0, 0.0],
    }


@pytest.mark.parametrize(
    ("n_new", "n_prod", "is_worse"),
    [(20, 10, False), (10, 20, True), (11, 10, False), (10, 11, False)],
)
def test_only_more_than_chance_is_worse(
    hold_out: HoldOut, n_new: int, n_prod: int, is_worse: bool
) -> None:
    """The interval decides: it includes 0 where the models differ for one user."""
    found = compared(hold_out, n_new, n_prod)
    difference = found.differences["ndcg_at_10"]
    expected = found.candidate.model.ndcg_at_10 - found.prod.model.ndcg_at_10
    assert difference.mean == pytest.approx(expected)
    low, high = difference.interval
    assert low < difference.mean < high
    assert (low <= 0 <= high) == (abs(n_new - n_prod) == 1)
    assert found.is_worse == is_worse
