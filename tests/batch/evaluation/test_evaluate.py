import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from batch import warehouse
from batch.evaluation import evaluate
from batch.evaluation.evaluate import Metrics, measure, ndcg
from batch.features import tables
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.worlds import Connection, World

SECOND = 1 / math.log2(3)
THIRD = 1 / math.log2(4)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Give an empty warehouse."""
    with warehouse.connect(tmp_path) as connection:
        yield connection


def assert_metrics(found: Metrics, expected: Metrics) -> None:
    """Compare metrics as floats are compared."""
    assert asdict(found) == pytest.approx(asdict(expected))


# --- the metrics ---------------------------------------------------------------------


def test_discounts() -> None:
    """1, 0.6309…, 0.5: what a hit is worth in the first, second and third place."""
    assert pytest.approx((1.0, 0.630930, 0.5), abs=1e-6) == (1.0, SECOND, THIRD)


@pytest.mark.parametrize(
    ("hits", "n_relevant", "expected"),
    [
        ([True], 1, 1.0),
        ([False, True], 1, SECOND),
        ([False, False, True], 1, THIRD),
        ([True, False, True], 2, (1 + THIRD) / (1 + SECOND)),
        ([True], 2, 1 / (1 + SECOND)),
        ([False] * 10, 3, 0.0),
        ([], 3, 0.0),
        # no more than ten can be hit: the ideal is cut there
        ([True] * 10, 25, 1.0),
        # what stands after the tenth place does not count
        ([False] * 10 + [True], 1, 0.0),
        ([False] * 9 + [True], 1, 1 / math.log2(11)),
    ],
)
def test_ndcg(hits: list[bool], n_relevant: int, expected: float) -> None:
    """Gains are binary, discounted, and divided by the best possible."""
    assert ndcg(hits, n_relevant) == pytest.approx(expected)


def test_metrics_of_three_users() -> None:
    """Means are over those who have something relevant, and its own for what is liked.

    User 1 has hits in the first and third place of two held-out items, the third alone
    is liked. User 2 has a short list and misses; nothing held out is liked. User 3 has
    nothing held out, user 4 no list.
    """
    lists = {1: [10, 20, 30], 2: [40], 3: [50]}
    held_out = {1: {10: 3.5, 30: 4.0}, 2: {10: 1.0}, 3: {}, 4: {10: 5.0}}
    measured = measure(lists, held_out, n_items=10)
    assert measured.ndcg_at_10 == pytest.approx((1 + THIRD) / (1 + SECOND) / 3)
    assert measured.recall_at_10 == pytest.approx((2 / 2 + 0 + 0) / 3)
    assert measured.hit_rate_at_10 == pytest.approx(1 / 3)
    assert measured.coverage_at_10 == 0.5
    assert measured.ndcg_at_10_liked == pytest.approx((THIRD + 0) / 2)


def test_only_the_first_ten_count() -> None:
    """A longer list gains nothing, nor does it cover more."""
    lists = {1: list(range(1, 21))}
    measured = measure(lists, {1: {10: 5.0, 11: 5.0}}, n_items=20)
    tenth = 1 / math.log2(11)
    ndcg_at_10 = tenth / (1 + SECOND)
    assert_metrics(measured, Metrics(ndcg_at_10, 0.5, 1.0, 0.5, ndcg_at_10))


def test_recall_is_of_all_that_was_held_out() -> None:
    """Ten hits of twenty are a half, though the NDCG could not be better."""
    lists, held_out = {1: list(range(10))}, {1: dict.fromkeys(range(20), 3.0)}
    measured = measure(lists, held_out, n_items=20)
    assert (measured.ndcg_at_10, measured.recall_at_10) == (1.0, 0.5)
    assert measured.ndcg_at_10_liked == 0.0


def test_nothing_to_measure_is_zero() -> None:
    """No user, no item: no division by zero."""
    assert measure({}, {}, n_items=0) == Metrics(0.0, 0.0, 0.0, 0.0, 0.0)
    assert measure({1: [1]}, {1: {}}, n_items=2) == Metrics(0.0, 0.0, 0.0, 0.5, 0.0)


# --- on a world ----------------------------------------------------------------------

WORLD = World(
    [
        # user 1: four of five ratings are past, item 5 is held out
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
        # user 3 has a past alone
        (3, 1, 5.0, 1),
        (3, 6, 5.0, 2),
    ],
    [(item, None, []) for item in range(1, 9)],
    [(user, None, None, None) for user in (1, 2, 3)],
)


def ranking(user_id: int, *item_ids: int) -> Ranking:
    """Make a ranking of items alone."""
    n = len(item_ids)
    return Ranking(user_id, np.array(item_ids, np.int32), np.zeros(n, np.float32))


@pytest.fixture
def held_out(connection: Connection) -> Connection:
    """Give the world above as of its hold-out."""
    worlds.stage(connection, WORLD)
    tables.build(connection, n_cuts=1)
    return connection


def test_baselines_on_a_small_world(held_out: Connection) -> None:
    """Ranked by hand: past counts are 3, 2, 2, 1, 1, 1 for the items 1 to 6."""
    lists = evaluate.read_baselines(held_out, [1, 2, 3])
    assert lists == {
        "popularity": {1: [5, 6], 2: [4, 6], 3: [2, 3, 4, 5]},
        "item_knn": {
            # 5: 1 / (√3 + 10) + 2 · 1 / (√2 + 10); 6: 1 / (√3 + 10)
            1: [5, 6],
            # 4: as 5 above; 6: as above
            2: [4, 6],
            # 2 and 3: 2 / (√6 + 10); 4 and 5: 1 / (√3 + 10); none knows item 6
            3: [2, 3, 4, 5],
        },
    }


def test_evaluation_on_a_small_world(held_out: Connection) -> None:
    """Measured are the users of the rankings who have a hold-out."""
    lists = [ranking(1, 7, 5, 6), ranking(2, 6), ranking(3, 8)]
    found = evaluate.evaluate(held_out, iter(lists))
    assert found.n_users == 2
    assert_metrics(found.model, Metrics((SECOND + 1) / 2, 1.0, 1.0, 4 / 8, 1.0))
    baseline = Metrics((1 + SECOND) / 2, 1.0, 1.0, 5 / 8, SECOND)
    assert_metrics(found.popularity, baseline)
    assert_metrics(found.item_knn, baseline)


def test_all_are_measured_with_the_same_users(held_out: Connection) -> None:
    """Rankings of some users compare with the baselines of those users."""
    found = evaluate.evaluate(held_out, [ranking(2, 6)])
    assert found.n_users == 1
    assert found.model.ndcg_at_10 == 1.0
    assert found.popularity.ndcg_at_10 == pytest.approx(SECOND)
    assert found.popularity.coverage_at_10 == 2 / 8


def test_no_rankings_measure_nothing(held_out: Connection) -> None:
    """Nobody's lists are worth nothing, and no error."""
    found = evaluate.evaluate(held_out, [])
    assert found.n_users == 0
    assert found.model == found.item_knn == Metrics(0.0, 0.0, 0.0, 0.0, 0.0)


