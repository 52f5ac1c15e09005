"""Whether all get the same few popular items."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Bias:
    """What a ranker's lists lean to.

    Attributes:
        avg_n_ratings: how many ratings an item that is recommended has in the
            histories, averaged over all places of all lists.
        gini: how unevenly the places are shared among all items of the catalogue; 0
            where each has as many, near 1 where one has them all.
    """

    avg_n_ratings: float
    gini: float


def measure(
    lists: Iterable[Sequence[int]], n_ratings: Mapping[int, int], n_items: int
) -> Bias:
    """Measure the bias of lists.

    Args:
        lists: item_ids, as long as they are shown.
        n_ratings: item_id → how many ratings it has in the histories; none if missing.
        n_items: how many items the catalogue has.
    """
    shown = np.fromiter((item for items in lists for item in items), np.int64)
    if not len(shown):
        return Bias(0.0, 0.0)
    item_ids, counts = np.unique(shown, return_counts=True)
    total = sum(
        n_ratings.get(item_id, 0) * count
        for item_id, count in zip(item_ids.tolist(), counts.tolist(), strict=True)
    )
    never = np.zeros(n_items - len(item_ids), np.int64)
    return Bias(total / len(shown), gini(np.concatenate([never, counts])))


def gini(counts: npt.NDArray[np.int64]) -> float:
    """Return the Gini coefficient: half the mean difference relative to the mean."""
    n, total = len(counts), int(counts.sum())
    if not total:
        return 0.0
    ranks = np.arange(1, n + 1)
    weighted = int((ranks * np.sort(counts)).sum())
    return 2 * weighted / (n * total) - (n + 1) / n
