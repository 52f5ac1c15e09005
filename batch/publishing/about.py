"""What people are told of a generation as a whole."""

from collections.abc import Mapping, Sequence

import duckdb

from batch.features.candidates import evenly_spaced
from lookup.shared.contract import About

N_EXAMPLES = 8
"""Users whom the page offers to those who know no user_id."""


def read(
    connection: duckdb.DuckDBPyConnection,
    user_ids: Sequence[int],
    protocol: str | None,
    metrics: Mapping[str, Mapping[str, float]],
) -> About:
    """Describe what is published.

    Args:
        connection: holds the staging tables.
        user_ids: who get a list, rising.
        protocol: how the model was measured, None where nobody knows.
        metrics: of each ranker.
    """
    query = "select distinct unnest(genres) as genre from stg_items order by genre"
    genres = [genre for (genre,) in connection.sql(query).fetchall()]
    return About(
        n_users=len(user_ids),
        n_items=len(connection.table("stg_items")),
        genres=genres,
        examples=list(evenly_spaced(user_ids, N_EXAMPLES)),
        protocol=protocol,
        metrics=metrics,
    )
