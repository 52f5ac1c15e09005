"""The linear model of the next items, from what followed what in histories.

It is a matrix of weights, from rated item to following item, solved in closed form
(after the transitions of Choi and others, Session-aware Linear Item-Item Models, 2021).
A state is a history whose rating n positions back weighs `BEFORE ** n`. Its target is
the future, whose nth rating weighs `(1 - AFTER) * AFTER ** (n - 1)`. The model needs
the products of all states with all states, and with all targets: sums over pairs of a
user's ratings, of what their distance is worth.
"""

from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt

from batch import warehouse
from batch.features import item_models, loops
from batch.features.item_models import Ids, Matrix

BEFORE, AFTER = 0.9, 0.5
"""How states and targets fade."""

PENALTY = 200.0
"""L2 regularization."""

RATINGS = "intermediate/int_cooccurrence_ratings"

MAX_DISTANCE = 100
"""Ratings further apart count for nothing."""


class Ratings(NamedTuple):
    """The ratings of modelled items, by user and in their order.

    Attributes:
        starts: of shape (n_users + 1,); where each user's ratings start.
        places: places of the items among the modelled ones.
        positions: of the ratings in their users' histories.
    """

    starts: npt.NDArray[np.int64]
    places: Ids
    positions: Ids


def solve(
    connection: duckdb.DuckDBPyConnection,
) -> tuple[Ids, npt.NDArray[np.int32]]:
    """Solve the model of a cutoff.

    Args:
        connection: holds the cutoff's `int_modelled_items`, and what
            `int_cooccurrence_ratings` is built from.

    Returns:
        The items that it covers, of shape (n_modelled,), ascending; and the weights, of
        shape (n_modelled, n_modelled), rated × following, in UNITs of `item_models`.
    """
    item_ids, n_ratings = item_models.modelled(connection)
    warehouse.build(connection, RATINGS, warehouse.LIMITS)
    states, targets = products(read(connection, item_ids), len(item_ids))
    warehouse.drop(connection, RATINGS)  # large
    states += np.diag(n_ratings + PENALTY)
    weights = np.asarray(np.linalg.solve(states, targets), np.float64)
    return item_ids, item_models.in_units(weights)


def read(connection: duckdb.DuckDBPyConnection, item_ids: Ids) -> Ratings:
    """Read the ratings of the given items from the cutoff's co-occurrence ratings."""
    table = (
        connection.table("int_cooccurrence_ratings")
        .select("user_id", "item_id", "position")
        .order("user_id, position")
        .to_arrow_table()
    )
    rated = table["item_id"].to_numpy()
    given = np.isin(rated, item_ids)
    users = table["user_id"].to_numpy()[given]
    first = np.flatnonzero(np.diff(users, prepend=-1))
    return Ratings(
        starts=np.append(first, len(users)).astype(np.int64),
        places=np.searchsorted(item_ids, rated[given]).astype(np.int32),
        positions=table["position"].to_numpy()[given].astype(np.int32),
    )


def products(ratings: Ratings, n_items: int) -> tuple[Matrix, Matrix]:
    """Return the products of states with states, and of states with targets.

    Both are of shape (n_items, n_items), rated × following; the former without its
    diagonal.
    """
    distances = np.arange(MAX_DISTANCE + 1)
    together = BEFORE**distances
    # summed over the states that end between the two ratings
    spread = BEFORE**distances - AFTER**distances
    following = (1 - AFTER) * spread / (BEFORE - AFTER)
    states, targets = np.zeros((2, n_items, n_items))
    loops.count(*ratings, together, following, states, targets)
    return states + states.T, targets
