"""NDCG@10 by the length of users' histories."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

SHORTEST = {"1-5": 1, "6-20": 6, "21-50": 21, "51-100": 51, "101-200": 101, "201+": 201}
"""Bucket → its shortest history."""

Bucket = dict[str, int | float]


def by_history_length(
    n_history: npt.NDArray[np.int64], ndcg: Mapping[str, npt.NDArray[np.float64]]
) -> dict[str, Bucket]:
    """Return n_users and each ranker's mean NDCG@10 for each non-empty bucket.

    Args:
        n_history: of shape (n_users,), the number of ratings that a model sees.
        ndcg: ranker → array of shape (n_users,).
    """
    bucket_of = np.digitize(n_history, list(SHORTEST.values())) - 1
    buckets: dict[str, Bucket] = {}
    for i, name in enumerate(SHORTEST):
        within = bucket_of == i
        if within.any():
            means = {ranker: float(of[within].mean()) for ranker, of in ndcg.items()}
            buckets[name] = {"n_users": int(within.sum()), **means}
    return buckets
