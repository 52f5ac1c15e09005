"""A model and the baselines, measured on one hold-out."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

import duckdb
import numpy as np
import numpy.typing as npt

from batch.evaluation import baselines, confidence, metrics, popularity_bias, slices
from batch.evaluation.confidence import Interval
from batch.evaluation.history_length import Bucket, by_history_length
from batch.evaluation.metrics import HeldOut, Lists, Metrics
from batch.evaluation.popularity_bias import Bias
from batch.evaluation.protocol import FIFTH, Protocol
from batch.scoring.ranking import Ranking
from batch.settings import DEFAULT_SCALE

HELD_OUT = """
    select user_id, item_id, rating
    from int_future
    semi join (select unnest($user_ids::integer[]) as user_id) using (user_id)
"""
N_RATINGS = "select item_id, n_ratings from int_item_counts"
GENRES = """
    select genre, list(item_id)
    from (select item_id, unnest(genres) as genre from stg_items)
    group by genre
"""
N_HISTORY = "select user_id, n_history from int_cutoffs"
PREFIXES = {"model": "", **{name: f"{name}_" for name in baselines.LABELS}}
"""Ranker → prefix of its flat metric names in MLflow."""

ByUser = Mapping[str, npt.NDArray[np.float64]]
"""Ranker → a value, such as NDCG@10, of each user with a relevant item, by user_id."""


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model and of the baselines, for the same users and hold-out.

    Attributes:
        protocol: name of the protocol.
        split: how the ratings were split and the items ranked, in words.
        n_users: number of users with a hold-out.
        model: the model's metrics; `popularity`, `item_knn` and `ease`: the baselines'.
        intervals: ranker or `model_minus_{baseline}` → metric → 95 % interval.
        by_history_length: such as "6-20" → n_users and each ranker's NDCG@10.
        by_popularity: such as "1-62", of the items from the most rated on →
            n_held_out and each ranker's recall@10 of held-out ratings of these items.
        by_genre: the same by genre.
        popularity_bias: ranker → bias of its lists.
        user_ndcg: metric → ranker → NDCG@10 of each user, for paired comparisons.
        lists: the model's list of each user.
        held_out: the held-out ratings of each user.
    """

    protocol: str
    split: str
    n_users: int
    model: Metrics
    popularity: Metrics
    item_knn: Metrics
    ease: Metrics
    intervals: Mapping[str, Mapping[str, Interval]]
    by_history_length: Mapping[str, Bucket]
    by_popularity: Mapping[str, Bucket]
    by_genre: Mapping[str, Bucket]
    popularity_bias: Mapping[str, Bias]
    user_ndcg: Mapping[str, ByUser]
    lists: Lists
    held_out: HeldOut

    @property
    def rankers(self) -> dict[str, Metrics]:
        """The metrics by ranker."""
        return {ranker: getattr(self, ranker) for ranker in PREFIXES}

    def as_metrics(self) -> dict[str, float]:
        """Return metrics and interval ends under flat names, as MLflow wants them."""
        flat: dict[str, float] = {}
        for ranker, prefix in PREFIXES.items():
            values = asdict(self.rankers[ranker])
            for name, (low, high) in self.intervals[ranker].items():
                values |= {f"{name}_low": low, f"{name}_high": high}
            flat |= {prefix + name: value for name, value in values.items()}
        return flat

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form for `evaluate --json`, without values by user."""
        return {
            "protocol": self.protocol,
            "split": self.split,
            "n_users": self.n_users,
            **{name: asdict(of) for name, of in self.rankers.items()},
            "intervals": {
                name: {metric: list(interval) for metric, interval in found.items()}
                for name, found in self.intervals.items()
            },
            "by_history_length": dict(self.by_history_length),
            "by_popularity": dict(self.by_popularity),
            "by_genre": dict(self.by_genre),
            "popularity_bias": {
                name: asdict(bias) for name, bias in self.popularity_bias.items()
            },
        }


def by_ranker(flat: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Group the flat names of `as_metrics` by ranker; missing ones are left out."""
    names = [f.name + end for f in fields(Metrics) for end in ("", "_low", "_high")]
    found = {
        ranker: {name: flat[p + name] for name in names if p + name in flat}
        for ranker, p in PREFIXES.items()
    }
    return {ranker: values for ranker, values in found.items() if values}


