"""Write rankings to a file, and to lists, explanations and histories in Redis."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import duckdb

from batch.errors import BatchError
from batch.publishing import encoding, explanations, histories, parquet
from batch.publishing.connections import Client
from batch.publishing.external_ids import ExternalIds, Ids
from batch.publishing.pipeline import Pipeline, Trip
from batch.scoring.ranking import Ranking

LISTS_PER_TRIP = 128
"""The arrays of more lists would not fit into a core's cache."""


class Writer(Protocol):
    """Writes rankings to one place."""

    def write(self, block: Sequence[Ranking]) -> None:
        """Write the rankings of about 1,000 users."""
        ...


@contextmanager
def open_writers(
    client: Client,
    connection: duckdb.DuckDBPyConnection,
    generation: str,
    path: Path,
    ids: Ids,
) -> Iterator[Sequence[Writer]]:
    """Open the writers of a generation.

    The Parquet file is closed last, so that it appears only if Redis has everything.

    Raises:
        BatchError: keys of the generation existed, or the file cannot be written.
    """
    keys = client.keys.of(generation)
    with (
        parquet.open_writer(path, ids, client.keys.prefix) as file,
        connection.cursor() as cursor,  # the connection may be in the middle of a query
        list_writer(client, keys.user, ids.users, ids.items) as lists,
        RedisWriter(client, partial(explanations.encode, cursor, keys, ids)) as reasons,
        RedisWriter(client, partial(histories.encode, cursor, keys, ids)) as rated,
    ):
        yield file, lists, reasons, rated


class RedisWriter:
    """Sends each trip while Redis executes the one before.

    `encode` turns `size` rankings, or a whole block, into one trip.
    """

    def __init__(
        self,
        client: Client,
        encode: Callable[[Sequence[Ranking]], Trip],
        size: int | None = None,
    ) -> None:
        self._encode = encode
        self._size = size
        self._pipeline = Pipeline(client.redis)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        try:
            while kind is None and len(self._pipeline):
                self._receive()
        finally:
            self._pipeline.close()

    def write(self, block: Sequence[Ranking]) -> None:
        """Write rankings; a BatchError about them may come with a later call."""
        size = self._size or len(block)
        for start in range(0, len(block), size):
            self._pipeline.send(self._encode(block[start : start + size]))
            if len(self._pipeline) > 1:
                self._receive()

    def _receive(self) -> None:
        trip, answers = self._pipeline.receive()
        if answers != trip.expected:
            places = zip(trip.keys, answers, trip.expected, strict=True)
            key = next(key for key, answer, expected in places if answer != expected)
            raise BatchError(f"the generation is not new: {key} existed")


def list_writer(
    client: Client,
    key_of: Callable[[str], str],
    owners: ExternalIds,
    items: ExternalIds,
) -> RedisWriter:
    """Return a writer of `item_id:score` lists to the keys that `key_of` returns."""

    def encode(rankings: Sequence[Ranking]) -> Trip:
        keys = [key_of(owners.keys[ranking.user_id]) for ranking in rankings]
        lengths = [max(1, len(ranking.item_ids)) for ranking in rankings]
        return Trip(keys, encoding.pushes(keys, rankings, items), lengths)

    return RedisWriter(client, encode, LISTS_PER_TRIP)
