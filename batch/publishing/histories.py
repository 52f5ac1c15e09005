"""What users rated highest and last."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import duckdb

from batch import warehouse
from lookup.shared.contract import History

N = 10
"""How many of each."""

Rating = tuple[int, float]


def read(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]
) -> Mapping[int, History]:
    """Return the history, in short, of each user who has one at the moment."""
    parameters = {"user_ids": user_ids, "n": N}
    table = warehouse.fetch(connection, "marts/user_highlights", parameters)
    n_ratings: dict[int, int] = {}
    highest: defaultdict[int, list[tuple[int, Rating]]] = defaultdict(list)
    last: defaultdict[int, list[Rating]] = defaultdict(list)
    columns = (column.to_pylist() for column in table.itercolumns())
    for user_id, item_id, rating, n, highest_rank, last_rank in zip(
        *columns, strict=True
    ):
        n_ratings[user_id] = n
        if highest_rank <= N:
            highest[user_id].append((highest_rank, (item_id, rating)))
        if last_rank <= N:  # the rows are sorted by it
            last[user_id].append((item_id, rating))
    return {
        user_id: History(
            n, [rated for _, rated in sorted(highest[user_id])], last[user_id]
        )
        for user_id, n in n_ratings.items()
    }
