"""The features, in the order in which the model takes them, and their values."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch import warehouse
from batch.errors import BatchError

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
FEATURES = USER + ITEM + TREND + FIT + AUDIENCE + GENRE + TASTE + SEQUENCE

NEGATIVE_SHARE = 0.1
MAX_PAIRS = 3_000_000

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


def sample(connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]) -> Pairs:
    """Compute the features of a sample of pairs to train with, all positives in it.

    A tenth of the negatives ranks as well as all of them (NDCG@10 within the noise of
    0.003 on nested splits of ml-100k) at a tenth of the time; fewer on larger releases.
    """
    n_pairs = len(user_ids) * warehouse.count(connection, "stg_items")
    share = min(NEGATIVE_SHARE, MAX_PAIRS / max(1, n_pairs))
    return pairs(connection, user_ids, negative_share=share)


def pairs(
    connection: duckdb.DuckDBPyConnection,
    user_ids: Sequence[int],
    *,
    negative_share: float = 1.0,
    names: Sequence[str] = FEATURES,
) -> Pairs:
    """Compute the features of every user of `user_ids` × unseen item.

    Args:
        connection: holds the moment's tables.
        user_ids: whose candidates.
        negative_share: how many of the pairs with label 0 to keep, in 0–1.
        names: the features wanted, in this order.

    Raises:
        BatchError: when the SQL gives no feature of one of these names.
    """
    parameters = {"user_ids": list(user_ids), "negative_share": negative_share}
    warehouse.build(connection, "marts/candidate_pairs", parameters)
    table = warehouse.fetch(connection, "marts/pair_features", {})
    unknown = [name for name in names if name not in table.column_names]
    if unknown:
        raise BatchError(
            f"sql/marts/pair_features.sql gives no {', '.join(unknown)}, which the "
            "model was trained on"
        )
    return Pairs(
        user_ids=table["user_id"].to_numpy(),
        item_ids=table["item_id"].to_numpy(),
        labels=table["label"].to_numpy().astype(np.float32),
        values=table.select(list(names)),
    )
