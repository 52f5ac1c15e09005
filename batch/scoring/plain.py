"""The plain scorer: features in SQL, predictions by xgboost."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import numpy.typing as npt

from batch.features import candidates
from batch.features.base_scores import Base, read_histories
from batch.features.candidates import Pairs
from batch.features.columns import FEATURES
from batch.model import base_margin
from batch.scoring.ranking import Ranking

if TYPE_CHECKING:
    import xgboost


def rank_users(
    connection: duckdb.DuckDBPyConnection,
    booster: "xgboost.Booster",
    user_ids: Sequence[int],
    top_n: int,
) -> Iterator[list[Ranking]]:
    """Yield the users' rankings block by block; see `batch.scoring.rank`."""
    names = booster.feature_names or FEATURES
    weights = base_margin.read(booster)
    margins = Margins(connection, weights) if weights is not None else None
    for block in candidates.blocks(connection, user_ids):
        pairs = candidates.pairs(connection, block, names=names)
        start = margins.of(block, pairs) if margins is not None else None
        yield rank_pairs(block, pairs, predict(booster, pairs, start), top_n)


class Margins:
    """The base margins of pairs, as of the cutoff of the tables."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, weights: base_margin.Weights
    ) -> None:
        self._connection = connection
        self._weights = weights
        self._base = Base.read(connection)

    def of(self, user_ids: Sequence[int], pairs: Pairs) -> npt.NDArray[np.float32]:
        """Return those of pairs of the given users, who are in ascending order."""
        item_ids = self._base.item_ids
        histories = read_histories(self._connection, item_ids, user_ids)
        margins = base_margin.margins(self._base, histories, self._weights)
        rows = np.searchsorted(user_ids, pairs.user_ids)
        return margins[rows, np.searchsorted(item_ids, pairs.item_ids)]


def predict(
    booster: "xgboost.Booster",
    pairs: Pairs,
    start: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the scores of pairs, of shape (n_pairs,).

    Args:
        booster: the model.
        pairs: with the features that it takes.
        start: the base margin of each pair, if the model has one.
    """
    if not len(pairs):
        return np.empty(0, dtype=np.float32)
    # without a range, trees grown after the best iteration of early stopping count too
    best = booster.attr("best_iteration")
    trees = (0, int(best) + 1) if best is not None else (0, 0)
    scores = booster.inplace_predict(
        pairs.values, iteration_range=trees, base_margin=start
    )
    return np.asarray(scores, dtype=np.float32)


def rank_pairs(
    user_ids: Sequence[int], pairs: Pairs, scores: npt.NDArray[np.float32], top_n: int
) -> list[Ranking]:
    """Return for each user the `top_n` pairs with the highest scores."""
    order = np.lexsort((pairs.item_ids, -scores, pairs.user_ids))
    sorted_users = pairs.user_ids[order]
    starts = np.searchsorted(sorted_users, user_ids, side="left")
    ends = np.searchsorted(sorted_users, user_ids, side="right")
    rankings = []
    for user_id, start, end in zip(user_ids, starts, ends, strict=True):
        best = order[start : min(end, start + top_n)]
        rankings.append(Ranking(user_id, pairs.item_ids[best], scores[best]))
    return rankings
