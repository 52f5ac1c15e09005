"""The features, in the order in which the model takes them, and their values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch import warehouse
from batch.errors import BatchError
from batch.features import item_models

USER = (
    "user_n_ratings",
    "user_stddev_rating",
    "user_liked_share",
    "user_history_seconds",
    "user_last_ten_seconds",
    "user_avg_release_year",
    "user_avg_n_item_ratings",
    "user_last_ten_avg_n_item_ratings",
    "user_last_ten_avg_position_share",
)
ITEM = (
    "item_n_ratings",
    "item_avg_rating",
    "item_stddev_rating",
    "item_liked_share",
    "item_avg_position",
    "item_avg_position_share",
    "item_avg_n_back",
    "item_last_ten_share",
    "item_female_share",
    "item_release_year",
)
TREND = ("item_n_until", "item_n_last_weeks", "seconds_since_rated")
FIT = (
    "release_year_gap",
    "last_ten_release_year_gap",
    "position_share_gap",
    "position_gap",
    "n_history_gap",
)
AUDIENCE = ("age_gap", "age_audience_lift", "occupation_audience_lift")
GENRE = (
    "genre_share",
    "max_genre_share",
    "recent_genre_share",
    "liked_genre_share",
    "genre_liking",
    "genre_lift",
)
TASTE = (
    "similarity",
    "slow_similarity",
    "recent_similarity",
    "max_similarity",
    "liked_similarity",
    "disliked_similarity",
)
SEQUENCE = (
    "next_share",
    "next_similarity",
    "slow_next_similarity",
    "max_next_similarity",
    "previous_similarity",
    "slow_previous_similarity",
    "session_similarity",
)
LINEAR = tuple(item_models.SCORES)
FEATURES = USER + ITEM + TREND + FIT + AUDIENCE + GENRE + TASTE + SEQUENCE + LINEAR

NEGATIVE_SHARE = 0.25
MIN_NEGATIVES = 400
MAX_PAIRS = 500_000
PAIRS_PER_BLOCK = 250_000
MIN_BLOCK_SHARE = 0.2
"""Bound the memory: a block's features take 230 bytes a pair, and 2000 in SQL, whose
joins cannot spill them; what linear models say takes 40 bytes a pair, kept or not."""

SMALL_CATALOGUE = 2000
"""Items, up to which blocks may be twice as large: half of the pairs have no sums. It
takes three quarters of the time."""

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Pairs:
    """Candidate pairs as of the moment that the warehouse was built for.

    Attributes:
        user_ids: of shape (n_pairs,).
        item_ids: of shape (n_pairs,).
        labels: of shape (n_pairs,); the rating that the user gave next, else 0.
        values: of shape (n_pairs, n_features); 32-bit floats, null where unknown.
    """

    user_ids: Ids
    item_ids: Ids
    labels: npt.NDArray[np.float32]
    values: pa.Table

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def n_users(self) -> int:
        """How many users have a pair among these."""
        return len(np.unique(self.user_ids))

    @classmethod
    def joined(cls, parts: Sequence["Pairs"]) -> "Pairs":
        """Put the pairs of several blocks, at least one, together."""
        return cls(
            user_ids=np.concatenate([part.user_ids for part in parts]),
            item_ids=np.concatenate([part.item_ids for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            values=pa.concat_tables([part.values for part in parts]),
        )

    def take(self, rows: npt.NDArray[np.int64]) -> "Pairs":
        """Give some of the rows, in the order given."""
        return Pairs(
            self.user_ids[rows],
            self.item_ids[rows],
            self.labels[rows],
            self.values.take(rows),
        )

    def in_order(self) -> "Pairs":
        """Sort by user, as ranking wants it, and by item; no copy where they are."""
        order = np.lexsort((self.item_ids, self.user_ids))
        is_sorted = bool((order == np.arange(len(order))).all())
        return self if is_sorted else self.take(order)

    def of_every(self, nth: int) -> "Pairs":
        """Give the pairs of every nth user."""
        some = np.unique(self.user_ids)[::nth]
        return self.take(np.flatnonzero(np.isin(self.user_ids, some)))

    def as_table(self) -> pa.Table:
        """Put ids, labels and values side by side."""
        table = self.values
        columns = {
            "user_id": self.user_ids,
            "item_id": self.item_ids,
            "label": self.labels,
        }
        for i, (name, column) in enumerate(columns.items()):
            table = table.add_column(i, name, pa.array(column))
        return table


def as_table(windows: Sequence[Pairs]) -> pa.Table:
    """Put the pairs of several moments below one another, numbered from 1."""
    numbered = []
    for number, window in enumerate(windows, start=1):
        column = pa.array(np.full(len(window), number, np.int32))
        numbered.append(window.as_table().add_column(0, "window", column))
    return pa.concat_tables(numbered)


def sample(connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]) -> Pairs:
    """Compute the features of a sample of pairs to train with, all positives in it.

    They are in order, so that training needs no other copy of them.

    Every stage of training draws its own negatives from this part of them; more of a
    small catalogue, and fewer on larger releases.
    """
    n_items = max(1, warehouse.count(connection, "stg_items"))
    wanted = max(NEGATIVE_SHARE, MIN_NEGATIVES / n_items)
    share = min(1.0, wanted, MAX_PAIRS / max(1, len(user_ids) * n_items))
    weights = item_models.read(connection)
    return Pairs.joined(
        [
            pairs(connection, block, negative_share=share, weights=weights).in_order()
            for block in blocks(connection, user_ids, share)
        ]
    )


def every(user_ids: Sequence[int], at_most: int) -> Sequence[int]:
    """Thin users out evenly, to at most so many."""
    return user_ids[:: -(-len(user_ids) // at_most) or 1]


def blocks(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int], share: float = 1.0
) -> Iterator[Sequence[int]]:
    """Part users so that the pairs of each part fit into memory; nobody is one part.

    Args:
        connection: holds the catalogue.
        user_ids: whose candidates.
        share: how many of these are kept, in 0–1.
    """
    n_items = max(1, warehouse.count(connection, "stg_items"))
    n_pairs = PAIRS_PER_BLOCK * (2 if n_items <= SMALL_CATALOGUE else 1)
    size = max(1, int(n_pairs / (n_items * max(share, MIN_BLOCK_SHARE))))
    for start in range(0, max(1, len(user_ids)), size):
        yield user_ids[start : start + size]


def check(names: Sequence[str], there: Sequence[str] = FEATURES) -> None:
    """See that the SQL gives the features that a model wants, in whatever order.

    Raises:
        BatchError: when it does not; names them.
    """
    unknown = [name for name in names if name not in there]
    if unknown:
        raise BatchError(
            f"sql/marts/pair_features.sql gives no {', '.join(unknown)}, which the "
            "model was trained on"
        )


def pairs(
    connection: duckdb.DuckDBPyConnection,
    user_ids: Sequence[int],
    *,
    negative_share: float = 1.0,
    names: Sequence[str] = FEATURES,
    weights: item_models.Weights | None = None,
) -> Pairs:
    """Compute the features of every user of `user_ids` × unseen item.

    Args:
        connection: holds the moment's tables.
        user_ids: whose candidates.
        negative_share: how many of the pairs with label 0 to keep, in 0–1.
        names: the features wanted, in this order.
        weights: of the moment's linear models; read anew where not given.

    Raises:
        BatchError: when the SQL gives no feature of one of these names.
    """
    parameters = {"user_ids": list(user_ids), "negative_share": negative_share}
    warehouse.build(connection, "marts/candidate_pairs", parameters)
    states = warehouse.fetch(connection, "marts/user_states", parameters)
    scores = item_models.scores(
        weights or item_models.read(connection), user_ids, states
    )
    connection.register(item_models.SCORES_TABLE, scores)
    table = warehouse.fetch(connection, "marts/pair_features", {})
    connection.unregister(item_models.SCORES_TABLE)
    check(names, table.column_names)
    return Pairs(
        user_ids=table["user_id"].to_numpy(),
        item_ids=table["item_id"].to_numpy(),
        labels=table["label"].to_numpy().astype(np.float32),
        values=table.select(list(names)),
    )