def test_an_evaluation_as_the_contract_has_it(held_out: Connection) -> None:
    """Protocol, users, and the same five metrics of each ranker."""
    told = evaluate.evaluate(held_out, [ranking(1, 5)]).as_dict()
    assert list(told)[:5] == ["protocol", "n_users", "model", "popularity", "item_knn"]
    assert json.loads(json.dumps(told)) == told
    metrics = {
        "ndcg_at_10",
        "recall_at_10",
        "hit_rate_at_10",
        "coverage_at_10",
        "ndcg_at_10_liked",
    }
    for name in ("model", "popularity", "item_knn"):
        ranker = told[name]
        assert isinstance(ranker, dict)
        assert set(ranker) == metrics


def test_flat_names_are_sorted_by_ranker(held_out: Connection) -> None:
    """What MLflow keeps flat is told as it was; what is missing is left out."""
    evaluation = evaluate.evaluate(held_out, [ranking(1, 7, 5), ranking(2, 6)])
    found = evaluate.by_ranker({**evaluation.as_metrics(), "training_ndcg_at_10": 1.0})
    assert list(found) == ["model", "popularity", "item_knn"]
    for ranker, metrics in evaluation.rankers.items():
        assert found[ranker].items() >= asdict(metrics).items()
        low, high = evaluation.intervals[ranker]["ndcg_at_10"]
        assert found[ranker]["ndcg_at_10_low"] == low
        assert found[ranker]["ndcg_at_10_high"] == high
    assert evaluate.by_ranker({"popularity_recall_at_10": 0.5, "eta": 0.1}) == {
        "popularity": {"recall_at_10": 0.5}
    }


