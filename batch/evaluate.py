"""The metrics of the evaluation protocol, and the baselines.

Of each user's ratings, sorted by (time, item_id), the last fifth is held out. Every
item that is not in the rest is ranked. A split by time, not at random: a recommender is
asked what comes next, and a random hold-out lets a model look at what came after.
"""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import duckdb

from batch import warehouse
from batch.ranking import Ranking

K = 10
LIKED = 4.0
PROTOCOL = (
    "per-user time split: the last 20 % of each user's ratings by (timestamp, item_id) "
    "are held out, every item not in the rest is ranked"
)

Lists = Mapping[int, Sequence[int]]
HeldOut = Mapping[int, Mapping[int, float]]


@dataclass(frozen=True)
class Metrics:
    """Means over the users who have at least one relevant item; coverage is of all."""

    ndcg_at_10: float
    recall_at_10: float
    hit_rate_at_10: float
    coverage_at_10: float
    ndcg_at_10_liked: float


@dataclass(frozen=True)
class Evaluation:
    """How a model's lists and those of the baselines met the same hold-out."""

    n_users: int
    model: Metrics
    popularity: Metrics
    item_knn: Metrics
    protocol: str = PROTOCOL

    def as_dict(self) -> dict[str, object]:
        """Return the contract's JSON form."""
        return asdict(self)


def evaluate(
    connection: duckdb.DuckDBPyConnection, rankings: Iterable[Ranking]
) -> Evaluation:
    """Measure a model's rankings beside the baselines.

    Args:
        connection: holds the tables of the moment after one cut.
        rankings: of the users to measure with, at least ten items long.
    """
    lists = {ranking.user_id: ranking.item_ids[:K].tolist() for ranking in rankings}
    held_out = read_held_out(connection, lists)
    n_items = warehouse.count(connection, "stg_items")
    baselines = read_baselines(connection, list(lists))
    n_users = warehouse.count(connection, "int_moments")
    thinned = f"; of {n_users} users {len(lists)} are measured, evenly spread"
    return Evaluation(
        n_users=len(held_out),
        model=measure(lists, held_out, n_items),
        popularity=measure(baselines["popularity"], held_out, n_items),
        item_knn=measure(baselines["item_knn"], held_out, n_items),
        protocol=PROTOCOL + (thinned if len(lists) < n_users else ""),
    )


def read_held_out(
    connection: duckdb.DuckDBPyConnection, user_ids: Container[int]
) -> dict[int, dict[int, float]]:
    """Return these users' held-out ratings: user_id → item_id → rating."""
    held_out: dict[int, dict[int, float]] = {}
    query = "select user_id, item_id, rating from int_future"
    for user_id, item_id, rating in connection.sql(query).fetchall():
        if user_id in user_ids:
            held_out.setdefault(user_id, {})[item_id] = rating
    return held_out


def read_baselines(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]
) -> dict[str, dict[int, list[int]]]:
    """Return the baselines' lists: name → user_id → item_ids, best first."""
    lists: dict[str, dict[int, list[int]]] = {"popularity": {}, "item_knn": {}}
    parameters = {"user_ids": user_ids}
    table = warehouse.fetch(connection, "marts/baseline_lists", parameters)
    for row in table.to_pylist():
        lists[row["baseline"]].setdefault(row["user_id"], []).append(row["item_id"])
    return lists


def measure(lists: Lists, held_out: HeldOut, n_items: int) -> Metrics:
    """Compare the first ten of each user's list with what the user went on to rate.

    Args:
        lists: user_id → item_ids, best first.
        held_out: user_id → item_id → rating.
        n_items: how many items there are to cover.
    """
    liked = {
        user_id: {item_id: r for item_id, r in ratings.items() if r >= LIKED}
        for user_id, ratings in held_out.items()
    }
    hits = {
        user_id: [item_id in relevant for item_id in lists.get(user_id, ())[:K]]
        for user_id, relevant in held_out.items()
        if relevant
    }
    shown = {item_id for items in lists.values() for item_id in items[:K]}
    return Metrics(
        ndcg_at_10=mean_ndcg(lists, held_out),
        recall_at_10=mean(sum(hit) / len(held_out[user]) for user, hit in hits.items()),
        hit_rate_at_10=mean(float(any(hit)) for hit in hits.values()),
        coverage_at_10=len(shown) / n_items if n_items else 0.0,
        ndcg_at_10_liked=mean_ndcg(lists, liked),
    )


def mean_ndcg(lists: Lists, held_out: HeldOut) -> float:
    """Average NDCG@10 over the users who have something relevant."""
    return mean(
        ndcg([item_id in relevant for item_id in lists.get(user_id, ())], len(relevant))
        for user_id, relevant in held_out.items()
        if relevant
    )


def ndcg(hits: Sequence[bool], n_relevant: int) -> float:
    """Discount each hit by log2 of its rank + 1, and divide by the best possible.

    Source: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques,
    2002; binary gains, the ideal cut at ten as well.
    """
    gain = sum(1 / math.log2(i + 2) for i, hit in enumerate(hits[:K]) if hit)
    return gain / sum(1 / math.log2(i + 2) for i in range(min(K, n_relevant)))


def mean(values: Iterable[float]) -> float:
    """Average, 0 of nothing; exact whatever the order, so that runs can be compared."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else 0.0
