"""Encode the highest and the last ratings of each user."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import duckdb

from batch import warehouse
from batch.publishing import encoding
from batch.publishing.external_ids import ExternalIds, Ids
from batch.publishing.pipeline import Trip
from batch.scoring.ranking import Ranking
from lookup.shared import contract
from lookup.shared.contract import History
from lookup.shared.keys import GenerationKeys

N_RATINGS = 10
"""The maximum number of highest ratings, and of last ones."""


def encode(
    connection: duckdb.DuckDBPyConnection,
    keys: GenerationKeys,
    ids: Ids,
    rankings: Sequence[Ranking],
) -> Trip:
    """Encode the histories of the users with these rankings."""
    user_ids = [ranking.user_id for ranking in rankings]
    found = dict(read(connection, user_ids, ids.items))
    names = [keys.history(ids.users.keys[user_id]) for user_id in user_ids]
    commands = [
        encoding.command("SET", key, contract.encode_history(found[user_id]))
        for key, user_id in zip(names, user_ids, strict=True)
    ]
    return Trip(names, commands, ["OK"] * len(names))


def read(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int], items: ExternalIds
) -> Iterator[tuple[int, History]]:
    """Yield each user_id with an excerpt of the user's history as of the cutoff."""
    parameters = {"user_ids": user_ids, "n": N_RATINGS}
    table = warehouse.fetch(connection, "marts/user_highlights", parameters)
    # rows of user_id, item_id, rating, n_ratings, highest_rank and last_rank, sorted
    # by user_id and last_rank
    rows = zip(*(column.to_pylist() for column in table.itercolumns()), strict=True)
    for user_id, group in groupby(rows, itemgetter(0)):
        own = list(group)
        highest = sorted((row for row in own if row[4] <= N_RATINGS), key=itemgetter(4))
        last = [row for row in own if row[5] <= N_RATINGS]
        parts = [
            [(items.external(item_id), rating) for _, item_id, rating, *_ in rows_of]
            for rows_of in (highest, last)
        ]
        yield user_id, History(own[0][3], *parts)
