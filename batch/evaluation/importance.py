"""What a model looks at: how far each feature moves its scores."""

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import xgboost

from batch import warehouse
from batch.features.candidates import Pairs, evenly_spaced, pairs
from batch.features.columns import FEATURES

MAX_USERS = 50
MAX_PAIRS = 250_000
"""As many are computed at most: one block of scoring."""

N_DRAWN = 2_000
"""So many of the pairs that were not recommended stand for them."""

SEED = 42


def shap_values(
    connection: duckdb.DuckDBPyConnection,
    booster: xgboost.Booster,
    lists: Mapping[int, Sequence[int]],
) -> dict[str, float]:
    """Average each feature's share in the scores, whichever its sign.

    SHAP values say by how much a value of a feature moves one pair's score (Lundberg
    and others, From local explanations to global understanding, 2020); gains say what
    the trees were built with. They are of some users' recommendations and of some of
    the pairs that were ranked below.

    Args:
        connection: holds the tables of the moment that the lists are of.
        booster: names the features that it wants.
        lists: user_id → item_ids that it recommends.

    Returns:
        Feature → mean |SHAP value|, the strongest first.
    """
    names = booster.feature_names or FEATURES
    found = pairs(connection, some_users(connection, sorted(lists)), names=names)
    chosen = found.values.take(some_pairs(found, lists))
    strengths = np.zeros(len(names))
    if len(chosen):
        matrix = xgboost.DMatrix(chosen, feature_names=list(names))
        values = booster.predict(matrix, pred_contribs=True)
        values = values[:, :-1]  # less the bias, which is no feature's
        strengths = np.abs(values).mean(axis=0, dtype=np.float64)
    ranked = sorted(zip(names, strengths.tolist(), strict=True), key=strongest_first)
    return dict(ranked)


def some_users(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]
) -> Sequence[int]:
    """Thin users out evenly, to as many as the catalogue's size allows."""
    n_items = warehouse.count(connection, "stg_items")
    at_most = max(1, min(MAX_USERS, MAX_PAIRS // max(1, n_items)))
    return evenly_spaced(user_ids, at_most)


def some_pairs(
    found: Pairs, lists: Mapping[int, Sequence[int]]
) -> npt.NDArray[np.int64]:
    """Choose the rows of what was recommended and of a draw from what was not."""
    recommended = np.fromiter(
        (
            item_id in lists[user_id]
            for user_id, item_id in zip(
                found.user_ids.tolist(), found.item_ids.tolist(), strict=True
            )
        ),
        np.bool_,
    )
    # SQL gives its rows in any order: the draw is of rows in a total one
    order = np.lexsort((found.item_ids, found.user_ids))
    others = order[~recommended[order]]
    draw = np.random.default_rng(SEED)
    drawn = draw.choice(others, min(N_DRAWN, len(others)), replace=False)
    return np.concatenate([order[recommended[order]], drawn])


def strongest_first(named: tuple[str, float]) -> tuple[float, str]:
    """Sort by strength, and those of the same by name."""
    name, strength = named
    return -strength, name