def test_each_user_is_kept_to_compare_by(held_out: Connection) -> None:
    """Users 1 and 2 have a hold-out, user 2 alone one that was liked."""
    found = evaluate.evaluate(
        held_out, [ranking(2, 6), ranking(3, 8), ranking(1, 7, 5)]
    )
    assert found.ndcg["model"] == pytest.approx([SECOND, 1])
    assert found.ndcg["item_knn"] == pytest.approx([1, SECOND])
    assert found.ndcg_liked["model"] == pytest.approx([1])
    assert found.lists == {1: [7, 5], 2: [6], 3: [8]}
    assert found.held_out == {1: {5: 3.0}, 2: {6: 4.0}}


def test_intervals_are_of_rankers_and_of_the_models_leads(
    held_out: Connection,
) -> None:
    """Of two users the interval reaches from the worse to the better one."""
    found = evaluate.evaluate(held_out, [ranking(1, 7, 5), ranking(2, 6)]).intervals
    assert found["model"]["ndcg_at_10"] == pytest.approx((SECOND, 1))
    lead = found["model_minus_popularity"]
    assert lead["ndcg_at_10"] == pytest.approx((SECOND - 1, 1 - SECOND))
    # the one user with something liked: no spread
    assert lead["ndcg_at_10_liked"] == pytest.approx((1 - SECOND, 1 - SECOND))
    assert set(found) == {
        "model",
        "popularity",
        "item_knn",
        "model_minus_popularity",
        "model_minus_item_knn",
    }


def test_history_lengths_and_bias_on_a_small_world(held_out: Connection) -> None:
    """Who has a hold-out has a history of 4; items 5 and 6 have one rating, 7 none."""
    found = evaluate.evaluate(held_out, [ranking(1, 7, 5), ranking(2, 6, 5)])
    assert list(found.by_history_length) == ["1-5"]
    bucket = found.by_history_length["1-5"]
    assert bucket["n_users"] == 2
    assert bucket["model"] == pytest.approx((SECOND + 1) / 2)
    assert bucket["popularity"] == pytest.approx((1 + SECOND) / 2)
    # five items are never shown, 6 and 7 once, 5 twice: all pairs differ by 5 · 4 + 2
    bias = found.popularity_bias["model"]
    assert bias.avg_n_ratings == (0 + 1 + 1 + 1) / 4
    assert bias.gini == pytest.approx(2 * 22 / (2 * 8**2 * 0.5))


@pytest.mark.slow
def test_baselines_on_ml_100k(connection: Connection, tmp_path: Path) -> None:
    """They are the figures that NumPy reaches without any SQL of ours."""
    world = worlds.real(tmp_path)
    if not worlds.real_is_ml_100k(world):
        pytest.skip("these are not the files of ml-100k, which the figures are of")
    worlds.stage(connection, world)
    tables.build(connection, n_cuts=1)
    nothing = [ranking(user_id) for user_id in warehouse.user_ids(connection)]
    found = evaluate.evaluate(connection, nothing)
    assert found.n_users == 943
    assert found.popularity.ndcg_at_10 == pytest.approx(0.1111, abs=5e-5)
    assert found.item_knn.ndcg_at_10 == pytest.approx(0.1734, abs=5e-5)
