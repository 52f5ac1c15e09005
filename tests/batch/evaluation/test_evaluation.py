import json
import math
from dataclasses import asdict, astuple
from pathlib import Path

import numpy as np
import pytest

from batch.evaluation import baselines
from batch.evaluation.evaluation import Evaluation, by_ranker, evaluate
from batch.evaluation.popularity_bias import Bias
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.batch.evaluation.conftest import HoldOut, rated
from tests.worlds import World

SECOND = 1 / math.log2(3)
# The hold-out is item 5 of user 1 and item 6, which is liked, of user 2.
WORLD = rated(
    8,
    {
        1: {1: 5.0, 2: 5.0, 3: 5.0, 4: 5.0, 5: 3.0},
        2: {1: 5.0, 2: 5.0, 3: 5.0, 5: 5.0, 6: 4.0},
        3: {1: 5.0, 6: 5.0},
    },
)
Lists = dict[int, list[int]]


def measured(hold_out: HoldOut, lists: Lists, world: World = WORLD) -> Evaluation:
    """Evaluate lists of items."""
    scores = np.zeros(10, np.float32)
    rankings = (Ranking(u, np.array(lists[u], np.int32), scores) for u in lists)
    return evaluate(hold_out(world), rankings)


@pytest.fixture
def evaluation(hold_out: HoldOut) -> Evaluation:
    """User 1 has a miss and then a hit, user 2 a hit."""
    return measured(hold_out, {2: [6, 5], 3: [8], 1: [7, 5]})


def test_baselines(hold_out: HoldOut) -> None:
    """Ranked by hand: past counts are 3, 2, 2, 1, 1, 1 for the items 1 to 6."""
    assert baselines.read(hold_out(WORLD), [1, 2, 3]) == {
        "popularity": {1: [5, 6], 2: [4, 6], 3: [2, 3, 4, 5]},
        "item_knn": {
            # 4, 5: 1 / (√3 + 10) + 2 · 1 / (√2 + 10); 6: 1 / (√3 + 10)
            1: [5, 6],
            2: [4, 6],
            # 2 and 3: 2 / (√6 + 10); 4 and 5: 1 / (√3 + 10)
            3: [2, 3, 4, 5],
        },
        # no item has five ratings, so the linear models cover none
        "ease": {1: [], 2: [], 3: []},
    }


def test_ease(hold_out: HoldOut) -> None:
    """Its lists are those of the equations, solved here for all items at once."""
    world = worlds.checkerboard()
    connection = hold_out(world)
    users = range(len(world.users), 0, -1)
    seen = np.zeros((len(world.users), len(world.items)))
    query = "select user_id - 1, item_id - 1 from int_history"
    seen[tuple(np.array(connection.sql(query).fetchall()).T)] = 1
    inverse = np.linalg.inv(seen.T @ seen + 200 * np.eye(len(world.items)))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    scores = np.where(seen, -np.inf, seen @ weights)
    found = baselines.read(connection, users)["ease"]
    assert sorted(found) == sorted(users)
    for user, listed in found.items():
        assert len(listed) == 10
        own = scores[user - 1]
        best = np.sort(own)[::-1][:10]
        # weights are kept in millionths
        assert own[np.array(listed) - 1] == pytest.approx(best, abs=1e-5)


def test_a_user_has_at_least_the_items_that_are_left(hold_out: HoldOut) -> None:
    """User 1 has rated all items that EASE covers but one."""
    ratings = {user: dict.fromkeys(range(1, 7), 4.0) for user in range(1, 9)}
    ratings[1] = dict.fromkeys([1, 2, 3, 4, 5, 9], 4.0)
    connection = hold_out(rated(9, ratings))
    assert baselines.read(connection, [1])["ease"] == {1: []}
    connection.execute("delete from int_history where user_id = 1 and item_id = 5")
    assert baselines.read(connection, [1])["ease"] == {1: [5]}


def test_metrics(evaluation: Evaluation) -> None:
    assert evaluation.n_users == 2
    model = ((SECOND + 1) / 2, 1.0, 1.0, 4 / 8, 1.0)
    baseline = ((1 + SECOND) / 2, 1.0, 1.0, 5 / 8, SECOND)
    assert astuple(evaluation.model) == pytest.approx(model)
    assert astuple(evaluation.popularity) == pytest.approx(baseline)
    assert astuple(evaluation.item_knn) == pytest.approx(baseline)
    assert astuple(evaluation.ease) == (0.0,) * 5


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
    rankers = ["popularity", "item_knn", "ease"]
    leads = [f"model_minus_{ranker}" for ranker in rankers]
    assert list(found) == ["model", *rankers, *leads]


