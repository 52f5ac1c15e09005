"""The quality of the lists of users with one to five ratings.

    python -m tests.benchmarks.newcomers [--raw DIR_OR_ZIP] [--json]

Every fifth user keeps only the first one to five ratings; the lists are measured by the
next twenty. The model learns from the remaining ratings.
"""

from itertools import chain

import duckdb

from batch import warehouse
from batch.evaluation import baselines
from batch.evaluation.metrics import K, mean_ndcg
from batch.features import tables
from batch.scoring import rank
from tests.benchmarks import frame

N_NEXT = 20
NUMBERED = """
    create or replace table numbered as
    select *, user_id % 5 = 0 as is_newcomer, 1 + user_id // 5 % 5 as n_kept
    from int_ratings
"""
KEPT = """
    create or replace table stg_ratings as
    select user_id, item_id, rating, rated_at
    from numbered
    where not is_newcomer or position <= n_kept
"""
NEXT = """
    select user_id, n_kept, item_id, rating
    from numbered
    where is_newcomer and position > n_kept and position <= n_kept + $n_next
    order by user_id, position
"""


def main() -> None:
    """Print a table, and with `--json` one JSON line after it."""
    arguments = frame.parsed(__doc__)
    with frame.staged(arguments.raw) as (_, connection):
        results = measure_all(connection)
    frame.header("ratings", "users", "NDCG@10", "EASE", "item-kNN", "popularity")
    for n_kept, found in results.items():
        cells = (found[name] for name in ("model", "ease", "item_knn", "popularity"))
        frame.row(n_kept, found["n_users"], *cells)
    frame.finish(arguments, results)


def measure_all(
    connection: duckdb.DuckDBPyConnection,
) -> dict[int, dict[str, float]]:
    """Take ratings away, train, and measure by how many are left."""
    warehouse.build(connection, "intermediate/int_ratings", {})
    connection.execute(NUMBERED)
    connection.execute(KEPT)
    held_out: dict[int, dict[int, dict[int, float]]] = {}
    rows = connection.execute(NEXT, {"n_next": N_NEXT}).fetchall()
    for user_id, n_kept, item_id, rating in rows:
        ratings = held_out.setdefault(n_kept, {}).setdefault(user_id, {})
        ratings[item_id] = rating
    booster = frame.trained(connection).booster
    tables.build(connection, n_cuts=0)
    user_ids = sorted(user_id for users in held_out.values() for user_id in users)
    rankings = chain.from_iterable(rank.rank_users(connection, booster, user_ids, K))
    lists = {
        "model": {ranking.user_id: ranking.item_ids.tolist() for ranking in rankings},
        **baselines.read(connection, user_ids),
    }
    return {
        n_kept: {"n_users": len(users)}
        | {name: mean_ndcg(found, users) for name, found in lists.items()}
        for n_kept, users in sorted(held_out.items())
    }


if __name__ == "__main__":
    main()
