import json
import math
from dataclasses import asdict, astuple
from pathlib import Path

import numpy as np
import pytest

from batch import warehouse
from batch.evaluation import baselines
from batch.evaluation.evaluation import Evaluation, by_ranker, evaluate
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.batch.evaluation.conftest import HoldOut
from tests.worlds import Connection, World

SECOND = 1 / math.log2(3)
WORLD = World(
    [
        # user 1: item 5, the last of five, is held out
        (1, 1, 5.0, 1),
        (1, 2, 5.0, 2),
        (1, 3, 5.0, 3),
        (1, 4, 5.0, 4),
        (1, 5, 3.0, 5),
        # user 2: item 6 is held out, and liked
        (2, 1, 5.0, 1),
        (2, 2, 5.0, 2),
        (2, 3, 5.0, 3),
        (2, 5, 5.0, 4),
        (2, 6, 4.0, 5),
        # user 3 has no hold-out
        (3, 1, 5.0, 1),
        (3, 6, 5.0, 2),
    ],
    [(item, None, []) for item in range(1, 9)],
    [(user, None, None, None) for user in (1, 2, 3)],
)


def measured(connection: Connection, lists: dict[int, list[int]]) -> Evaluation:
    """Evaluate lists of items."""
    return evaluate(
        connection,
        (
            Ranking(user, np.array(items, np.int32), np.zeros(len(items), np.float32))
            for user, items in lists.items()
        ),
    )


@pytest.fixture
def connection(hold_out: HoldOut) -> Connection:
    return hold_out(WORLD)


@pytest.fixture
def evaluation(connection: Connection) -> Evaluation:
    """Evaluate a miss and a hit for user 1, and a hit for user 2."""
    return measured(connection, {2: [6, 5], 3: [8], 1: [7, 5]})


def test_baselines(connection: Connection) -> None:
    """Ranked by hand: past counts are 3, 2, 2, 1, 1, 1 for the items 1 to 6."""
    assert baselines.read(connection, [1, 2, 3]) == {
        "popularity": {1: [5, 6], 2: [4, 6], 3: [2, 3, 4, 5]},
        "item_knn": {
            # 5: 1 / (√3 + 10) + 2 · 1 / (√2 + 10); 6: 1 / (√3 + 10)
            1: [5, 6],
            # 4: as 5 above; 6: as above
            2: [4, 6],
            # 2 and 3: 2 / (√6 + 10); 4 and 5: 1 / (√3 + 10)
            3: [2, 3, 4, 5],
        },
    }


def test_metrics(evaluation: Evaluation) -> None:
    assert evaluation.n_users == 2
    model = ((SECOND + 1) / 2, 1.0, 1.0, 4 / 8, 1.0)
    baseline = ((1 + SECOND) / 2, 1.0, 1.0, 5 / 8, SECOND)
    assert astuple(evaluation.model) == pytest.approx(model)
    assert astuple(evaluation.popularity) == pytest.approx(baseline)
    assert astuple(evaluation.item_knn) == pytest.approx(baseline)


def test_values_of_each_user(evaluation: Evaluation) -> None:
    """They are sorted by user_id; only user 2 has a liked item in the hold-out."""
    ndcg, liked = evaluation.user_ndcg.values()
    assert ndcg["model"] == pytest.approx([SECOND, 1])
    assert ndcg["item_knn"] == pytest.approx([1, SECOND])
    assert liked["model"] == pytest.approx([1])
    assert evaluation.lists == {1: [7, 5], 2: [6, 5], 3: [8]}
    assert evaluation.held_out == {1: {5: 3.0}, 2: {6: 4.0}}


