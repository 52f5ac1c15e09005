"""How good the lists are of users who have rated one to five items.

    python -m tests.benchmarks.newcomers [--raw DIR_OR_ZIP] [--json]

Every fifth user loses all but the first one to five ratings; the next twenty are what
the lists are measured by. The model learns from what is left.
"""

import argparse
import json
import tempfile
from pathlib import Path

import duckdb
import xgboost

from batch import evaluate, release, score, train, warehouse
from batch.evaluate import HeldOut, mean_ndcg
from tests.benchmarks.quality import sample_windows

N_NEXT = 20
NUMBERED = """
    create or replace table numbered as
    select
        *,
        row_number() over (partition by user_id order by rated_at, item_id) as position,
        user_id % 5 = 0 as is_newcomer,
        1 + user_id // 5 % 5 as n_kept
    from stg_ratings
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--raw", type=Path, default=Path("data/raw"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        raw = release.find(arguments.raw, Path(scratch) / "unpacked")
        with warehouse.connect(Path(scratch) / "spill") as connection:
            warehouse.build_staging(connection, raw.layout, raw.parameters)
            results = measure_all(connection)
    print("| ratings | users | NDCG@10 | item-kNN | popularity |")
    print("| --- | --- | --- | --- | --- |")
    for n_ratings, row in results.items():
        cells = " | ".join(
            f"{row[name]:.4f}" for name in ("model", "item_knn", "popularity")
        )
        print(f"| {n_ratings} | {row['n_users']:.0f} | {cells} |")
    if arguments.json:
        print(json.dumps(results))


def measure_all(
    connection: duckdb.DuckDBPyConnection,
) -> dict[int, dict[str, float]]:
    """Take ratings away, train, and measure by how many are left."""
    connection.execute(NUMBERED)
    connection.execute(KEPT)
    held_out: dict[int, dict[int, dict[int, float]]] = {}
    rows = connection.execute(NEXT, {"n_next": N_NEXT}).fetchall()
    for user_id, n_kept, item_id, rating in rows:
        ratings = held_out.setdefault(n_kept, {}).setdefault(user_id, {})
        ratings[item_id] = rating
    booster = train.train(sample_windows(connection)).booster
    warehouse.build_moment(connection, n_cuts=0)
    return {
        n_kept: measure(connection, booster, held_out[n_kept])
        for n_kept in sorted(held_out)
    }


def measure(
    connection: duckdb.DuckDBPyConnection, booster: xgboost.Booster, held_out: HeldOut
) -> dict[str, float]:
    """Rank for some users, and compare with what they rated next."""
    user_ids = sorted(held_out)
    rankings = score.score(connection, booster, user_ids, evaluate.K)
    lists = {ranking.user_id: ranking.item_ids.tolist() for ranking in rankings}
    baselines = evaluate.read_baselines(connection, user_ids)
    return {
        "n_users": len(user_ids),
        "model": mean_ndcg(lists, held_out),
        **{name: mean_ndcg(found, held_out) for name, found in baselines.items()},
    }


if __name__ == "__main__":
    main()
