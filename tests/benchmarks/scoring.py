"""Measure how fast each scorer ranks every user × unseen item.

    python -m tests.benchmarks.scoring [--raw DIR_OR_ZIP] [--json] [--users N]
        [--rounds N] [--model FILE]

Both go from the same tables to each user's top 100, with the same booster and cores, in
turns. The plain scorer is the obvious program: pair features in SQL, passed on by Arrow
to `Booster.inplace_predict`, then a sort. A second table shows where the time goes.

Without `--model` (a booster in a file of xgboost's) it trains one as the batch does.
"""

import argparse
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import duckdb
import numpy as np
import xgboost

from batch import warehouse
from batch.features import candidates, columns, tables
from batch.scoring import arrays, compiled, forest, kernels, plain, rank
from batch.scoring.ranking import Ranking
from tests.benchmarks import frame

TOP_N = 100

Function = tuple[ModuleType, str, str]
"""A function's module and name, and the step that its seconds belong to."""


@dataclass(frozen=True)
class Timed:
    """The measurements of one scorer.

    Attributes:
        seconds: of each round.
        rankings: of the last round.
    """

    seconds: list[float]
    rankings: list[Ranking]

    @property
    def median(self) -> float:
        """The median of the seconds."""
        return statistics.median(self.seconds)


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    own = frame.parser(__doc__)
    own.add_argument("--users", type=int, default=10_000, help="score at most so many")
    own.add_argument("--rounds", type=int, default=3, help="how often to time each")
    own.add_argument("--model", type=Path, help="a booster in a file of xgboost")
    return own


def main() -> None:
    """Print tables, and with `--json` one JSON line after them."""
    arguments = parser().parse_args()
    with frame.staged(arguments.raw) as (name, connection):
        booster = read_or_train(connection, arguments.model)
        tables.build(connection, n_cuts=0)
        user_ids = candidates.evenly_spaced(
            warehouse.user_ids(connection), arguments.users
        )
        ways = time_both(connection, booster, user_ids, arguments.rounds)
        n_pairs = count_unseen(connection, user_ids)
        print(f"{name}: {len(user_ids):,} users, {n_pairs:,} pairs, top {TOP_N}\n")
        results = compare(ways, n_pairs)
        results |= shares(connection, booster, user_ids)
    frame.finish(arguments, results)


def read_or_train(
    connection: duckdb.DuckDBPyConnection, path: Path | None
) -> xgboost.Booster:
    """Read a model, or train one."""
    if path is not None:
        return xgboost.Booster(model_file=path)
    return frame.trained(connection).booster


def time_both(
    connection: duckdb.DuckDBPyConnection,
    booster: xgboost.Booster,
    user_ids: Sequence[int],
    n_rounds: int,
) -> dict[str, Timed]:
    """Rank for all users with each scorer in turn, compilation excluded."""
    compiled.warm_up()
    ways: dict[str, Timed] = {}
    for _ in range(n_rounds):
        for scorer in rank.SCORERS:
            start = time.perf_counter()
            blocks = rank.rank_users(connection, booster, user_ids, TOP_N, scorer)
            rankings = list(chain.from_iterable(blocks))
            seconds = time.perf_counter() - start
            before = ways[scorer].seconds if scorer in ways else []
            ways[scorer] = Timed([*before, seconds], rankings)
    return ways


def count_unseen(connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]) -> int:
    """Count the candidate pairs of the users."""
    query = (
        "select count(*) from int_history "
        "where user_id in (select unnest($user_ids::integer[]))"
    )
    ((n_seen,),) = connection.execute(query, {"user_ids": list(user_ids)}).fetchall()
    return len(user_ids) * warehouse.count(connection, "stg_items") - int(n_seen)


