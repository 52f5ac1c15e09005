"""The lists of the baselines: popularity, item-kNN and EASE."""

from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch import warehouse
from batch.evaluation.metrics import K
from batch.features import item_models
from batch.features.item_models import Ids, Matrix

LABELS = {"popularity": "popularity", "item_knn": "item-kNN", "ease": "EASE"}
"""Baseline → its name on pages and plots."""

USERS_PER_BLOCK = 250
"""Bounds the memory: a block holds a score for each of its users and each item."""


def read(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]
) -> dict[str, dict[int, list[int]]]:
    """Return baseline → user_id → item_ids, best first."""
    lists: dict[str, dict[int, list[int]]] = {name: {} for name in LABELS}
    ordered, models = sorted(user_ids), item_models.read(connection)
    weights = models.ease.astype(np.float64)
    films = connection.table("films").filter("is_eligible")
    eligible = films.to_arrow_table()["item_id"]
    is_eligible = np.isin(models.item_ids, eligible.to_numpy())
    for start in range(0, len(ordered), USERS_PER_BLOCK):
        block = ordered[start : start + USERS_PER_BLOCK]
        table = warehouse.fetch(connection, "marts/baseline_lists", {"user_ids": block})
        for row in table.to_pylist():
            lists[row["baseline"]].setdefault(row["user_id"], []).append(row["item_id"])
        rated = warehouse.fetch(
            connection, "marts/scorer_histories", {"user_ids": block}
        )
        lists["ease"] |= ease(weights, models.item_ids, is_eligible, block, rated)
    return lists


def ease(
    weights: Matrix,
    item_ids: Ids,
    is_eligible: npt.NDArray[np.bool_],
    user_ids: Sequence[int],
    rated: pa.Table,
) -> dict[int, list[int]]:
    """Return user_id → the unseen items that EASE ranks highest.

    It ranks the eligible items that EASE covers.

    Args:
        weights: of shape (n_modelled, n_modelled), rated × candidate.
        item_ids: of shape (n_modelled,), ascending.
        is_eligible: of shape (n_modelled,); which items lists may hold.
        user_ids: in ascending order.
        rated: the user_id and item_id of these users' ratings.
    """
    known = np.isin(rated["item_id"].to_numpy(), item_ids)
    rows = np.searchsorted(user_ids, rated["user_id"].to_numpy()[known])
    places = np.searchsorted(item_ids, rated["item_id"].to_numpy()[known])
    is_rated = np.zeros((len(user_ids), len(item_ids)))
    is_rated[rows, places] = 1
    scores = np.where(is_rated, -np.inf, is_rated @ weights)
    scores[:, ~is_eligible] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    return {
        user_id: [int(item_ids[i]) for i in best[row] if scores[row, i] > -np.inf]
        for row, user_id in enumerate(user_ids)
    }
