"""How much a ranker's lists favour a few popular items."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Bias:
    """The popularity bias of a ranker's lists.

    Attributes:
        avg_n_ratings: mean number of ratings of a recommended item in the histories.
        gini: how unequally recommendations are spread over the catalogue: 0 if all
            items get equally many, near 1 if one item gets them all.
    """

    avg_n_ratings: float
    gini: float


def measure(
    lists: Iterable[Sequence[int]], n_ratings: Mapping[int, int], n_items: int
) -> Bias:
    """Measure the bias of lists.

    Args:
        lists: item_ids of each user's list.
        n_ratings: item_id → number of ratings in the histories, 0 if missing.
        n_items: the size of the catalogue.
    """
    recommended = np.fromiter((item for items in lists for item in items), np.int64)
    if not len(recommended):
        return Bias(0.0, 0.0)
    item_ids, counts = np.unique(recommended, return_counts=True)
    popularity = np.array([n_ratings.get(item_id, 0) for item_id in item_ids.tolist()])
    never = np.zeros(n_items - len(item_ids), np.int64)
    return Bias(
        int(popularity @ counts) / len(recommended),
        gini(np.concatenate([never, counts])),
    )


def gini(counts: npt.NDArray[np.int64]) -> float:
    """Return the Gini coefficient: half the mean difference relative to the mean."""
    n, total = len(counts), int(counts.sum())
    if not total:
        return 0.0
    ranks = np.arange(1, n + 1)
    weighted = int((ranks * np.sort(counts)).sum())
    return 2 * weighted / (n * total) - (n + 1) / n
