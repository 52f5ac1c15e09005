"""The quality of the lists and of the usual libraries' lists, on one split.

    python -m tests.benchmarks.quality [--raw DIR_OR_ZIP] [--json]

ALS and BPR need `pip install implicit`; without it they are left out, with a message.
"""

import sys
from dataclasses import asdict
from itertools import chain
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from batch import warehouse
from batch.evaluation.evaluation import evaluate, read_held_out
from batch.evaluation.metrics import K, Metrics, measure
from batch.scoring import rank
from tests.benchmarks import frame

Matrix = npt.NDArray[np.float64]


def main() -> None:
    """Print a table, and with `--json` one JSON line after it."""
    arguments = frame.parsed(__doc__)
    with frame.staged(arguments.raw) as (name, connection):
        results = measure_all(connection)
    frame.header(name, "NDCG@10", "NDCG@10, liked", "Recall@10", "coverage@10")
    for ranker, metrics in results.items():
        frame.row(ranker, *columns(metrics))
    frame.finish(arguments, {n: asdict(metrics) for n, metrics in results.items()})


def columns(metrics: Metrics) -> tuple[float, ...]:
    """Return the cells of a ranker."""
    return (
        metrics.ndcg_at_10,
        metrics.ndcg_at_10_liked,
        metrics.recall_at_10,
        metrics.coverage_at_10,
    )


def measure_all(connection: duckdb.DuckDBPyConnection) -> dict[str, Metrics]:
    """Measure the baselines, the libraries' models and this one on the hold-out."""
    trained = frame.trained(connection)
    user_ids = warehouse.user_ids(connection)
    rankings = chain.from_iterable(
        rank.rank_users(connection, trained.booster, user_ids, K)
    )
    evaluation = evaluate(connection, rankings)
    return {
        "popularity": evaluation.popularity,
        "item-kNN": evaluation.item_knn,
        **measure_libraries(connection, user_ids),
        "EASE": evaluation.ease,
        "MovieLens-XGB": evaluation.model,
    }


def measure_libraries(
    connection: duckdb.DuckDBPyConnection, user_ids: list[int]
) -> dict[str, Metrics]:
    """Rank with each library the items that are not in the history."""
    items = connection.sql("select item_id from stg_items order by item_id").fetchall()
    item_ids = np.array([item_id for (item_id,) in items])
    seen = np.zeros((len(user_ids), len(item_ids)))
    pairs = connection.sql("select user_id, item_id from int_history").fetchall()
    rows = np.searchsorted(user_ids, [user_id for user_id, _ in pairs])
    seen[rows, np.searchsorted(item_ids, [item_id for _, item_id in pairs])] = 1
    held_out = read_held_out(connection, user_ids)
    results = {}
    for name, model in {"ALS (implicit)": als, "BPR (implicit)": bpr}.items():
        try:
            scores = np.where(seen > 0, -np.inf, model(seen))
        except ImportError as error:
            print(f"left out {name}: {error}", file=sys.stderr)
            continue
        best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        lists = dict(zip(user_ids, item_ids[best].tolist(), strict=True))
        results[name] = measure(lists, held_out, len(item_ids))
    return results


def als(seen: Matrix) -> Matrix:
    """Score with implicit's alternating least squares."""
    from implicit.als import AlternatingLeastSquares

    return factorised(
        AlternatingLeastSquares(64, 0.05, alpha=10, iterations=15, random_state=0), seen
    )


def bpr(seen: Matrix) -> Matrix:
    """Score with implicit's Bayesian personalised ranking."""
    from implicit.bpr import BayesianPersonalizedRanking

    return factorised(
        BayesianPersonalizedRanking(64, 0.02, 0.02, iterations=200, random_state=0),
        seen,
    )


def factorised(model: Any, seen: Matrix) -> Matrix:
    """Fit one of implicit's models and multiply its factors out."""
    from scipy.sparse import csr_matrix

    model.fit(csr_matrix(seen, dtype=np.float32), show_progress=False)
    users, items = model.user_factors, model.item_factors
    return np.asarray(users, dtype=np.float64) @ np.asarray(items, dtype=np.float64).T


if __name__ == "__main__":
    main()
