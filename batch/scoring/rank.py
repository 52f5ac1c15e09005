"""Booster and blocks of users in, each user's ranked unseen items out.

There are two ways to the same lists. The plain one lets SQL compute the features of
each pair and xgboost predict; the compiled one does both in machine code made for the
model, ten times as fast, and is held against the plain one in every run.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import numpy.typing as npt

from batch.features import item_models
from batch.features.candidates import FEATURES, Pairs, blocks, every, pairs
from batch.scoring.ranking import Ranking

if TYPE_CHECKING:
    # their imports take a second, which a run that is skipped does not have
    import xgboost

    from batch.scoring.compiled import Scorer


SCORERS = ("compiled", "xgboost")

N_CHECKED = 3
"""Users who are ranked in both ways before the compiled one is trusted with all."""

log = logging.getLogger(__name__)


def score(
    connection: duckdb.DuckDBPyConnection,
    booster: "xgboost.Booster",
    user_ids: Sequence[int],
    top_n: int,
    scorer: str = SCORERS[0],
    scheduler: str | None = None,
) -> Iterator[Ranking]:
    """Rank every unseen item for each user, in the order of `user_ids`.

    Args:
        connection: holds the tables of the moment to score for.
        booster: names the features that it wants.
        user_ids: rising.
        top_n: how many items to keep a user.
        scorer: one of SCORERS. Where the compiled one cannot score with this booster,
            or with features that the SQL computes in another way now, a warning says
            so and xgboost scores.
        scheduler: of the Dask cluster whose workers do it, instead of this machine's.
            What the compiled scorer cannot do is done here.
    """
    own = None
    if scorer == "compiled" and len(user_ids):
        own = trusted(connection, booster, user_ids, top_n)
    if own is None:
        yield from score_plainly(connection, booster, user_ids, top_n)
    elif scheduler is None:
        yield from own.rank(user_ids, top_n)
    else:
        from batch.scoring.dask_cluster import Cluster

        with Cluster(scheduler, own) as workers:
            yield from own.rank(user_ids, top_n, workers)


def trusted(
    connection: duckdb.DuckDBPyConnection,
    booster: "xgboost.Booster",
    user_ids: Sequence[int],
    top_n: int,
) -> "Scorer | None":
    """Make the compiled scorer; None, and a warning, where it is of no use."""
    try:
        from batch.scoring import compiled, forest
    except ImportError as error:
        log.warning("xgboost scores, for numba cannot be used here: %s", error)
        return None
    try:
        own = compiled.Scorer(connection, forest.lay_out(booster, FEATURES))
        check(connection, booster, own, every(user_ids, N_CHECKED), top_n)
    except forest.UnsupportedError as error:
        log.warning("xgboost scores, for the compiled scorer cannot: %s", error)
        return None
    return own


def warm_up(scorer: str) -> None:
    """Have the machine code made, or read, before it is needed."""
    if scorer == "compiled":
        with suppress(ImportError):
            from batch.scoring import compiled

            compiled.warm_up()


def score_plainly(
    connection: duckdb.DuckDBPyConnection,
    booster: "xgboost.Booster",
    user_ids: Sequence[int],
    top_n: int,
) -> Iterator[Ranking]:
    """Rank likewise, with the features of `pair_features.sql` and xgboost."""
    names = booster.feature_names or FEATURES
    weights = item_models.read(connection)
    for block in blocks(connection, user_ids):
        candidates = pairs(connection, block, names=names, weights=weights)
        yield from rank(block, candidates, predict(booster, candidates), top_n)


def check(
    connection: duckdb.DuckDBPyConnection,
    booster: "xgboost.Booster",
    own: "Scorer",
    user_ids: Sequence[int],
    top_n: int,
) -> None:
    """Rank for some users in both ways.

    Raises:
        UnsupportedError: the lists differ.
    """
    from batch.scoring.forest import UnsupportedError

    plain = score_plainly(connection, booster, user_ids, top_n)
    for one, other in zip(plain, own.rank(user_ids, top_n), strict=True):
        if not np.array_equal(one.item_ids, other.item_ids):
            raise UnsupportedError(
                f"the list of user {one.user_id} differs from that of the plain way; "
                "does batch/scoring/kernels.py follow sql/marts/pair_features.sql?"
            )


def predict(booster: "xgboost.Booster", candidates: Pairs) -> npt.NDArray[np.float32]:
    """Score pairs; of shape (n_pairs,)."""
    if not len(candidates):
        return np.empty(0, dtype=np.float32)
    # A booster trained with early stopping would otherwise use all of its trees.
    best = booster.attr("best_iteration")
    trees = (0, int(best) + 1) if best is not None else (0, 0)
    scores = booster.inplace_predict(candidates.values, iteration_range=trees)
    return np.asarray(scores, dtype=np.float32)


def rank(
    user_ids: Sequence[int],
    candidates: Pairs,
    scores: npt.NDArray[np.float32],
    top_n: int,
) -> Iterator[Ranking]:
    """Sort each user's candidates by score and keep the first `top_n`."""
    order = np.lexsort((candidates.item_ids, -scores, candidates.user_ids))
    sorted_users = candidates.user_ids[order]
    starts = np.searchsorted(sorted_users, user_ids, side="left")
    ends = np.searchsorted(sorted_users, user_ids, side="right")
    for user_id, start, end in zip(user_ids, starts, ends, strict=True):
        best = order[start : min(end, start + top_n)]
        yield Ranking(user_id, candidates.item_ids[best], scores[best])
