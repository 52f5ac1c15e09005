"""The ids under which users and items leave the batch: those of the raw data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookup.shared.contract import ExternalId, IdKind

WORD = 8
"""Names of items are kept in whole words of this many bytes."""

MAX_SPARSITY = 32
"""Ids are their own rows in the table of names while it has at most so many an id."""

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class ExternalIds:
    """The ids of users, or of items, in SQL and outside.

    Attributes:
        kind: whether all are integers.
        keys: id in SQL → id outside, as text, by rising id.
    """

    kind: IdKind
    keys: Mapping[int, str]

    @classmethod
    def of(cls, ids: Iterable[int]) -> Self:
        """Return integers that are the same outside."""
        return cls(IdKind.POSITIVE, {i: str(i) for i in sorted(ids)})

    @classmethod
    def read(cls, connection: duckdb.DuckDBPyConnection, what: str) -> Self:
        """Read the ids of all users (`what` is `user`) or items from staging."""
        table = connection.table(f"stg_{what}s").order(f"{what}_id").to_arrow_table()
        ids, keys = table[f"{what}_id"].to_pylist(), table[f"{what}_key"].to_pylist()
        return cls(IdKind.of(keys), dict(zip(ids, keys, strict=True)))

    @cached_property
    def are_same(self) -> bool:
        """Whether each id is the same outside."""
        return all(str(number) == key for number, key in self.keys.items())

    def external(self, number: int) -> ExternalId:
        """Return the id outside, as JSON has it."""
        return self.kind.external(self.keys[number])

    @cached_property
    def numbers(self) -> Numbers:
        """The ids in SQL, ascending, of shape (n,)."""
        return np.fromiter(self.keys, np.int32, len(self.keys))

    @cached_property
    def is_direct(self) -> bool:
        """Whether an id is its own row in `names` and `n_bytes`."""
        n = len(self.numbers)
        return n == 0 or int(self.numbers[-1]) <= MAX_SPARSITY * n

    def rows(self, numbers: Numbers) -> npt.NDArray[Any]:
        """Return the rows of ids in `names` and `n_bytes`."""
        return numbers if self.is_direct else np.searchsorted(self.numbers, numbers)

    @cached_property
    def encoded(self) -> Sequence[bytes]:
        """The text `id:` in each row."""
        if not self.is_direct:
            return [f"{key}:".encode() for key in self.keys.values()]
        n_rows = 1 + int(self.numbers[-1]) if len(self.numbers) else 1
        return [f"{self.keys.get(number, '')}:".encode() for number in range(n_rows)]

    @cached_property
    def names(self) -> npt.NDArray[np.uint64]:
        """The text `id:` padded with NULs, of shape (n_rows, n_words)."""
        n_words = -(-max(map(len, self.encoded)) // WORD)
        padded = np.array(self.encoded, dtype=f"S{WORD * n_words}")
        return padded.view(np.uint64).reshape(-1, n_words)

    @cached_property
    def n_bytes(self) -> npt.NDArray[np.int64]:
        """The number of bytes of each id, of shape (n_rows,)."""
        return np.array([len(name) - 1 for name in self.encoded], dtype=np.int64)

    @cached_property
    def column(self) -> pa.Array:
        """The ids outside by rising id, in the type that Parquet files have."""
        if self.are_same:
            return pa.array(self.numbers, pa.int32())
        texts = pa.array(self.keys.values(), pa.string())
        return texts if self.kind is IdKind.TEXT else texts.cast(pa.int64())

    def as_column(self, numbers: Numbers) -> pa.Array:
        """Return ids as they are outside, in the type that Parquet files have."""
        if self.are_same:
            return pa.array(numbers)
        return self.column.take(pa.array(np.searchsorted(self.numbers, numbers)))


@dataclass(frozen=True)
class Ids:
    """The ids of users and of items."""

    users: ExternalIds
    items: ExternalIds

    @classmethod
    def read(cls, connection: duckdb.DuckDBPyConnection) -> Self:
        """Read the ids from the staging tables."""
        users = ExternalIds.read(connection, "user")
        return cls(users, ExternalIds.read(connection, "item"))
