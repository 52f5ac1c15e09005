"""Encode which items of a user's history explain each item of the user's list."""

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from batch import warehouse
from batch.publishing import encoding, parquet
from batch.publishing.external_ids import ExternalIds, Ids
from batch.publishing.pipeline import Trip
from batch.scoring.ranking import Ranking
from lookup.shared import contract
from lookup.shared.keys import GenerationKeys

RANKED_TABLE = "ranked_items"
"""The rankings as rows, for `explanations.sql`."""


def encode(
    connection: duckdb.DuckDBPyConnection,
    keys: GenerationKeys,
    ids: Ids,
    rankings: Sequence[Ranking],
) -> Trip:
    """Encode the explanations of rankings; no other query may use the connection."""
    ordered = sorted(rankings, key=lambda ranking: ranking.user_id)
    names = [keys.because(ids.users.keys[ranking.user_id]) for ranking in ordered]
    commands, lengths = [], []
    for key, entries in zip(names, read(connection, ids.items, ordered), strict=True):
        commands.append(encoding.command("RPUSH", key, *entries))
        lengths.append(len(entries))
    return Trip(names, commands, lengths)


def read(
    connection: duckdb.DuckDBPyConnection,
    items: ExternalIds,
    rankings: Sequence[Ranking],
) -> Iterator[list[str]]:
    """Yield the explanations of each ranking in the form of `contract.encode_because`.

    The rankings must be sorted by user_id.
    """
    connection.register(RANKED_TABLE, as_table(rankings))
    table = warehouse.fetch(connection, "marts/explanations", {})
    connection.unregister(RANKED_TABLE)
    # one row per ranked item, sorted by user_id and rank
    texts: list[str] = table["because"].to_pylist()
    if not items.are_same:
        texts = [translated(text, items) for text in texts]
    start = 0
    for ranking in rankings:
        end = start + len(ranking.item_ids)
        yield texts[start:end] or [contract.NO_ITEMS]
        start = end


def translated(text: str, items: ExternalIds) -> str:
    """Return an explanation with the ids that items have outside."""
    numbers = map(int, filter(None, text.split(",")))
    return contract.encode_reasons([items.external(number) for number in numbers])


def as_table(rankings: Sequence[Ranking]) -> pa.Table:
    """Return rankings as rows of user_id, rank and item_id."""
    return parquet.as_table(rankings).drop_columns("score")
