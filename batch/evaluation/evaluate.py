"""The metrics of the evaluation protocol, and the baselines.

Of each user's ratings, sorted by (time, item_id), the last fifth is held out. Every
item that is not in the rest is ranked. A split by time, not at random: a recommender is
asked what comes next, and a random hold-out lets a model look at what came after.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import duckdb
import numpy as np
import numpy.typing as npt

from batch import warehouse
from batch.evaluation import confidence, popularity_bias
from batch.evaluation.confidence import Interval
from batch.evaluation.history_length import Bucket, by_history_length
from batch.evaluation.popularity_bias import Bias
from batch.scoring.ranking import Ranking

K = 10
LIKED = 4.0
PROTOCOL = (
    "per-user time split: the last 20 % of each user's ratings by (timestamp, item_id) "
    "are held out, every item not in the rest is ranked"
)

HELD_OUT = """
    select user_id, item_id, rating
    from int_future
    semi join (select unnest($user_ids::integer[]) as user_id) using (user_id)
"""

USERS_PER_BLOCK = 250
"""Whose baselines are computed at once: memory has a sum for each user and item."""

PREFIXES = {"model": "", "popularity": "popularity_", "item_knn": "item_knn_"}
"""Ranker → how the flat names of its metrics begin."""
ENDS = ("", "_low", "_high")
"""A metric, and the ends of its interval."""

Lists = Mapping[int, Sequence[int]]
HeldOut = Mapping[int, Mapping[int, float]]
Values = npt.NDArray[np.float64]
ByUser = Mapping[str, Values]
"""Ranker → NDCG@10 of each user with something relevant, user_ids rising."""


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
    """How a model's lists and those of the baselines met the same hold-out.

    Attributes:
        n_users: how many have a hold-out.
        model: and the baselines' metrics, beside it.
        protocol: what was held out and ranked.
        intervals: ranker, or `model_minus_` one → metric → its 95 % interval.
        by_history_length: "6-20" → n_users and each ranker's NDCG@10.
        popularity_bias: ranker → what its lists lean to.
        ndcg: of each user, by which two models can be compared.
        ndcg_liked: the same, where what was liked is relevant.
        lists: the model's, of all who were measured.
        held_out: what they went on to rate.
    """

    n_users: int
    model: Metrics
    popularity: Metrics
    item_knn: Metrics
    protocol: str
    intervals: Mapping[str, Mapping[str, Interval]]
    by_history_length: Mapping[str, Bucket]
    popularity_bias: Mapping[str, Bias]
    ndcg: ByUser
    ndcg_liked: ByUser
    lists: Lists
    held_out: HeldOut

    @property
    def rankers(self) -> dict[str, Metrics]:
        """The metrics by ranker."""
        return {
            "model": self.model,
            "popularity": self.popularity,
            "item_knn": self.item_knn,
        }

    def as_metrics(self) -> dict[str, float]:
        """Return metrics and the ends of their intervals by flat names, as MLflow's."""
        flat: dict[str, float] = {}
        for ranker, metrics in self.rankers.items():
            prefix = PREFIXES[ranker]
            for name, value in asdict(metrics).items():
                flat[f"{prefix}{name}"] = value
            for name, (low, high) in self.intervals[ranker].items():
                flat |= {f"{prefix}{name}_low": low, f"{prefix}{name}_high": high}
        return flat

    def as_dict(self) -> dict[str, object]:
        """Return the contract's JSON form, which is of no single user."""
        return {
            "protocol": self.protocol,
            "n_users": self.n_users,
            **{name: asdict(metrics) for name, metrics in self.rankers.items()},
            "intervals": {
                name: {metric: list(interval) for metric, interval in found.items()}
                for name, found in self.intervals.items()
            },
            "by_history_length": dict(self.by_history_length),
            "popularity_bias": {
                name: asdict(found) for name, found in self.popularity_bias.items()
            },
        }


