"""Confidence intervals of means over users, by the percentile bootstrap.

The measured users are one sample of all possible ones. Resampling them with replacement
estimates how far a mean varies by chance (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

N_RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)
SEED = 42
DRAWS_PER_BLOCK = 2_000_000
"""Bounds the memory: each of three arrays takes 8 bytes per draw."""

Interval = tuple[float, float]
Values = npt.NDArray[np.float64]


def intervals(series: Mapping[str, Values]) -> dict[str, Interval]:
    """Return the 95 % interval of each series' mean; (0, 0) without users.

    Each resample draws the same users for all series. The interval of a difference of
    two rankers is therefore paired: users that are hard for both do not widen it.

    Args:
        series: name → array of shape (n_users,), with the same users in each.
    """
    values = np.column_stack(list(series.values()))
    if not len(values):
        return dict.fromkeys(series, (0.0, 0.0))
    low, high = np.percentile(resampled_means(values), PERCENTILES, axis=0)
    return dict(zip(series, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def resampled_means(values: Values) -> Values:
    """Return each column's mean over resampled users, reproducibly.

    Args:
        values: of shape (n_users, n_series).

    Returns:
        Of shape (N_RESAMPLES, n_series).
    """
    n_users = len(values)
    generator = np.random.default_rng(SEED)
    size = max(1, DRAWS_PER_BLOCK // n_users)
    means = []
    for start in range(0, N_RESAMPLES, size):
        n_drawn = min(size, N_RESAMPLES - start)
        drawn = generator.integers(0, n_users, (n_drawn, n_users))
        # Counting the draws of each user turns all sums into one matrix product.
        drawn += np.arange(n_drawn)[:, None] * n_users
        counts = np.bincount(drawn.ravel(), minlength=n_drawn * n_users)
        means.append(counts.reshape(n_drawn, n_users) @ values / n_users)
    return np.concatenate(means)
