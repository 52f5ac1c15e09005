"""The lists of the two baselines, popularity and item-kNN."""

from collections.abc import Sequence

import duckdb

from batch import warehouse

NAMES = ("popularity", "item_knn")
USERS_PER_BLOCK = 250
"""Bounds the memory: the query holds a score for each user and item of a block."""


def read(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]
) -> dict[str, dict[int, list[int]]]:
    """Return baseline → user_id → item_ids, best first."""
    lists: dict[str, dict[int, list[int]]] = {name: {} for name in NAMES}
    for start in range(0, len(user_ids), USERS_PER_BLOCK):
        parameters = {"user_ids": user_ids[start : start + USERS_PER_BLOCK]}
        table = warehouse.fetch(connection, "marts/baseline_lists", parameters)
        for row in table.to_pylist():
            lists[row["baseline"]].setdefault(row["user_id"], []).append(row["item_id"])
    return lists