def compare(ways: dict[str, Timed], n_pairs: int) -> dict[str, object]:
    """Print the speed of both scorers."""
    mine, plain = ways["compiled"], ways["xgboost"]
    frame.header("scorer", "seconds", "million pairs a second", "times as fast")
    for name, way in ways.items():
        rate, ratio = n_pairs / way.median / 1e6, plain.median / way.median
        frame.row(name, f"{way.median:.2f}", f"{rate:.2f}", f"{ratio:.1f}")
    pairs = list(zip(mine.rankings, plain.rankings, strict=True))
    equal = all(np.array_equal(one.item_ids, other.item_ids) for one, other in pairs)
    difference = max(
        (float(np.max(np.abs(one.scores - other.scores), initial=0)))
        for one, other in pairs
        if len(one.scores) == len(other.scores)
    )
    print(f"\nlists equal: {equal}, scores differ by {difference:g} at most\n")
    return {
        "pairs_per_second": round(n_pairs / mine.median),
        "xgboost_pairs_per_second": round(n_pairs / plain.median),
        "ratio": round(plain.median / mine.median, 2),
        "max_score_difference": difference,
        "lists_equal": equal,
    }


def shares(
    connection: duckdb.DuckDBPyConnection,
    booster: xgboost.Booster,
    user_ids: Sequence[int],
) -> dict[str, object]:
    """Print where either scorer spends its time."""

    def clocked(scorer: str, *functions: Function) -> tuple[dict[str, float], float]:
        steps: dict[str, float] = {}
        start = time.perf_counter()
        with ExitStack() as stack:
            for module, name, step in functions:
                timed = timed_as(step, steps, getattr(module, name))
                stack.enter_context(patch.object(module, name, timed))
            deque(rank.rank_users(connection, booster, user_ids, TOP_N, scorer), 0)
        return steps, time.perf_counter() - start - sum(steps.values())

    plainly, rest = clocked(
        "xgboost",
        (warehouse, "build", "SQL: candidate pairs"),
        (warehouse, "fetch", "SQL: pair features, to Arrow"),
        (plain, "predict", "xgboost: inplace_predict"),
    )
    plainly["numpy: ranking, and the rest"] = rest
    own, rest = clocked(
        "compiled",
        (forest, "lay_out", "the model's trees to arrays"),
        (arrays, "read_catalogue", "SQL: tables of items, to arrays"),
        (rank, "compare", "comparison with the plain scorer"),
    )
    share = share_of_features(connection, booster, user_ids)
    own["machine code: features to codes"] = rest * share
    own["machine code: trees, and the best"] = rest * (1 - share)
    found = {"xgboost": plainly, "compiled": own}
    frame.header("scorer", "step", "seconds", "share")
    for scorer, steps in found.items():
        for step, seconds in steps.items():
            share = seconds / sum(steps.values())
            frame.row(scorer, step, f"{seconds:.2f}", f"{share:.0%}")
    print()
    return {"seconds": found}


def timed_as(
    step: str, steps: dict[str, float], function: Callable[..., object]
) -> Callable[..., object]:
    """Wrap a function so that it adds its seconds to those of a step."""

    def timed(*arguments: object, **named: object) -> object:
        start = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            steps[step] = steps.get(step, 0.0) + time.perf_counter() - start

    return timed


def share_of_features(
    connection: duckdb.DuckDBPyConnection,
    booster: xgboost.Booster,
    user_ids: Sequence[int],
) -> float:
    """Return the share of the features in the kernels' time, in one thread."""
    trees = forest.lay_out(booster, columns.FEATURES)
    catalogue = arrays.read_catalogue(connection, trees)
    some = user_ids[: compiled.USERS_PER_BLOCK]
    users = arrays.read_users(connection, catalogue, some)
    scratch = compiled.scratch_for(catalogue.items, trees)
    start = time.thread_time()
    for u in range(len(some)):
        kernels.encode_user(u, users, catalogue.items, trees, scratch)
    features = time.thread_time() - start
    start = time.thread_time()
    compiled.rank(users, catalogue.items, trees, None, TOP_N)
    return min(1.0, features / (time.thread_time() - start))


if __name__ == "__main__":
    main()