def test_intervals(evaluation: Evaluation) -> None:
    """With two users an interval reaches from the worse to the better one."""
    found = evaluation.intervals
    assert found["model"]["ndcg_at_10"] == pytest.approx((SECOND, 1))
    lead = found["model_minus_popularity"]
    assert lead["ndcg_at_10"] == pytest.approx((SECOND - 1, 1 - SECOND))
    assert lead["ndcg_at_10_liked"] == pytest.approx((1 - SECOND, 1 - SECOND))
    baselines = {"popularity", "item_knn"}
    leads = {f"model_minus_{name}" for name in baselines}
    assert set(found) == {"model"} | baselines | leads


def test_history_lengths_and_popularity_bias(connection: Connection) -> None:
    """The histories have length 4; items 5 and 6 have one rating, item 7 has none."""
    found = measured(connection, {1: [7, 5], 2: [6, 5]})
    assert found.by_history_length == {
        "1-5": {
            "n_users": 2,
            "model": pytest.approx((SECOND + 1) / 2),
            "popularity": pytest.approx((1 + SECOND) / 2),
            "item_knn": pytest.approx((1 + SECOND) / 2),
        }
    }
    bias = found.popularity_bias["model"]
    assert bias.avg_n_ratings == (0 + 1 + 1 + 1) / 4
    # Counts are 0 five times, 1, 1, 2: the pairs' differences sum to 5 · 4 + 2.
    assert bias.gini == pytest.approx(2 * 22 / (2 * 8**2 * 0.5))


def test_baselines_are_measured_with_the_same_users(connection: Connection) -> None:
    found = measured(connection, {2: [6]})
    assert (found.n_users, found.model.ndcg_at_10) == (1, 1.0)
    assert found.popularity.ndcg_at_10 == pytest.approx(SECOND)
    assert found.popularity.coverage_at_10 == 2 / 8
    assert found.protocol.endswith("; of 3 users 1 are measured, evenly spread")


def test_no_rankings(connection: Connection) -> None:
    found = measured(connection, {})
    assert found.n_users == 0
    assert astuple(found.model) == astuple(found.item_knn) == (0.0,) * 5


def test_json_form(evaluation: Evaluation) -> None:
    """It has the five metrics of the contract for each ranker."""
    found = evaluation.as_dict()
    assert list(found)[:5] == ["protocol", "n_users", "model", "popularity", "item_knn"]
    assert json.loads(json.dumps(found)) == found
    for ranker in ("model", "popularity", "item_knn"):
        assert found[ranker] == asdict(evaluation.rankers[ranker])
    assert set(asdict(evaluation.model)) == {
        "ndcg_at_10",
        "recall_at_10",
        "hit_rate_at_10",
        "coverage_at_10",
        "ndcg_at_10_liked",
    }


def test_flat_names_are_grouped_by_ranker(evaluation: Evaluation) -> None:
    found = by_ranker({**evaluation.as_metrics(), "training_ndcg_at_10": 1.0})
    assert list(found) == ["model", "popularity", "item_knn"]
    for ranker, metrics in evaluation.rankers.items():
        assert found[ranker].items() >= asdict(metrics).items()
        ends = (found[ranker]["ndcg_at_10_low"], found[ranker]["ndcg_at_10_high"])
        assert ends == evaluation.intervals[ranker]["ndcg_at_10"]
    assert by_ranker({"popularity_recall_at_10": 0.5, "eta": 0.1}) == {
        "popularity": {"recall_at_10": 0.5}
    }


@pytest.mark.slow
def test_baselines_on_ml_100k(hold_out: HoldOut, tmp_path: Path) -> None:
    """An independent implementation in NumPy reaches the same figures."""
    world = worlds.real(tmp_path)
    if not worlds.real_is_ml_100k(world):
        pytest.skip("the figures are of ml-100k, and these are other files")
    connection = hold_out(world)
    found = measured(connection, {user: [] for user in warehouse.user_ids(connection)})
    assert found.n_users == 943
    assert found.popularity.ndcg_at_10 == pytest.approx(0.1111, abs=5e-5)
    assert found.item_knn.ndcg_at_10 == pytest.approx(0.1734, abs=5e-5)
