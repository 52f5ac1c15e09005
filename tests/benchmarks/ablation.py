"""What each family of features, and each habit of the training, adds on the hold-out.

    python -m tests.benchmarks.ablation [--raw DIR_OR_ZIP] [--json]

Each row is a model trained without one thing; the first two are whole and differ by
their seeds, which tells how much of a difference is chance.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import duckdb

from batch import evaluate, features, score, train, warehouse
from batch.evaluate import Metrics
from batch.features import FEATURES, Pairs
from tests.benchmarks import frame
from tests.benchmarks.quality import columns

FAMILIES: Mapping[str, Sequence[str]] = {
    "users": features.USER,
    "items": features.ITEM,
    "trends": features.TREND,
    "fit of user and item": features.FIT,
    "audiences": features.AUDIENCE,
    "genres": features.GENRE,
    "tastes": features.TASTE,
    "sequences": features.SEQUENCE,
    "linear models": features.LINEAR,
    "EASE": [name for name in features.LINEAR if "ease" in name],
    "tastes and linear models": features.TASTE + features.LINEAR,
    "sequences and linear models": features.SEQUENCE + features.LINEAR,
}


def main() -> None:
    """Print a table, and with `--json` one JSON line after it."""
    arguments = frame.parsed(__doc__)
    results = {}
    with frame.staged(arguments.raw) as (name, connection):
        frame.header(name, "NDCG@10", "NDCG@10, liked", "Recall@10", "coverage@10")
        for without, metrics in measure_all(connection):
            frame.row(without, *columns(metrics))
            results[without] = asdict(metrics)
    frame.finish(arguments, results)


def measure_all(
    connection: duckdb.DuckDBPyConnection,
) -> Iterator[tuple[str, Metrics]]:
    """Train without each thing in turn, and measure on the same candidates."""
    near, fifth = frame.sample_windows(connection)
    warehouse.build_moment(connection, n_cuts=1)
    user_ids = warehouse.user_ids(connection)
    candidates = Pairs.joined(
        [features.pairs(connection, b) for b in features.blocks(connection, user_ids)]
    )
    held_out = evaluate.read_held_out(connection, user_ids)
    n_items = warehouse.count(connection, "stg_items")

    def measured(
        windows: Sequence[Pairs], names: Sequence[str] = FEATURES, seed: int = 42
    ) -> Metrics:
        chosen = [only(window, names) for window in windows]
        booster = train.train(chosen, parameters={"seed": seed}).booster
        scores = score.predict(booster, only(candidates, names))
        ranked = score.rank(user_ids, candidates, scores, evaluate.K)
        lists = {ranking.user_id: ranking.item_ids.tolist() for ranking in ranked}
        return evaluate.measure(lists, held_out, n_items)

    yield "all", measured([near, fifth])
    yield "all, another seed", measured([near, fifth], seed=1_000)
    yield "without the window of the last three ratings", measured([fifth])
    yield "without the window of the last fifth", measured([near])
    for name, family in FAMILIES.items():
        rest = [feature for feature in FEATURES if feature not in family]
        yield f"without {name}", measured([near, fifth], rest)


def only(pairs: Pairs, names: Sequence[str]) -> Pairs:
    """Keep some of the features."""
    return replace(pairs, values=pairs.values.select(list(names)))


if __name__ == "__main__":
    main()
