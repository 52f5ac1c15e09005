"""Rank every unseen item for each user: the entry of this package.

Two ways lead to the same lists. `plain` computes the features of each pair in SQL and
predicts with xgboost. `compiled` does both in machine code and is ten times as fast.
Each run compares the two for a few users before it trusts `compiled` with all of them.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from batch.features.candidates import evenly_spaced
from batch.features.columns import FEATURES
from batch.scoring import plain, warm_up
from batch.scoring.ranking import Ranking

if TYPE_CHECKING:
    # importing these takes a second, which a skipped run saves
    import xgboost

    from batch.scoring.compiled import Scorer


SCORERS = ("compiled", "xgboost")

N_COMPARED = 3
"""Number of users who are ranked both ways."""

log = logging.getLogger(__name__)


def rank_users(
    connection: duckdb.DuckDBPyConnection,
    booster: "xgboost.Booster",
    user_ids: Sequence[int],
    top_n: int,
    scorer: str = SCORERS[0],
    scheduler: str | None = None,
) -> Iterator[list[Ranking]]:
    """Yield the users' rankings in the given order, in blocks of up to about 1,000.

    Args:
        connection: holds the tables of the cutoff to score for.
        booster: the model; its `feature_names` list the features that it takes.
        user_ids: in ascending order.
        top_n: the length of the lists.
        scorer: one of SCORERS. If the compiled scorer cannot be used with this booster,
            or disagrees with the SQL, a warning says so and xgboost scores.
        scheduler: the address of a Dask cluster whose workers run the compiled scorer.
    """
    trusted = None
    if scorer == "compiled" and len(user_ids):
        trusted = compiled_scorer(connection, booster, user_ids, top_n)
    if trusted is None:
        yield from plain.rank_users(connection, booster, user_ids, top_n)
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
    warm_up.wait()
    try:
        from batch.scoring import compiled, forest
    except ImportError as error:
        log.warning("xgboost scores, because numba cannot be used here: %s", error)
        return None
    try:
        found = compiled.Scorer(connection, forest.lay_out(booster, FEATURES))
        some = evenly_spaced(user_ids, N_COMPARED)
        compare(connection, booster, found, some, top_n)
    except forest.UnsupportedError as error:
        log.warning("xgboost scores, because the compiled scorer cannot: %s", error)
        return None
    return found


def compare(
    connection: duckdb.DuckDBPyConnection,
    booster: "xgboost.Booster",
    scorer: "Scorer",
    user_ids: Sequence[int],
    top_n: int,
) -> None:
    """Rank for some users both ways and compare the lists.

    Raises:
        UnsupportedError: the lists differ.
    """
    from batch.scoring.forest import UnsupportedError

    expected = chain.from_iterable(
        plain.rank_users(connection, booster, user_ids, top_n)
    )
    found = chain.from_iterable(scorer.rank_users(user_ids, top_n))
    for one, other in zip(expected, found, strict=True):
        if not np.array_equal(one.item_ids, other.item_ids):
            raise UnsupportedError(
                f"its list for user {one.user_id} differs from the one by SQL and "
                "xgboost; does batch/scoring/kernels.py follow "
                "sql/marts/pair_features.sql?"
            )
