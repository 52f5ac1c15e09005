"""Recall by what is recommended: by popularity of the items and by genre."""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from batch.evaluation.history_length import Bucket
from batch.evaluation.metrics import HeldOut, K, Lists

N_SLICES = 4
MAX_GENRES = 25

Ids = npt.NDArray[np.int64]


class Hits:
    """All held-out ratings as arrays, and which of them each ranker's lists have."""

    def __init__(self, lists: Mapping[str, Lists], held_out: HeldOut) -> None:
        pairs = pairs_of(held_out)
        self._items = pairs & 0xFFFFFFFF
        self._found = {
            ranker: np.isin(pairs, pairs_of({u: i[:K] for u, i in of.items()}))
            for ranker, of in lists.items()
        }

    def of(self, item_ids: Iterable[int]) -> Bucket:
        """Return n_held_out and each ranker's recall@10 of ratings of some items."""
        within = np.isin(self._items, np.fromiter(item_ids, np.int64))
        n = int(within.sum())
        return {"n_held_out": n} | {
            ranker: int(found[within].sum()) / max(1, n)
            for ranker, found in self._found.items()
        }


def pairs_of(items: Mapping[int, Iterable[int]]) -> Ids:
    """Return each pair of a user and an item as one number."""
    pairs = ((user_id << 32) | item for user_id, of in items.items() for item in of)
    return np.fromiter(pairs, np.int64)


def by_popularity(hits: Hits, n_ratings: Mapping[int, int]) -> dict[str, Bucket]:
    """Return recall for slices of items, from the most rated on.

    Each slice has a quarter of the ratings of the histories.
    """
    ordered = sorted(n_ratings, key=lambda item_id: (-n_ratings[item_id], item_id))
    total, so_far, last = sum(n_ratings.values()), 0, 0
    buckets: dict[str, Bucket] = {}
    for i, item_id in enumerate(ordered, start=1):
        so_far += n_ratings[item_id]
        if so_far * N_SLICES >= total * (len(buckets) + 1) or i == len(ordered):
            name = f"{last + 1:,}-{i:,}"
            buckets[name] = hits.of(ordered[last:i])
            last = i
            if so_far == total:
                break  # the others were never rated
    return buckets


def by_genre(hits: Hits, genres: Mapping[str, Iterable[int]]) -> dict[str, Bucket]:
    """Return recall for each genre, the one with the most held-out ratings first."""
    found = {genre: hits.of(item_ids) for genre, item_ids in genres.items()}
    ordered = sorted(found, key=lambda genre: (-found[genre]["n_held_out"], genre))
    return {genre: found[genre] for genre in ordered[:MAX_GENRES]}
