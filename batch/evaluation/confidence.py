"""How sure a mean over users is: the percentile bootstrap.

The users measured are one draw of those that there could be. Drawing from them again,
with replacement, shows how far a mean moves by the luck of the draw (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

N_RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)
SEED = 42
DRAWS_PER_BLOCK = 2_000_000
"""Bounds the memory: a draw takes 8 bytes, and there are three arrays of them."""

Interval = tuple[float, float]
Values = npt.NDArray[np.float64]


def intervals(series: Mapping[str, Values]) -> dict[str, Interval]:
    """Give the 95 % interval of each series' mean; of no users it is (0, 0).

    Every resample draws the same users for all series. A series of one ranker's values
    less another's is therefore paired: what is hard on both does not widen it.

    Args:
        series: name → of shape (n_users,), all of the same users in the same order.
    """
    values = np.column_stack(list(series.values()))
    if not len(values):
        return dict.fromkeys(series, (0.0, 0.0))
    low, high = np.percentile(resampled_means(values), PERCENTILES, axis=0)
    return {
        name: (float(low[i]), float(high[i])) for i, name in enumerate(series.keys())
    }


def resampled_means(values: Values) -> Values:
    """Average each column over users drawn anew, N_RESAMPLES times.

    Args:
        values: of shape (n_users, n_series).

    Returns:
        Of shape (N_RESAMPLES, n_series); the same for the same values.
    """
    n_users = len(values)
    draw = np.random.default_rng(SEED)
    size = max(1, DRAWS_PER_BLOCK // n_users)
    means = []
    for start in range(0, N_RESAMPLES, size):
        n_drawn = min(size, N_RESAMPLES - start)
        drawn = draw.integers(0, n_users, (n_drawn, n_users))
        # how often each user is drawn: sums become one product for all series
        drawn += np.arange(n_drawn)[:, None] * n_users
        counts = np.bincount(drawn.ravel(), minlength=n_drawn * n_users)
        means.append(counts.reshape(n_drawn, n_users) @ values / n_users)
    return np.concatenate(means)
