"""Rank every unseen item for each user: the entry of this package.

Two ways lead to the same lists. `plain` computes the features of each pair in SQL and
predicts with xgboost. `compiled` does both in machine code and is ten times as fast. It
answers only for the SQL that it was tested with; and each scoring compares the two for
a few users before it trusts `compiled` with all of them.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from batch.features.columns import FEATURES
from batch.model import base_margin
from batch.scoring import plain, popularity, tested_sql, warm_up
from batch.scoring.ranking import Ranking

if TYPE_CHECKING:
    # importing these takes a second, which a skipped run saves
    import xgboost

    from batch.scoring.compiled import Scorer


SCORERS = ("compiled", "xgboost")

N_COMPARED = 5
"""Number of users who are ranked both ways."""

SCORE_TOLERANCE = 1e-5
"""Both ways give the same scores to the last bit on the machines that we tried. A wrong
feature moves a score by the difference of two leaves, which is much more than this."""

BY_HISTORY = """
    select user_id from int_cutoffs
    semi join (select unnest($user_ids::integer[]) as user_id) using (user_id)
    order by n_history, user_id
"""

USERS_PER_BLOCK = 1000

log = logging.getLogger(__name__)


def rank_users(
    connection: duckdb.DuckDBPyConnection,
    booster: "xgboost.Booster | None",
    user_ids: Sequence[int],
    top_n: int,
    scorer: str = SCORERS[0],
    scheduler: str | None = None,
) -> Iterator[list[Ranking]]:
    """Yield the users' rankings in the given order, in blocks of up to about 1,000.

    Args:
        connection: holds the tables of the cutoff to score for.
        booster: the model, whose `feature_names` list the features that it takes.
            Without one, items rank by popularity.
        user_ids: in ascending order.
        top_n: the length of the lists.
        scorer: one of SCORERS. Where the compiled scorer cannot be trusted with this
            SQL or this booster, a warning says why, and SQL and xgboost score.
        scheduler: the address of a Dask cluster whose workers run the compiled scorer.
    """
    if booster is None:
        yield from popularity.rank_users(connection, user_ids, top_n)
        return
    trusted = None
    if scorer == "compiled" and len(user_ids):
        trusted = compiled_scorer(connection, booster, user_ids, top_n)
    if trusted is None:
        # its blocks are small where there are many items: writers want larger ones
        users = chain.from_iterable(
            plain.rank_users(connection, booster, user_ids, top_n)
        )
        while block := list(islice(users, USERS_PER_BLOCK)):
            yield block
    elif scheduler is None:
        yield from trusted.rank_users(user_ids, top_n)
    else:
        from batch.scoring.dask_cluster import Cluster

        with Cluster(scheduler, trusted) as workers:
            yield from trusted.rank_users(user_ids, top_n, workers)


def compiled_scorer(
    connection: duckdb.DuckDBPyConnection,
    booster: "xgboost.Booster",
    user_ids: Sequence[int],
    top_n: int,
) -> "Scorer | None":
    """Return the compiled scorer; where it cannot be used, log why and return None."""
    if untested := tested_sql.untested():
        more = f" and {len(untested) - 3} more" if len(untested) > 3 else ""
        names = ", ".join(untested[:3]) + more
        explain(
            f"it has not been tested with this {names}; to test it: python -m "
            "tests.renew_digest"
        )
        return None
    warm_up.wait()
    try:
        from batch.scoring import compiled, forest
    except ImportError as error:
        explain(f"numba cannot be used here: {error}")
        return None
    try:
        laid_out = forest.lay_out(booster, FEATURES)
        weights = base_margin.read(booster)
        found = compiled.Scorer(connection, laid_out, weights)
        some = some_users(connection, user_ids)
        compare(connection, booster, found, some, top_n)
    except forest.UnsupportedError as error:
        explain(str(error))
        return None
    return found


@cache
def explain(reason: str) -> None:
    """Log why the compiled scorer is not used, once however often a command scores."""
    log.warning(
        "SQL and xgboost score, ten times as slow or more: the compiled scorer cannot "
        "be used: %s",
        reason,
    )


def some_users(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]
) -> list[int]:
    """Return users evenly from the shortest history to the longest, by user_id."""
    found = connection.execute(BY_HISTORY, {"user_ids": list(user_ids)}).fetchall()
    places = np.linspace(0, len(found) - 1, min(N_COMPARED, len(found)))
    return sorted(found[place][0] for place in places.astype(int).tolist())


def compare(
    connection: duckdb.DuckDBPyConnection,
    booster: "xgboost.Booster",
    scorer: "Scorer",
    user_ids: Sequence[int],
    top_n: int,
) -> None:
    """Rank for some users both ways and compare the lists.

    Raises:
        UnsupportedError: the items, their order or their scores differ.
    """
    from batch.scoring.forest import UnsupportedError

    expected = chain.from_iterable(
        plain.rank_users(connection, booster, user_ids, top_n)
    )
    found = chain.from_iterable(scorer.rank_users(user_ids, top_n))
    for one, other in zip(expected, found, strict=True):
        if not (
            np.array_equal(one.item_ids, other.item_ids)
            and np.allclose(one.scores, other.scores, SCORE_TOLERANCE, SCORE_TOLERANCE)
        ):
            raise UnsupportedError(
                f"its list for user {one.user_id} differs from the one by SQL and "
                "xgboost; does batch/scoring/kernels.py follow "
                "sql/marts/pair_features.sql?"
            )
