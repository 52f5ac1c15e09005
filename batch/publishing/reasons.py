"""Which items of a user's own history drove each place of the user's list."""

from collections.abc import Mapping, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from batch import warehouse
from batch.scoring.ranking import Ranking

RANKED_TABLE = "ranked_items"
"""What `explanations.sql` explains: rankings as rows."""


def read(
    connection: duckdb.DuckDBPyConnection, rankings: Sequence[Ranking]
) -> Mapping[int, Sequence[str]]:
    """Explain rankings of any users of the moment.

    Args:
        connection: holds the tables of the moment; another than anybody reads from.
        rankings: as many as one query is to explain.

    Returns:
        By user, the reasons of each place in the form of `contract.encode_because`.
    """
    connection.register(RANKED_TABLE, as_table(rankings))
    told = warehouse.fetch(connection, "marts/explanations", {})
    connection.unregister(RANKED_TABLE)
    # the rows are sorted, and each place of each list has one
    texts: list[str] = told["because"].to_pylist()
    reasons, at = {}, 0
    for ranking in sorted(rankings, key=lambda ranking: ranking.user_id):
        end = at + len(ranking.item_ids)
        reasons[ranking.user_id] = texts[at:end]
        at = end
    return reasons


def as_table(rankings: Sequence[Ranking]) -> pa.Table:
    """Lay rankings out as rows of user_id, rank and item_id."""
    lengths = [len(ranking.item_ids) for ranking in rankings]
    user_ids = np.array([ranking.user_id for ranking in rankings], np.int32)
    ranks = [np.arange(1, length + 1, dtype=np.int32) for length in lengths]
    return pa.table(
        {
            "user_id": np.repeat(user_ids, lengths),
            "rank": np.concatenate(ranks),
            "item_id": np.concatenate([ranking.item_ids for ranking in rankings]),
        }
    )
