"""The features of the compiled scorer, compared with the SQL cell by cell."""

from collections.abc import Sequence

import numpy as np

from batch.features import candidates, columns
from batch.features.columns import FEATURES
from batch.scoring import arrays, compiled, kernels
from batch.scoring.forest import encoded_column
from batch.scoring.kernels import Floats, Forest
from tests.worlds import Connection

MAX_VALUES = 30_000
"""A code of 16 bits counts two thresholds for each of so many values."""


def values_of(pairs: candidates.Pairs, name: str) -> Floats:
    """Return the distinct values of a feature, ascending, without missing ones."""
    values = np.unique(pairs.values[name].to_numpy())
    known: Floats = values[~np.isnan(values)]
    return known


def forest_of(thresholds: Sequence[Floats]) -> Forest:
    """Make a forest with these thresholds of each feature."""
    kind = np.uint8 if max(map(len, thresholds)) < 255 else np.uint16
    return compiled.stump()._replace(
        thresholds=np.concatenate(thresholds).astype(np.float32),
        threshold_starts=np.cumsum([0, *map(len, thresholds)]).astype(np.int64),
        cuts=np.zeros((1, 1), kind),
        shifts=np.zeros((1, 1), kind),
        missing=kind(np.iinfo(kind).max),
    )


def sharp_forest(pairs: candidates.Pairs, n_thresholds: int) -> Forest:
    """Make a forest some of whose thresholds are values that the features have."""
    thresholds = []
    for name in FEATURES:
        known = values_of(pairs, name)
        chosen = np.linspace(0, len(known) - 1, min(n_thresholds, len(known)))
        thresholds.append(known[chosen.astype(int)])
    return forest_of(thresholds)


def exact_forest(pairs: candidates.Pairs) -> Forest:
    """Make a forest whose codes are equal only where the values are, to the last bit.

    Its thresholds are each value and the next larger float.
    """
    known = [values_of(pairs, name) for name in FEATURES]
    next_larger = [np.nextafter(values, np.float32(np.inf)) for values in known]
    both = zip(known, next_larger, strict=True)
    return forest_of([np.union1d(*values) for values in both])


def differing_cells(
    connection: Connection, user_ids: Sequence[int], n_thresholds: int | None = None
) -> dict[str, int]:
    """Count the cells of each feature in which the kernels differ from the SQL.

    Args:
        connection: holds the tables of a cutoff.
        user_ids: in ascending order.
        n_thresholds: compare by so many thresholds; without it, to the last bit.
    """
    pairs = candidates.pairs(connection, user_ids)
    forest = sharp_forest(pairs, n_thresholds) if n_thresholds else exact_forest(pairs)
    catalogue = arrays.read_catalogue(connection, forest)
    items = catalogue.items
    users = arrays.read_users(connection, catalogue, user_ids)
    scratch = compiled.scratch_for(items, forest)
    scratch.codes[items.first_code :][: len(columns.ITEM)] = items.codes
    places = np.searchsorted(catalogue.item_ids, pairs.item_ids)
    of_pairs = np.zeros((len(FEATURES), len(pairs)), scratch.codes.dtype)
    for u, user_id in enumerate(user_ids):
        kernels.encode_user(u, users, items, forest, scratch)
        own = pairs.user_ids == user_id
        of_pairs[:, own] = scratch.codes[:, places[own]]
    found = {}
    for row, name in enumerate(FEATURES):
        expected = encoded_column(forest, row, pairs.values[name].to_numpy())
        found[name] = int(np.count_nonzero(of_pairs[row] != expected))
    return {name: n for name, n in found.items() if n}