def evaluate(
    connection: duckdb.DuckDBPyConnection,
    rankings: Iterable[Ranking],
    protocol: Protocol = FIFTH,
    liked_from: float = DEFAULT_SCALE.liked_from,
) -> Evaluation:
    """Measure a model's rankings, and the baselines for the same users.

    Args:
        connection: holds the tables as of the hold-out's cutoff.
        rankings: one per user to measure, at least ten items long.
        protocol: the one that this cutoff belongs to.
        liked_from: the lowest rating of an item that a user liked.
    """
    model = {r.user_id: r.item_ids[: metrics.K].tolist() for r in rankings}
    held_out = read_held_out(connection, model)
    lists: dict[str, Lists] = {"model": model, **baselines.read(connection, [*model])}
    n_items = len(connection.table("films").filter("is_eligible"))
    n_ratings = dict(connection.sql(N_RATINGS).fetchall())
    n_history = dict(connection.sql(N_HISTORY).fetchall())
    lengths = np.array([n_history[user_id] for user_id in sorted(held_out)], np.int64)
    ndcg = {
        "ndcg_at_10": by_user(lists, held_out),
        "ndcg_at_10_liked": by_user(lists, metrics.liked(held_out, liked_from)),
    }
    # a list has a hit if its NDCG is above 0
    has_hit = {n: (of > 0).astype(np.float64) for n, of in ndcg["ndcg_at_10"].items()}
    hits = slices.Hits(lists, held_out)
    sample = f"; of {len(n_history)} users {len(model)} are measured, evenly spread"
    return Evaluation(
        protocol=protocol.name,
        split=protocol.split + (sample if len(model) < len(n_history) else ""),
        n_users=len(held_out),
        **{
            name: metrics.measure(of, held_out, n_items, liked_from)
            for name, of in lists.items()
        },
        intervals=intervals({**ndcg, "hit_rate_at_10": has_hit}),
        by_history_length=by_history_length(lengths, ndcg["ndcg_at_10"]),
        by_popularity=slices.by_popularity(hits, n_ratings),
        by_genre=slices.by_genre(hits, dict(connection.sql(GENRES).fetchall())),
        popularity_bias={
            name: popularity_bias.measure(of.values(), n_ratings, n_items)
            for name, of in lists.items()
        },
        user_ndcg=ndcg,
        lists=model,
        held_out=held_out,
    )


def read_held_out(
    connection: duckdb.DuckDBPyConnection, user_ids: Iterable[int]
) -> dict[int, dict[int, float]]:
    """Return these users' held-out ratings: user_id → item_id → rating."""
    held_out: dict[int, dict[int, float]] = {}
    found = connection.execute(HELD_OUT, {"user_ids": list(user_ids)})
    for user_id, item_id, rating in found.fetchall():
        held_out.setdefault(user_id, {})[item_id] = rating
    return held_out


def by_user(lists: Mapping[str, Lists], held_out: HeldOut) -> ByUser:
    """Return each ranker's NDCG@10 of each user with a relevant item."""
    return {
        name: np.array(list(metrics.user_ndcg(of, held_out).values()), np.float64)
        for name, of in lists.items()
    }


def intervals(by_metric: Mapping[str, ByUser]) -> dict[str, dict[str, Interval]]:
    """Return the intervals of the rankers and of the model's lead over baselines."""
    found: dict[str, dict[str, Interval]] = {}
    for metric, values in by_metric.items():
        leads = {
            f"model_minus_{name}": values["model"] - values[name]
            for name in baselines.LABELS
        }
        for name, interval in confidence.intervals({**values, **leads}).items():
            found.setdefault(name, {})[metric] = interval
    return found
