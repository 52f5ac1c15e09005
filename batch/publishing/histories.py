"""The ratings that users gave highest and last."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import duckdb

from batch import warehouse
from batch.publishing import encoding
from batch.publishing.pipeline import Trip
from batch.scoring.ranking import Ranking
from lookup.shared import contract
from lookup.shared.contract import History

N_RATINGS = 10
"""How many of the highest, and of the last."""

Rating = tuple[int, float]


def encode(
    connection: duckdb.DuckDBPyConnection,
    generation: str,
    rankings: Sequence[Ranking],
) -> Trip:
    """Encode the histories of the users with these rankings."""
    user_ids = [ranking.user_id for ranking in rankings]
    found = read(connection, user_ids)
    keys = [contract.history_key(generation, user_id) for user_id in user_ids]
    commands = [
        encoding.command("SET", key, contract.encode_history(found[user_id]))
        for key, user_id in zip(keys, user_ids, strict=True)
    ]
    return Trip(keys, commands, ["OK"] * len(keys))


def read(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]
) -> Mapping[int, History]:
    """Return an excerpt of each user's history as of the cutoff."""
    parameters = {"user_ids": user_ids, "n": N_RATINGS}
    table = warehouse.fetch(connection, "marts/user_highlights", parameters)
    n_ratings: dict[int, int] = {}
    highest: defaultdict[int, list[tuple[int, Rating]]] = defaultdict(list)
    last: defaultdict[int, list[Rating]] = defaultdict(list)
    columns = (column.to_pylist() for column in table.itercolumns())
    for user_id, item_id, rating, n, highest_rank, last_rank in zip(
        *columns, strict=True
    ):
        n_ratings[user_id] = n
        if highest_rank <= N_RATINGS:
            highest[user_id].append((highest_rank, (item_id, rating)))
        if last_rank <= N_RATINGS:  # the rows are sorted by it
            last[user_id].append((item_id, rating))
    return {
        user_id: History(
            n, [rated for _, rated in sorted(highest[user_id])], last[user_id]
        )
        for user_id, n in n_ratings.items()
    }
