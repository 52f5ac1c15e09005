"""Parquet files that appear complete or not at all."""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch.errors import DISK_FULL_ERRNOS, BatchError
from batch.publishing.external_ids import Ids
from batch.scoring.ranking import Ranking
from lookup.shared.keys import GENERATION

DENIED_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)

PARTIAL = ".partial"

OWNER = b"redis_prefix"
RECOMMENDATIONS = pa.schema(
    [
        ("user_id", pa.int32()),
        ("rank", pa.int32()),
        ("item_id", pa.int32()),
        ("score", pa.float32()),
    ]
)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file."""
    with replacing(path) as file:
        pq.write_table(table, file, use_dictionary=False)


def write_text(text: str, path: Path) -> None:
    """Write a text file."""
    with replacing(path) as file:
        file.write(text.encode())


class ParquetWriter:
    """Writes rankings with the ids outside, each block as a row group."""

    def __init__(self, file: pq.ParquetWriter, ids: Ids) -> None:
        self._file = file
        self._ids = ids

    def write(self, block: Sequence[Ranking]) -> None:
        """Write the rankings of a block."""
        self._file.write_table(external(as_table(block), self._ids))


def external(table: pa.Table, ids: Ids) -> pa.Table:
    """Return a table with the ids that users and items have outside."""
    for name, of in (("user_id", ids.users), ("item_id", ids.items)):
        if name in table.column_names:
            column = of.as_column(table[name].to_numpy())
            table = table.set_column(table.column_names.index(name), name, column)
    return table


@contextmanager
def open_writer(path: Path, ids: Ids, prefix: str) -> Iterator[ParquetWriter]:
    """Open a file of rankings that appears only if the block succeeds.

    `prefix` names the installation, in case several share the folder.
    """
    schema = external(RECOMMENDATIONS.empty_table(), ids).schema
    schema = schema.with_metadata({OWNER: prefix.encode()})
    with replacing(path) as file, pq.ParquetWriter(file, schema) as writer:
        yield ParquetWriter(writer, ids)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that is moved to `path` if the block succeeds.

    It stays locked until it is moved. Without a lock, it was left by a killed
    process.

    Raises:
        BatchError: the disk is full or denies access; names the folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent)
        file, partial = _create(path)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        is_full = error.errno in DISK_FULL_ERRNOS
        if not is_full and error.errno not in DENIED_ERRNOS:
            raise
        remedy = "free some space there" if is_full else "may we write there?"
        raise BatchError(
            f"cannot write {path.name} into {path.parent}: {error.strerror}; {remedy}"
        ) from error


def _create(path: Path) -> tuple[BinaryIO, Path]:
    """Create and lock a temporary file; start over if it is removed in between."""
    while True:
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        file = partial.open("xb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file, partial
        file.close()


def as_table(rankings: Sequence[Ranking]) -> pa.Table:
    """Return rankings as rows of RECOMMENDATIONS."""
    lengths = [len(ranking.item_ids) for ranking in rankings]
    user_ids = np.array([ranking.user_id for ranking in rankings], np.int32)
    columns = [
        np.repeat(user_ids, lengths),
        np.concatenate([np.arange(1, n + 1, dtype=np.int32) for n in lengths]),
        np.concatenate([ranking.item_ids for ranking in rankings]),
        np.concatenate([ranking.scores for ranking in rankings]),
    ]
    return pa.Table.from_arrays(list(map(pa.array, columns)), schema=RECOMMENDATIONS)


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed processes."""
    for path in folder.glob(f"*{PARTIAL}"):
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def remove_user(path: Path, user: str) -> int:
    """Remove a user's rows from a file that has a column user_id; return how many.

    Raises:
        BatchError: the file cannot be read or written.
    """
    try:
        with pq.ParquetFile(path) as file:
            if "user_id" not in file.schema_arrow.names:
                return 0
            groups = range(file.num_row_groups)
            n_rows = sum(
                pc.sum(_is_of(user, file.read_row_group(i, ["user_id"]))).as_py() or 0
                for i in groups
            )
            if n_rows:
                _copy_without(user, file, path)
            return n_rows
    except pa.ArrowException as error:
        raise BatchError(
            f"cannot read {path}: {error}; is it damaged? then remove it"
        ) from error


def _copy_without(user: str, file: pq.ParquetFile, path: Path) -> None:
    with replacing(path) as copy, pq.ParquetWriter(copy, file.schema_arrow) as writer:
        for i in range(file.num_row_groups):
            table = file.read_row_group(i)
            writer.write_table(table.filter(pc.invert(_is_of(user, table))))


def _is_of(user: str, table: pa.Table) -> pa.ChunkedArray:
    """Return for each row whether it belongs to a user, given by external id."""
    return pc.equal(table["user_id"].cast(pa.string()), user)


def remove_generations(folder: Path, keep: Collection[str], prefix: str) -> None:
    """Remove the files of all generations of an installation except `keep`."""
    for path in folder.glob("*.parquet"):
        is_gone = re.fullmatch(GENERATION, path.stem) and path.stem not in keep
        if is_gone and is_of_installation(path, prefix):
            path.unlink(missing_ok=True)


def is_of_installation(path: Path, prefix: str) -> bool:
    """Return whether an installation wrote a file, or it is unknown which one did."""
    owner = None  # unknown: an older version wrote it, or it is broken
    with suppress(OSError, pa.ArrowException):
        owner = (pq.read_schema(path).metadata or {}).get(OWNER)
    return owner in (None, prefix.encode())
