"""Linear item-to-item models: EASE, and three that predict the next items.

A model is a matrix of weights, from rated item to candidate item, solved in closed form
from counts by SQL. A user's score for a candidate is a sum over the user's ratings: the
rating's weight in the user's state times the weight from its item to the candidate.

`ease` predicts an item from all other items that its raters rated, in any order (Steck,
Embarrassingly Shallow Autoencoders, 2019). `near`, `far` and `soon` predict the next
items; they forget a history at different rates (after the transitions of Choi and
others, Session-aware Linear Item-Item Models, 2021).
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch.machine import limits

CREATE = "create or replace table int_item_weights as select * from solved"
SCORES_TABLE = "linear_scores"

MODELS = ("ease", "near", "far", "soon")
SCORES = {
    "ease_score": ("ease", "whole"),
    "slow_ease_score": ("ease", "slow"),
    "recent_ease_score": ("ease", "recent"),
    "liked_ease_score": ("ease", "liked"),
    "near_score": ("near", "recent"),
    "far_score": ("far", "slow"),
    "soon_score": ("soon", "soon"),
}
"""Column of `linear_scores` → its model, and the column of `user_states` to apply the
model to."""

FADES = {"near": (0.9, 0.5), "far": (0.97, 0.97), "soon": (0.5, 0.3)}
"""How the states and targets of the others fade; see `batch.features.transitions`."""

DIAGONAL = "ease_diagonal"
"""The column of `int_item_weights` with the diagonal of the inverse Gram matrix."""

PENALTIES = {"ease": 200.0, "near": 200.0, "far": 200.0, "soon": 100.0}
"""L2 regularization."""

UNIT = 1e-6
STATE_UNIT = 1e-4
"""Weights and states are whole numbers of these units. Sums of whole numbers are exact
in any order, so a user's scores do not depend on who else is in the block."""

Matrix = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Weights:
    """The models of one cutoff.

    Attributes:
        item_ids: of shape (n_modelled,), ascending; the items that the models cover.
        models: name → of shape (n_modelled, n_modelled), rated × candidate, in UNITs.
    """

    item_ids: Ids
    models: Mapping[str, npt.NDArray[np.int32]]


def build(connection: duckdb.DuckDBPyConnection) -> None:
    """Solve the models of a cutoff and store them as the table `int_item_weights`.

    Args:
        connection: holds the cutoff's `int_modelled_items`, `int_item_pairs` and
            `int_cooccurrence_ratings`.
    """
    from batch.features import transitions  # with numba, which takes half a second

    items = connection.table("int_modelled_items").to_arrow_table()
    item_ids = items["item_id"].to_numpy()
    n_ratings = items["n_ratings"].to_numpy().astype(np.float64)
    gram = dense(connection.table("int_item_pairs"), "n_both", item_ids)
    ratings = transitions.read(connection, item_ids)

    def solve_ease() -> tuple[Matrix, Matrix]:
        inverse = inverted(gram + np.diag(n_ratings), PENALTIES["ease"])
        return ease(inverse), np.diag(inverse)

    def solve_next(name: str) -> Matrix:
        states, targets = transitions.products(ratings, len(item_ids), *FADES[name])
        states += np.diag(n_ratings + PENALTIES[name])
        return np.asarray(np.linalg.solve(states, targets), np.float64)

    # two at a time, because BLAS has one thread and the matrices are large
    with ThreadPoolExecutor(min(2, limits.cores())) as pool:
        eased = pool.submit(solve_ease)
        solved = dict(zip(FADES, pool.map(solve_next, FADES), strict=True))
    solved["ease"], diagonal = eased.result()
    columns = {"item_id": pa.array(item_ids, pa.int32()), DIAGONAL: pa.array(diagonal)}
    for name in MODELS:
        whole = np.rint(solved[name] / UNIT).astype(np.int32).ravel()
        columns[name] = pa.FixedSizeListArray.from_arrays(
            pa.array(whole), max(1, len(item_ids))
        )
    connection.register("solved", pa.table(columns))
    connection.execute(CREATE)
    connection.unregister("solved")


def dense(pairs: duckdb.DuckDBPyRelation, name: str, item_ids: Ids) -> Matrix:
    """Return a column of a table of item pairs as a matrix over the given items."""
    matrix = np.zeros((len(item_ids), len(item_ids)))
    for block in pairs.select("item_id", "other_item_id", name).to_arrow_reader():
        ids, others = block["item_id"].to_numpy(), block["other_item_id"].to_numpy()
        given = np.isin(ids, item_ids) & np.isin(others, item_ids)
        rows = np.searchsorted(item_ids, ids[given])
        columns = np.searchsorted(item_ids, others[given])
        matrix[rows, columns] = block[name].to_numpy()[given]
    return matrix


def inverted(gram: Matrix, penalty: float) -> Matrix:
    """Return the inverse of a Gram matrix with a penalty on its diagonal."""
    return np.asarray(np.linalg.inv(gram + penalty * np.eye(len(gram))), np.float64)


def ease(inverse: Matrix) -> Matrix:
    """Return the weights that predict each item from all others.

    Args:
        inverse: see `inverted`.
    """
    weights: Matrix = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def read(connection: duckdb.DuckDBPyConnection) -> Weights:
    """Read the cutoff's models; read them once for many blocks of users."""
    table = connection.table("int_item_weights").to_arrow_table().combine_chunks()
    item_ids = table["item_id"].to_numpy()
    shape = (len(item_ids), len(item_ids))
    models = {
        name: table[name].chunk(0).flatten().to_numpy().reshape(shape)
        if len(item_ids)
        else np.zeros(shape, np.int32)
        for name in MODELS
    }
    return Weights(item_ids, models)


def ease_diagonal(connection: duckdb.DuckDBPyConnection) -> npt.NDArray[np.float64]:
    """Read the diagonal of the inverse from which EASE's weights were made."""
    table = connection.table("int_item_weights").select(DIAGONAL).to_arrow_table()
    return np.asarray(table[DIAGONAL].to_numpy(), np.float64)


def scores(weights: Weights, user_ids: Sequence[int], states: pa.Table) -> pa.Table:
    """Score each item that the models cover for each user.

    Args:
        weights: the cutoff's models.
        user_ids: in ascending order.
        states: the rows of `user_states` of these users.

    Returns:
        user_id, item_id and a column for each of SCORES.
    """
    rows = np.searchsorted(user_ids, states["user_id"].to_numpy())
    places = np.searchsorted(weights.item_ids, states["item_id"].to_numpy())
    rated_places, columns = np.unique(places, return_inverse=True)
    n_users, n_modelled = len(user_ids), len(weights.item_ids)
    table: dict[str, npt.NDArray[np.generic]] = {
        "user_id": np.repeat(np.asarray(user_ids, np.int32), n_modelled),
        "item_id": np.tile(weights.item_ids, n_users),
    }
    applied = {
        model: weights.models[model][rated_places].astype(float) for model in MODELS
    }
    for name, (model, state) in SCORES.items():
        rated = np.zeros((n_users, len(rated_places)))
        rated[rows, columns] = states[state].to_numpy()
        products = rated @ applied[model]
        table[name] = (products * (UNIT * STATE_UNIT)).astype(np.float32).ravel()
    return pa.table(table)
