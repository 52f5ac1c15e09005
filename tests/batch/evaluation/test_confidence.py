import numpy as np
import pytest

from batch.evaluation import confidence
from batch.evaluation.confidence import N_RESAMPLES, Values, intervals, resampled_means


def normal(seed: int, n_users: int = 60) -> Values:
    """Draw values whose mean is 0 in truth."""
    return np.random.default_rng(seed).normal(size=n_users)


def test_rankers_that_do_not_differ_differ_by_nothing() -> None:
    """Of all zeros each resample is zero: no rounding, and no width."""
    values = normal(0)
    assert intervals({"difference": values - values}) == {"difference": (0.0, 0.0)}


def test_one_user_says_nothing_of_the_spread() -> None:
    assert intervals({"ndcg": np.array([0.5])}) == {"ndcg": (0.5, 0.5)}


def test_no_users_are_no_failure() -> None:
    assert intervals({"ndcg": np.array([])}) == {"ndcg": (0.0, 0.0)}


def test_of_two_users_a_quarter_of_the_resamples_draws_one_alone() -> None:
    """Means of 0 and 1 drawn twice are 0, 1/2, 1 as one, two, one of four."""
    means = resampled_means(np.array([[0.0], [1.0]]))
    values, counts = np.unique(means, return_counts=True)
    assert values.tolist() == [0.0, 0.5, 1.0]
    assert counts / N_RESAMPLES == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert intervals({"ndcg": np.array([0.0, 1.0])}) == {"ndcg": (0.0, 1.0)}


def test_an_interval_is_as_wide_as_theory_has_it() -> None:
    """Of a hundred users, half with 0 and half with 1: 0.5 ± 1.96 · 0.5 / √100."""
    found = intervals({"ndcg": np.array([0.0, 1.0] * 50)})["ndcg"]
    assert found == pytest.approx((0.402, 0.598), abs=0.011)


def test_the_truth_is_within_as_often_as_is_claimed() -> None:
    """Of 95 % intervals about 95 % cover it; all of them cover the mean they are of."""
    covered = 0
    for seed in range(200):
        values = normal(seed)
        low, high = intervals({"ndcg": values})["ndcg"]
        assert low < values.mean() < high
        covered += low < 0 < high
    assert 180 <= covered <= 198


def test_series_are_resampled_together() -> None:
    """What is hard on both does not widen the difference: it is paired."""
    hard = normal(1)
    found = intervals({"one": hard, "other": hard - 0.1, "lead": hard - (hard - 0.1)})
    low, high = found["lead"]
    assert (low, high) == pytest.approx((0.1, 0.1))
    assert found["one"][0] < found["other"][1]  # unpaired they could not be told apart


def test_the_same_values_give_the_same_interval() -> None:
    """Alone or beside others, and again."""
    one, other = normal(1), normal(2)
    assert intervals({"one": one}) == intervals({"one": one})
    together = intervals({"one": one, "other": other})["one"]
    assert together == pytest.approx(intervals({"one": one})["one"])


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of any size make all resamples, each of all users."""
    monkeypatch.setattr(confidence, "DRAWS_PER_BLOCK", 1)
    means = resampled_means(np.ones((3, 2)))
    assert means.shape == (N_RESAMPLES, 2)
    assert (means == 1).all()
