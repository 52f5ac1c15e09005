"""EASE, a linear item-to-item model.

It is a matrix of weights, from rated item to candidate item, that predicts an item from
all other items that its raters rated, in any order. It is solved in closed form from
counts by SQL (Steck, Embarrassingly Shallow Autoencoders, 2019). A user's score for a
candidate is a sum over the user's ratings: what the rating weighs in a state times the
weight from its item to the candidate.
"""

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

CREATE = "create or replace table int_item_weights as select * from solved"

DIAGONAL = "ease_diagonal"
"""The column of `int_item_weights` with the diagonal of the inverse Gram matrix."""

PENALTY = 200.0
"""L2 regularization."""

UNIT = 1e-6
"""Weights are whole numbers of this unit."""

Matrix = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Weights:
    """The model of one cutoff.

    Attributes:
        item_ids: of shape (n_modelled,), ascending; the items that the model covers.
        ease: of shape (n_modelled, n_modelled), rated × candidate, in UNITs.
    """

    item_ids: Ids
    ease: npt.NDArray[np.int32]


def build(connection: duckdb.DuckDBPyConnection) -> None:
    """Solve the model of a cutoff and store it as the table `int_item_weights`.

    Args:
        connection: holds the cutoff's `int_modelled_items` and `int_item_pairs`.
    """
    item_ids, n_ratings = modelled(connection)
    gram = dense(connection.table("int_item_pairs"), "n_both", item_ids)
    inverse = inverted(gram + np.diag(n_ratings), PENALTY)
    weights = pa.FixedSizeListArray.from_arrays(
        pa.array(in_units(ease(inverse)).ravel()), max(1, len(item_ids))
    )
    columns = {"item_id": item_ids, "ease": weights, DIAGONAL: np.diag(inverse)}
    connection.register("solved", pa.table(columns))
    connection.execute(CREATE)
    connection.unregister("solved")


def modelled(connection: duckdb.DuckDBPyConnection) -> tuple[Ids, Matrix]:
    """Return the items that linear models cover, and how many ratings each has."""
    items = connection.table("int_modelled_items").to_arrow_table()
    return items["item_id"].to_numpy(), items["n_ratings"].to_numpy().astype(np.float64)


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


def in_units(weights: Matrix) -> npt.NDArray[np.int32]:
    """Round weights to whole UNITs."""
    return np.rint(weights / UNIT).astype(np.int32)


def read(connection: duckdb.DuckDBPyConnection) -> Weights:
    """Read the cutoff's model."""
    table = connection.table("int_item_weights").to_arrow_table().combine_chunks()
    item_ids = table["item_id"].to_numpy()
    shape = (len(item_ids), len(item_ids))
    if not len(item_ids):
        return Weights(item_ids, np.zeros(shape, np.int32))
    weights = table["ease"].chunk(0).flatten().to_numpy().reshape(shape)
    return Weights(item_ids, weights)


def ease_diagonal(connection: duckdb.DuckDBPyConnection) -> npt.NDArray[np.float64]:
    """Read the diagonal of the inverse from which EASE's weights were made."""
    table = connection.table("int_item_weights").select(DIAGONAL).to_arrow_table()
    return np.asarray(table[DIAGONAL].to_numpy(), np.float64)