def test_intervals_of_hit_rates(hold_out: HoldOut) -> None:
    """One of two users has a hit: of two draws 0, 1 or 2 do."""
    found = measured(hold_out, {1: [7], 2: [6]})
    assert found.model.hit_rate_at_10 == 0.5
    assert found.intervals["model"]["hit_rate_at_10"] == (0.0, 1.0)
    assert found.intervals["item_knn"]["hit_rate_at_10"] == (1.0, 1.0)
    assert found.intervals["model_minus_ease"]["hit_rate_at_10"] == (0.0, 1.0)


def test_history_lengths_and_popularity_bias(hold_out: HoldOut) -> None:
    """The histories have length 4; items 5 and 6 have one rating, item 7 has none."""
    found = measured(hold_out, {1: [7, 5], 2: [6, 5]})
    assert found.by_history_length == {
        "1-5": {
            "n_users": 2,
            "model": pytest.approx((SECOND + 1) / 2),
            "popularity": pytest.approx((1 + SECOND) / 2),
            "item_knn": pytest.approx((1 + SECOND) / 2),
            "ease": 0.0,
        }
    }
    bias = found.popularity_bias["model"]
    assert bias.avg_n_ratings == (0 + 1 + 1 + 1) / 4
    # Counts are 0 five times, 1, 1, 2: the pairs' differences sum to 5 · 4 + 2.
    assert bias.gini == pytest.approx(2 * 22 / (2 * 8**2 * 0.5))


def test_baselines_are_measured_with_the_same_users(hold_out: HoldOut) -> None:
    found = measured(hold_out, {2: [6]})
    assert (found.n_users, found.model.ndcg_at_10) == (1, 1.0)
    assert found.popularity.ndcg_at_10 == pytest.approx(SECOND)
    assert found.popularity.coverage_at_10 == 2 / 8
    assert found.split.endswith("; of 3 users 1 are measured, evenly spread")
    empty = measured(hold_out, {})
    assert empty.n_users == 0
    assert astuple(empty.model) == astuple(empty.item_knn) == (0.0,) * 5
    assert empty.popularity_bias["model"] == Bias(0.0, 0.0)


def test_json_form(evaluation: Evaluation) -> None:
    found = evaluation.as_dict()
    rankers = ["model", "popularity", "item_knn", "ease"]
    assert list(found)[:7] == ["protocol", "split", "n_users", *rankers]
    assert found["protocol"] == "fifth"
    assert json.loads(json.dumps(found)) == found
    for ranker in rankers:
        assert found[ranker] == asdict(evaluation.rankers[ranker])


def test_flat_names_are_grouped_by_ranker(evaluation: Evaluation) -> None:
    found = by_ranker({**evaluation.as_metrics(), "training_ndcg_at_10": 1.0})
    assert list(found) == ["model", "popularity", "item_knn", "ease"]
    for ranker, metrics in evaluation.rankers.items():
        assert found[ranker].items() >= asdict(metrics).items()
        ends = (found[ranker]["ndcg_at_10_low"], found[ranker]["ndcg_at_10_high"])
        assert ends == evaluation.intervals[ranker]["ndcg_at_10"]
    assert by_ranker({"popularity_recall_at_10": 0.5, "eta": 0.1}) == {
        "popularity": {"recall_at_10": 0.5}
    }


@pytest.mark.slow
def test_baselines_on_ml_100k(hold_out: HoldOut, tmp_path: Path) -> None:
    """An independent implementation in NumPy reaches the same figures.

    Its EASE covers all items, and this one those with five ratings or more.
    """
    world = worlds.real(tmp_path)
    if not worlds.real_is_ml_100k(world):
        pytest.skip("the figures are of ml-100k, and these are other files")
    found = measured(hold_out, {user: [] for user, *_ in world.users}, world)
    assert found.n_users == 943
    assert found.popularity.ndcg_at_10 == pytest.approx(0.1218, abs=5e-5)
    assert found.popularity.ndcg_at_10_liked == pytest.approx(0.1007, abs=5e-5)
    assert found.item_knn.ndcg_at_10 == pytest.approx(0.1808, abs=5e-5)
    assert found.ease.ndcg_at_10 == pytest.approx(0.2020, abs=5e-4)
    assert found.ease.ndcg_at_10_liked == pytest.approx(0.1726, abs=5e-4)
