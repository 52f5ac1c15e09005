import numpy as np
import pytest

from batch.evaluation import confidence
from batch.evaluation.confidence import N_RESAMPLES, Values, intervals, resampled_means


def normal(seed: int, n_users: int = 60) -> Values:
    """Draw values with a true mean of 0."""
    return np.random.default_rng(seed).normal(size=n_users)


@pytest.mark.parametrize(
    ("values", "mean"), [([], 0.0), ([0.5], 0.5), ([0.0] * 60, 0.0)]
)
def test_intervals_without_width(values: list[float], mean: float) -> None:
    assert intervals({"ndcg": np.array(values)}) == {"ndcg": (mean, mean)}


@pytest.mark.parametrize("block", [1, 1000, 1_000_000])
def test_resamples_of_two_users(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The means of two draws of 0 and 1 are 0, 1/2, 1 with odds of 1 : 2 : 1."""
    monkeypatch.setattr(confidence, "DRAWS_PER_BLOCK", block)
    means = resampled_means(np.array([[0.0], [1.0]]))
    assert means.shape == (N_RESAMPLES, 1)
    values, counts = np.unique(means, return_counts=True)
    assert values.tolist() == [0.0, 0.5, 1.0]
    assert counts / N_RESAMPLES == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert intervals({"ndcg": np.array([0.0, 1.0])}) == {"ndcg": (0.0, 1.0)}


def test_about_95_percent_of_the_intervals_contain_the_true_mean() -> None:
    covered = 0
    for seed in range(200):
        values = normal(seed)
        low, high = intervals({"ndcg": values})["ndcg"]
        assert low < values.mean() < high
        covered += low < 0 < high
    assert 180 <= covered <= 198


def test_differences_are_paired() -> None:
    hard = normal(1)
    found = intervals({"one": hard, "other": hard - 0.1, "lead": hard - (hard - 0.1)})
    assert found["lead"] == pytest.approx((0.1, 0.1))
    assert found["one"][0] < found["other"][1]  # unpaired, the intervals overlap


def test_reproducible_alone_and_with_other_series() -> None:
    one, other = normal(1), normal(2)
    alone = intervals({"one": one})
    assert intervals({"one": one}) == alone
    assert intervals({"one": one, "other": other})["one"] == pytest.approx(alone["one"])
