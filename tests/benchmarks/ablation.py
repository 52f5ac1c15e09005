"""What each family of features, and each habit of the training, adds on the hold-out.

    python -m tests.benchmarks.ablation [--raw DIR_OR_ZIP] [--json]

Each row is a model trained without one thing; the first two are whole and differ by
their seeds, which tells how much of a difference is chance.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import duckdb
import numpy as np
import numpy.typing as npt

from batch import warehouse
from batch.commands.stopwatch import Stopwatch
from batch.commands.train import sample_windows
from batch.evaluation.evaluation import read_held_out
from batch.evaluation.metrics import K, Metrics, measure
from batch.features import candidates, columns, tables
from batch.features.candidates import Pairs
from batch.features.columns import FEATURES
from batch.model import base_margin, train
from batch.scoring import plain
from tests.benchmarks import frame, quality

FAMILIES: Mapping[str, Sequence[str]] = {
    "users": columns.USER,
    "items": columns.ITEM,
    "trends": columns.TREND,
    "fit of user and item": columns.FIT,
    "audiences": columns.AUDIENCE,
    "genres": columns.GENRE,
    "sequences": columns.SEQUENCE,
}


def main() -> None:
    """Print a table, and with `--json` one JSON line after it."""
    arguments = frame.parsed(__doc__)
    results = {}
    with frame.staged(arguments.raw) as (name, connection):
        frame.header(name, "NDCG@10", "NDCG@10, liked", "Recall@10", "coverage@10")
        for without, metrics in measure_all(connection):
            frame.row(without, *quality.columns(metrics))
            results[without] = asdict(metrics)
    frame.finish(arguments, results)


def measure_all(
    connection: duckdb.DuckDBPyConnection,
) -> Iterator[tuple[str, Metrics]]:
    """Train without each thing in turn, and measure on the same candidates."""
    windows = sample_windows(connection, Stopwatch())
    tables.build(connection, n_cuts=1)
    user_ids = warehouse.user_ids(connection)
    every_pair = Pairs.joined(
        [
            candidates.pairs(connection, b)
            for b in candidates.blocks(connection, user_ids)
        ]
    )
    held_out = read_held_out(connection, user_ids)
    n_items = warehouse.count(connection, "stg_items")
    weights = base_margin.fit(connection)
    assert weights is not None
    starts = plain.Margins(connection, weights).of(user_ids, every_pair)

    def measured(
        names: Sequence[str] = FEATURES,
        seed: int = 42,
        is_from_margin: bool = True,
    ) -> Metrics:
        chosen = [only(window, names) for window in windows]
        found = train.train(
            chosen,
            parameters={"seed": seed},
            weights=weights if is_from_margin else None,
        )
        start = starts if is_from_margin else None
        return of_scores(plain.predict(found.booster, only(every_pair, names), start))

    def of_scores(scores: npt.NDArray[np.float32]) -> Metrics:
        ranked = plain.rank_pairs(user_ids, every_pair, scores, K)
        lists = {ranking.user_id: ranking.item_ids.tolist() for ranking in ranked}
        return measure(lists, held_out, n_items)

    yield "all", measured()
    yield "all, another seed", measured(seed=1_000)
    yield "without the base margin", measured(is_from_margin=False)
    yield "the base margin alone", of_scores(starts)
    for name, family in FAMILIES.items():
        rest = [feature for feature in FEATURES if feature not in family]
        yield f"without {name}", measured(rest)


def only(pairs: Pairs, names: Sequence[str]) -> Pairs:
    """Keep some of the features."""
    return replace(pairs, values=pairs.values.select(list(names)))


if __name__ == "__main__":
    main()
