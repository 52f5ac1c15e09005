"""How fast every user × unseen item is scored, in machine code and in the plain way.

    python -m tests.benchmarks.scoring [--raw DIR_OR_ZIP] [--json] [--users N]
        [--rounds N] [--model FILE]

From the moment's tables to each user's ranked top 100, of the same booster, pairs and
cores, by turns. The plain way is what anybody would write: pair features in SQL, handed
over by Arrow, `Booster.inplace_predict`, a sort. Rows below tell where its time goes.

Without `--model` (a booster of xgboost's, such as the artifact of a version) a model is
trained as the batch trains it.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import xgboost

from batch import warehouse
from batch.features import candidates, item_models, tables
from batch.model import train
from batch.scoring import arrays, compiled, forest, kernels, rank
from batch.scoring.ranking import Ranking
from tests.benchmarks import frame

TOP_N = 100


@dataclass(frozen=True)
class Timed:
    """What one way took, and gave.

    Attributes:
        seconds: of each round.
        rankings: of the last.
    """

    seconds: list[float]
    rankings: list[Ranking]

    @property
    def median(self) -> float:
        """The seconds of the round in the middle."""
        return statistics.median(self.seconds)


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    own = frame.parser(__doc__)
    own.add_argument("--users", type=int, default=10_000, help="score so many at most")
    own.add_argument("--rounds", type=int, default=3, help="time each way so often")
    own.add_argument("--model", type=Path, help="a booster, as xgboost saves it")
    return own


def main() -> None:
    """Print tables, and with `--json` one JSON line after them."""
    arguments = parser().parse_args()
    with frame.staged(arguments.raw) as (name, connection):
        booster = read_or_train(connection, arguments.model)
        tables.build(connection, n_cuts=0)
        user_ids = candidates.every(warehouse.user_ids(connection), arguments.users)
        ways = time_both(connection, booster, user_ids, arguments.rounds)
        n_pairs = count_unseen(connection, user_ids)
        print(f"{name}: {len(user_ids):,} users, {n_pairs:,} pairs, top {TOP_N}\n")
        results = compare(ways, n_pairs)
        results |= shares(connection, booster, user_ids)
    frame.finish(arguments, results)


def read_or_train(
    connection: duckdb.DuckDBPyConnection, path: Path | None
) -> xgboost.Booster:
    """Read a model, or train one on the moments before now."""
    if path is not None:
        return xgboost.Booster(model_file=path)
    return train.train(frame.sample_windows(connection)).booster


def time_both(
    connection: duckdb.DuckDBPyConnection,
    booster: xgboost.Booster,
    user_ids: Sequence[int],
    n_rounds: int,
) -> dict[str, Timed]:
    """Rank for all users, by turns; what makes machine code is not timed."""
    compiled.warm_up()
    ways: dict[str, Timed] = {}
    for _ in range(n_rounds):
        for scorer in rank.SCORERS:
            start = time.perf_counter()
            rankings = list(rank.score(connection, booster, user_ids, TOP_N, scorer))
            seconds = time.perf_counter() - start
            before = ways[scorer].seconds if scorer in ways else []
            ways[scorer] = Timed([*before, seconds], rankings)
    return ways


def count_unseen(connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]) -> int:
    """Count the pairs that are scored."""
    query = (
        "select count(*) from int_history "
        "where user_id in (select unnest($user_ids::integer[]))"
    )
    ((n_seen,),) = connection.execute(query, {"user_ids": list(user_ids)}).fetchall()
    return len(user_ids) * warehouse.count(connection, "stg_items") - int(n_seen)


def compare(ways: dict[str, Timed], n_pairs: int) -> dict[str, object]:
    """Print both ways side by side."""
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
    """Print what either way spends its seconds on."""
    found = {"xgboost": plain_shares(connection, booster, user_ids)}
    found["compiled"] = own_shares(connection, booster, user_ids)
    frame.header("scorer", "step", "seconds", "share")
    for scorer, steps in found.items():
        for step, seconds in steps.items():
            share = seconds / sum(steps.values())
            frame.row(scorer, step, f"{seconds:.2f}", f"{share:.0%}")
    print()
    return {"seconds": found}


@contextmanager
def clocked(
    steps: dict[str, float], *functions: tuple[ModuleType, str, str]
) -> Iterator[None]:
    """Add up the seconds of functions, each of a module, under the names of steps."""
    with ExitStack() as stack:
        for module, name, step in functions:
            stack.enter_context(replaced(module, name, step, steps))
        yield


@contextmanager
def replaced(
    module: ModuleType, name: str, step: str, steps: dict[str, float]
) -> Iterator[None]:
    """Let a function of a module tell how long it takes."""
    former: Callable[..., object] = getattr(module, name)

    def timed(*arguments: object, **named: object) -> object:
        start = time.perf_counter()
        try:
            return former(*arguments, **named)
        finally:
            steps[step] = steps.get(step, 0.0) + time.perf_counter() - start

    setattr(module, name, timed)
    try:
        yield
    finally:
        setattr(module, name, former)


def plain_shares(
    connection: duckdb.DuckDBPyConnection,
    booster: xgboost.Booster,
    user_ids: Sequence[int],
) -> dict[str, float]:
    """Time the steps of the plain way."""
    steps: dict[str, float] = {}
    start = time.perf_counter()
    with clocked(
        steps,
        (warehouse, "build", "SQL: candidate pairs"),
        (warehouse, "fetch", "SQL: pair features, to Arrow"),
        (item_models, "scores", "numpy: linear models"),
        (rank, "predict", "xgboost: inplace_predict"),
    ):
        list(rank.score(connection, booster, user_ids, TOP_N, "xgboost"))
    rest = time.perf_counter() - start - sum(steps.values())
    return steps | {"numpy: ranking, and the rest": rest}


def own_shares(
    connection: duckdb.DuckDBPyConnection,
    booster: xgboost.Booster,
    user_ids: Sequence[int],
) -> dict[str, float]:
    """Time the steps of the compiled way; threads share what is one step here."""
    steps: dict[str, float] = {}
    start = time.perf_counter()
    with clocked(
        steps,
        (forest, "lay_out", "the model's trees to arrays"),
        (arrays, "read_moment", "SQL: tables of items, to arrays"),
        (rank, "check", "some users in the plain way too"),
    ):
        list(rank.score(connection, booster, user_ids, TOP_N, "compiled"))
    rest = time.perf_counter() - start - sum(steps.values())
    filling = share_of_filling(connection, booster, user_ids)
    return steps | {
        "machine code: features to codes": rest * filling,
        "machine code: trees, and the best": rest * (1 - filling),
    }


def share_of_filling(
    connection: duckdb.DuckDBPyConnection,
    booster: xgboost.Booster,
    user_ids: Sequence[int],
) -> float:
    """Tell which part of the kernels' time goes to features, in one thread."""
    trees = forest.lay_out(booster, candidates.FEATURES)
    moment = arrays.read_moment(connection, trees)
    some = user_ids[: compiled.USERS_PER_BLOCK]
    users = arrays.read_users(connection, moment, some)
    scratch = compiled.scratch_for(moment.items, trees)
    start = time.thread_time()
    for u in range(len(some)):
        kernels.fill(u, users, moment.items, trees, scratch)
    filling = time.thread_time() - start
    start = time.thread_time()
    compiled.rank(users, moment.items, trees, TOP_N)
    return min(1.0, filling / (time.thread_time() - start))


if __name__ == "__main__":
    main()
