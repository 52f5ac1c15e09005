"""Feature importance: how far each feature moves a model's scores."""

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
"""Bounds the memory to about one block of scoring."""
N_DRAWN = 2_000
"""Size of the sample of pairs that were not recommended."""
SEED = 42


def shap_values(
    connection: duckdb.DuckDBPyConnection,
    booster: xgboost.Booster,
    lists: Mapping[int, Sequence[int]],
) -> dict[str, float]:
    """Return feature → mean |SHAP value|, the strongest first.

    A SHAP value is the amount by which a feature's value moves one pair's score
    (Lundberg and others, From local explanations to global understanding, 2020). The
    mean is over some users' recommendations and a sample of their lower ranked pairs.

    Args:
        connection: holds the tables as of the lists' cutoff.
        booster: has the names of its features.
        lists: user_id → recommended item_ids.
    """
    names = booster.feature_names or FEATURES
    found = pairs(connection, some_users(connection, sorted(lists)), names=names)
    chosen = found.values.take(some_pairs(found, lists))
    strengths = np.zeros(len(names))
    if len(chosen):
        matrix = xgboost.DMatrix(chosen, feature_names=list(names))
        values = booster.predict(matrix, pred_contribs=True)
        values = values[:, :-1]  # the last column is the bias
        strengths = np.abs(values).mean(axis=0, dtype=np.float64)
    named = zip(names, strengths.tolist(), strict=True)
    return dict(sorted(named, key=lambda pair: (-pair[1], pair[0])))


def as_csv(shap: Mapping[str, float], gains: Mapping[str, float]) -> str:
    """Return each feature's importance by both measures, the strongest first."""
    rows = (f"{name},{value},{gains.get(name, 0.0)}" for name, value in shap.items())
    return "\n".join(["feature,mean_abs_shap,total_gain", *rows, ""])


def some_users(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]
) -> Sequence[int]:
    """Return evenly spaced users, as many as the size of the catalogue allows."""
    n_items = warehouse.count(connection, "stg_items")
    at_most = max(1, min(MAX_USERS, MAX_PAIRS // max(1, n_items)))
    return evenly_spaced(user_ids, at_most)


def some_pairs(
    found: Pairs, lists: Mapping[int, Sequence[int]]
) -> npt.NDArray[np.int64]:
    """Return the rows of the recommended pairs and of a sample of the others."""
    ids = zip(found.user_ids.tolist(), found.item_ids.tolist(), strict=True)
    recommended = np.fromiter((item in lists[user] for user, item in ids), np.bool_)
    # SQL returns rows in any order, so sort them for a reproducible sample.
    order = np.lexsort((found.item_ids, found.user_ids))
    others = order[~recommended[order]]
    generator = np.random.default_rng(SEED)
    drawn = generator.choice(others, min(N_DRAWN, len(others)), replace=False)
    return np.concatenate([order[recommended[order]], drawn])
