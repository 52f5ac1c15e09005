"""How well those are served who have rated little, and those who have rated much."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

FIRST = (1, 6, 21, 51, 101, 201)
"""The shortest history of each bucket; the last one has no end."""

Bucket = dict[str, int | float]


def by_history_length(
    n_history: npt.NDArray[np.int64], ndcg: Mapping[str, npt.NDArray[np.float64]]
) -> dict[str, Bucket]:
    """Average NDCG@10 by how many ratings a model sees of a user.

    Args:
        n_history: of shape (n_users,).
        ndcg: ranker → of shape (n_users,).

    Returns:
        "6-20" → n_users and each ranker's mean, the shortest first; no empty ones.
    """
    buckets: dict[str, Bucket] = {}
    for first, after in zip(FIRST, (*FIRST[1:], None), strict=True):
        within = n_history >= first
        if after is not None:
            within &= n_history < after
        if within.any():
            means = {
                name: float(values[within].mean()) for name, values in ndcg.items()
            }
            buckets[named(first, after)] = {"n_users": int(within.sum()), **means}
    return buckets


def named(first: int, after: int | None) -> str:
    """Name a bucket as a person would."""
    return f"{first}+" if after is None else f"{first}-{after - 1}"
