"""Booster and blocks of users in, each user's ranked unseen items out."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import numpy.typing as npt

from batch import linear
from batch.features import FEATURES, Pairs, blocks, pairs
from batch.ranking import Ranking

if TYPE_CHECKING:
    # its import takes a second, which a run that is skipped does not have
    import xgboost


def score(
    connection: duckdb.DuckDBPyConnection,
    booster: "xgboost.Booster",
    user_ids: Sequence[int],
    top_n: int,
) -> Iterator[Ranking]:
    """Rank every unseen item for each user, in the order of `user_ids`.

    Args:
        connection: holds the tables of the moment to score for.
        booster: names the features that it wants.
        user_ids: rising.
        top_n: how many items to keep a user.
    """
    names = booster.feature_names or FEATURES
    weights = linear.read(connection)
    for block in blocks(connection, user_ids):
        candidates = pairs(connection, block, names=names, weights=weights)
        yield from rank(block, candidates, predict(booster, candidates), top_n)


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
