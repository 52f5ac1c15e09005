"""Counts what followed what in histories, for the linear models of the next items.

A state is a history whose rating n positions back weighs `before ** n`. Its target is
the future, whose nth rating weighs `(1 - after) * after ** (n - 1)`. The models need
the products of all states with all states, and with all targets: sums over pairs of a
user's ratings, of what their distance is worth.
"""

from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt

from batch.features import loops

MAX_DISTANCE = 100
"""Ratings further apart count for nothing."""

Ids = npt.NDArray[np.int32]
Matrix = npt.NDArray[np.float64]


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


def products(
    ratings: Ratings, n_items: int, before: float, after: float
) -> tuple[Matrix, Matrix]:
    """Return the products of states with states, and of states with targets.

    Both are of shape (n_items, n_items), rated × following; the former without its
    diagonal.
    """
    distances = np.arange(MAX_DISTANCE + 1)
    together = before**distances
    # summed over the states that end between the two ratings
    if before == after:
        following = (1 - after) * distances * before ** (distances - 1.0)
    else:
        spread = before**distances - after**distances
        following = (1 - after) * spread / (before - after)
    states, targets = np.zeros((2, n_items, n_items))
    loops.count(*ratings, together, following, states, targets)
    return states + states.T, targets
