"""The scorer without a model: each user's unseen items, the most rated first."""

from collections.abc import Iterator, Sequence

import duckdb
import numpy as np

from batch import warehouse
from batch.scoring.ranking import Ranking

USERS_PER_BLOCK = 1000


def rank_users(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int], top_n: int
) -> Iterator[list[Ranking]]:
    """Yield the users' rankings block by block; see `batch.scoring.rank`."""
    for start in range(0, len(user_ids), USERS_PER_BLOCK):
        block = user_ids[start : start + USERS_PER_BLOCK]
        parameters = {"user_ids": list(block), "top_n": top_n}
        table = warehouse.fetch(connection, "marts/popular_rankings", parameters)
        item_ids, scores = table["item_id"].to_numpy(), table["score"].to_numpy()
        # sorted by user and rank
        ends = np.searchsorted(table["user_id"].to_numpy(), block, side="right")
        starts = [0, *ends[:-1].tolist()]
        yield [
            Ranking(user_id, item_ids[start:end], scores[start:end].astype(np.float32))
            for user_id, start, end in zip(block, starts, ends, strict=True)
        ]