def by_ranker(flat: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Sort flat names, as MLflow has them, by ranker: what `as_metrics` gave away.

    Rankers, metrics and ends of intervals that are missing are left out.
    """
    names = [f"{field.name}{end}" for field in fields(Metrics) for end in ENDS]
    found = {
        ranker: {name: flat[p + name] for name in names if p + name in flat}
        for ranker, p in PREFIXES.items()
    }
    return {ranker: metrics for ranker, metrics in found.items() if metrics}


def evaluate(
    connection: duckdb.DuckDBPyConnection, rankings: Iterable[Ranking]
) -> Evaluation:
    """Measure a model's rankings beside the baselines.

    Args:
        connection: holds the tables of the moment after one cut.
        rankings: of the users to measure with, at least ten items long.
    """
    model = {ranking.user_id: ranking.item_ids[:K].tolist() for ranking in rankings}
    held_out = read_held_out(connection, model)
    lists: dict[str, Lists] = {"model": model}
    lists |= read_baselines(connection, list(model))
    n_items = warehouse.count(connection, "stg_items")
    n_ratings = read_counts(connection, "item_id, n_ratings from int_item_counts")
    n_history = read_counts(connection, "user_id, n_history from int_cutoffs")
    measured = {name: measure(of, held_out, n_items) for name, of in lists.items()}
    ndcg, ndcg_liked = by_user(lists, held_out), by_user(lists, liked_of(held_out))
    return Evaluation(
        n_users=len(held_out),
        protocol=PROTOCOL + thinned(len(model), len(n_history)),
        intervals=intervals(ndcg, ndcg_liked),
        by_history_length=by_history_length(
            np.array([n_history[user_id] for user_id in sorted(held_out)], np.int64),
            ndcg,
        ),
        popularity_bias={
            name: popularity_bias.measure(of.values(), n_ratings, n_items)
            for name, of in lists.items()
        },
        ndcg=ndcg,
        ndcg_liked=ndcg_liked,
        lists=model,
        held_out=held_out,
        **measured,
    )


def thinned(n_measured: int, n_users: int) -> str:
    """Add to the protocol that not all are measured."""
    if n_measured == n_users:
        return ""
    return f"; of {n_users} users {n_measured} are measured, evenly spread"


def read_counts(connection: duckdb.DuckDBPyConnection, selected: str) -> dict[int, int]:
    """Return a count by id."""
    return dict(connection.sql(f"select {selected}").fetchall())


def intervals(ndcg: ByUser, ndcg_liked: ByUser) -> dict[str, dict[str, Interval]]:
    """Give the intervals of each ranker, and of the model's leads over the others."""
    by_metric = {
        "ndcg_at_10": confidence.intervals(with_leads(ndcg)),
        "ndcg_at_10_liked": confidence.intervals(with_leads(ndcg_liked)),
    }
    return {
        name: {metric: found[name] for metric, found in by_metric.items()}
        for name in by_metric["ndcg_at_10"]
    }


def with_leads(ndcg: ByUser) -> dict[str, Values]:
    """Add by how much the model ranks better than each baseline, user by user."""
    leads = {
        f"model_minus_{name}": ndcg["model"] - values
        for name, values in ndcg.items()
        if name != "model"
    }
    return {**ndcg, **leads}


def read_held_out(
    connection: duckdb.DuckDBPyConnection, user_ids: Iterable[int]
) -> dict[int, dict[int, float]]:
    """Return these users' held-out ratings: user_id → item_id → rating."""
    held_out: dict[int, dict[int, float]] = {}
    found = connection.execute(HELD_OUT, {"user_ids": list(user_ids)})
    for user_id, item_id, rating in found.fetchall():
        held_out.setdefault(user_id, {})[item_id] = rating
    return held_out


def read_baselines(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]
) -> dict[str, dict[int, list[int]]]:
    """Return the baselines' lists: name → user_id → item_ids, best first."""
    lists: dict[str, dict[int, list[int]]] = {"popularity": {}, "item_knn": {}}
    for start in range(0, len(user_ids), USERS_PER_BLOCK):
        parameters = {"user_ids": user_ids[start : start + USERS_PER_BLOCK]}
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
        ndcg_at_10_liked=mean_ndcg(lists, liked_of(held_out)),
    )


def liked_of(held_out: HeldOut) -> HeldOut:
    """Keep what was liked."""
    return {
        user_id: {item_id: r for item_id, r in ratings.items() if r >= LIKED}
        for user_id, ratings in held_out.items()
    }


def by_user(lists: Mapping[str, Lists], held_out: HeldOut) -> dict[str, Values]:
    """Return each ranker's NDCG@10 of each user who has something relevant."""
    return {
        name: np.array(list(user_ndcg(of, held_out).values()), np.float64)
        for name, of in lists.items()
    }


def mean_ndcg(lists: Lists, held_out: HeldOut) -> float:
    """Average NDCG@10 over the users who have something relevant."""
    return mean(user_ndcg(lists, held_out).values())


def user_ndcg(lists: Lists, held_out: HeldOut) -> dict[int, float]:
    """Return user_id → NDCG@10, rising, of those who have something relevant."""
    return {
        user_id: ndcg(
            [item_id in relevant for item_id in lists.get(user_id, ())], len(relevant)
        )
        for user_id, relevant in sorted(held_out.items())
        if relevant
    }


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
