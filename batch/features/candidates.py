"""Candidate pairs of a user and an unseen item, with the values of their features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch import warehouse
from batch.features import columns
from batch.features.base_scores import Strong
from batch.features.columns import FEATURES

NEGATIVE_SHARE = 0.125
MIN_NEGATIVES = 200
MAX_PAIRS = 250_000
"""Size of a training sample: the share of negatives to keep, the minimum of negatives
per user, and the maximum of pairs."""

PAIRS_PER_BLOCK = 500_000
MIN_BLOCK_SHARE = 0.5
"""Bound the memory of a block. A pair takes 190 bytes, and 600 in SQL, whose joins
cannot spill; a user's genres and last items take memory whatever a sample drops."""

N_SEEN = """
    with listed as (select film_id from films where is_eligible),
    seen as (
        select distinct user_id, film_id
        from int_history
        inner join films using (item_id)
    )
    select count(*) from seen semi join listed using (film_id)
"""

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Pairs:
    """Candidate pairs as of the cutoff that the warehouse was built for.

    Attributes:
        user_ids: of shape (n_pairs,).
        item_ids: of shape (n_pairs,).
        labels: of shape (n_pairs,); the rating in the user's future, else 0.
        values: the features, of n_pairs rows; 32-bit floats, null where unknown.
        strong: what the base margin is made from, if there is one to start from.
    """

    user_ids: Ids
    item_ids: Ids
    labels: npt.NDArray[np.float32]
    values: pa.Table
    strong: Strong | None = None

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def n_users(self) -> int:
        """The number of users who have a pair."""
        return len(np.unique(self.user_ids))

    @classmethod
    def joined(cls, parts: Sequence["Pairs"]) -> "Pairs":
        """Concatenate one or more blocks of pairs."""
        return cls(
            user_ids=np.concatenate([part.user_ids for part in parts]),
            item_ids=np.concatenate([part.item_ids for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            values=pa.concat_tables([part.values for part in parts]),
        )

    def take(self, rows: npt.NDArray[np.int64]) -> "Pairs":
        """Select rows by number, in the given order."""
        return Pairs(
            self.user_ids[rows],
            self.item_ids[rows],
            self.labels[rows],
            self.values.take(rows),
            self.strong and self.strong.take(rows),
        )

    def in_order(self) -> "Pairs":
        """Return the pairs sorted by user and item; sorted pairs are not copied."""
        order = np.lexsort((self.item_ids, self.user_ids))
        is_sorted = bool((order == np.arange(len(order))).all())
        return self if is_sorted else self.take(order)

    def of_every(self, nth: int) -> "Pairs":
        """Select the pairs of every nth user."""
        users = np.unique(self.user_ids)[::nth]
        return self.take(np.flatnonzero(np.isin(self.user_ids, users)))

    def as_table(self) -> pa.Table:
        """Return one table of user_id, item_id, label and the features."""
        arrays = [self.user_ids, self.item_ids, self.labels, *self.values.columns]
        names = ["user_id", "item_id", "label", *self.values.column_names]
        return pa.table(arrays, names=names)


def as_table(windows: Sequence[Pairs]) -> pa.Table:
    """Stack the pairs of several training windows, numbered from 1, in one table."""
    numbered = []
    for number, window in enumerate(windows, start=1):
        column = pa.array(np.full(len(window), number, np.int32))
        numbered.append(window.as_table().add_column(0, "window", column))
    return pa.concat_tables(numbered)


def sample(
    connection: duckdb.DuckDBPyConnection,
    user_ids: Sequence[int],
    names: Sequence[str] = FEATURES,
) -> Pairs:
    """Compute the features of a training sample, sorted by user and item.

    The sample keeps all positives. It keeps a larger share of the negatives on a small
    catalogue than on a large release; each stage of the training draws from them.
    """
    n_items = max(1, warehouse.count(connection, "stg_items"))
    wanted = max(NEGATIVE_SHARE, MIN_NEGATIVES / n_items)
    share = min(1.0, wanted, MAX_PAIRS / max(1, len(user_ids) * n_items))
    # sorted block by block: a sort of all pairs would copy them
    return Pairs.joined(
        [
            pairs(connection, block, negative_share=share, names=names).in_order()
            for block in blocks(connection, user_ids, share)
        ]
    )


def evenly_spaced(user_ids: Sequence[int], at_most: int) -> Sequence[int]:
    """Select every nth user, so that at most `at_most` are left."""
    return user_ids[:: -(-len(user_ids) // at_most) or 1]


def blocks(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int], share: float = 1.0
) -> Iterator[Sequence[int]]:
    """Split users into blocks whose pairs fit into memory; no users make one block.

    Args:
        connection: holds the staging tables.
        user_ids: the users to split, in order.
        share: the share of their candidates that is kept, in 0-1.
    """
    n_items = max(1, warehouse.count(connection, "stg_items"))
    size = max(1, int(PAIRS_PER_BLOCK / (n_items * max(share, MIN_BLOCK_SHARE))))
    for start in range(0, max(1, len(user_ids)), size):
        yield user_ids[start : start + size]


def pairs(
    connection: duckdb.DuckDBPyConnection,
    user_ids: Sequence[int],
    *,
    negative_share: float = 1.0,
    names: Sequence[str] = FEATURES,
) -> Pairs:
    """Compute the features of each of the users × each unseen item.

    Args:
        connection: holds the tables of a cutoff.
        user_ids: in rising order.
        negative_share: the share of pairs with label 0 to keep, in 0-1.
        names: the features to return, in this order.

    Raises:
        BatchError: `pair_features.sql` lacks one of these features.
    """
    parameters = {"user_ids": list(user_ids), "negative_share": negative_share}
    warehouse.build(connection, "marts/candidate_pairs", parameters)
    table = warehouse.fetch(connection, "marts/pair_features", {})
    columns.require(names, table.column_names)
    return Pairs(
        user_ids=table["user_id"].to_numpy(),
        item_ids=table["item_id"].to_numpy(),
        labels=table["label"].to_numpy().astype(np.float32),
        values=table.select(list(names)),
    )


def n_unseen(connection: duckdb.DuckDBPyConnection) -> int:
    """Count the candidate pairs of all users."""
    n_users = warehouse.count(connection, "int_cutoffs")
    n_films = len(connection.table("films").filter("is_eligible"))
    ((n_seen,),) = connection.sql(N_SEEN).fetchall()
    return n_users * n_films - int(n_seen)
