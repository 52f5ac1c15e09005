"""Lists of the items that are most like an item."""

from collections.abc import Iterator

import duckdb
import numpy as np

from batch import warehouse
from batch.scoring.ranking import Ranking


def read(connection: duckdb.DuckDBPyConnection, top_n: int) -> Iterator[Ranking]:
    """Rank for each item those that are most like it; `user_id` is the item's id.

    Args:
        connection: holds the tables of the moment.
        top_n: how many to keep an item. Items that nobody rated are like none.
    """
    table = warehouse.fetch(connection, "marts/similar_items", {"top_n": top_n})
    item_ids = table["item_id"].to_numpy()
    owners, starts = np.unique(item_ids, return_index=True)
    ends = np.searchsorted(item_ids, owners, side="right")
    others = table["other_item_id"].to_numpy()
    scores = table["score"].to_numpy().astype(np.float32)
    for item_id, start, end in zip(owners.tolist(), starts, ends, strict=True):
        yield Ranking(item_id, others[start:end], scores[start:end])
