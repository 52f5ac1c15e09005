"""Ranking metrics at ten: NDCG, recall, hit rate and coverage."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from batch.settings import DEFAULT_SCALE

K = 10
Lists = Mapping[int, Sequence[int]]
"""user_id → item_ids, best first."""
HeldOut = Mapping[int, Mapping[int, float]]
"""user_id → item_id → held-out rating."""


@dataclass(frozen=True)
class Metrics:
    """Means over the users with a relevant item; coverage is over all lists."""

    ndcg_at_10: float
    recall_at_10: float
    hit_rate_at_10: float
    coverage_at_10: float
    ndcg_at_10_liked: float


def measure(
    lists: Lists,
    held_out: HeldOut,
    n_items: int,
    liked_from: float = DEFAULT_SCALE.liked_from,
) -> Metrics:
    """Compare the first ten items of each list with the user's held-out items.

    `n_items` is the size of the catalogue, for coverage; `liked_from` is the lowest
    rating of an item that a user liked.
    """
    hits = {
        user_id: sum(item_id in relevant for item_id in lists.get(user_id, ())[:K])
        for user_id, relevant in held_out.items()
        if relevant
    }
    recommended = {item_id for items in lists.values() for item_id in items[:K]}
    return Metrics(
        ndcg_at_10=mean_ndcg(lists, held_out),
        recall_at_10=mean(n / len(held_out[user_id]) for user_id, n in hits.items()),
        hit_rate_at_10=mean(float(n > 0) for n in hits.values()),
        coverage_at_10=len(recommended) / n_items if n_items else 0.0,
        ndcg_at_10_liked=mean_ndcg(lists, liked(held_out, liked_from)),
    )


def liked(held_out: HeldOut, liked_from: float = DEFAULT_SCALE.liked_from) -> HeldOut:
    """Keep only the held-out items that their user liked."""
    return {
        user_id: {item_id: r for item_id, r in ratings.items() if r >= liked_from}
        for user_id, ratings in held_out.items()
    }


def mean_ndcg(lists: Lists, held_out: HeldOut) -> float:
    """Return the mean NDCG@10 over the users with at least one relevant item."""
    return mean(user_ndcg(lists, held_out).values())


def user_ndcg(lists: Lists, held_out: HeldOut) -> dict[int, float]:
    """Return user_id → NDCG@10, by ascending id, of users with a relevant item."""
    return {
        user_id: ndcg(
            [item_id in relevant for item_id in lists.get(user_id, ())], len(relevant)
        )
        for user_id, relevant in sorted(held_out.items())
        if relevant
    }


def ndcg(hits: Sequence[bool], n_relevant: int) -> float:
    """Discount each hit by log2 of its rank + 1, and divide by the ideal ranking's sum.

    Source: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques,
    2002; with binary gains, and the ideal ranking cut at ten too.
    """
    gain = sum(1 / math.log2(i + 2) for i, hit in enumerate(hits[:K]) if hit)
    return gain / sum(1 / math.log2(i + 2) for i in range(min(K, n_relevant)))


def mean(values: Iterable[float]) -> float:
    """Return the mean, or 0 without values; the order of the values has no effect."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else 0.0
