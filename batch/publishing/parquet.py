"""Parquet files that are there whole or not at all."""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch.errors import DISK_FULL_ERRNOS, BatchError
from batch.scoring.ranking import Ranking

DENIED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
"""What else a disk says that does not take a file."""

PARTIAL = ".partial"
GENERATION = re.compile(r"(\d{8}T\d{6}Z-[0-9a-f]{6})(\.part-\d+-of-\d+)?")
USERS_PER_ROW_GROUP = 1000

RECOMMENDATIONS = pa.schema(
    [
        ("user_id", pa.int32()),
        ("rank", pa.int32()),
        ("item_id", pa.int32()),
        ("score", pa.float32()),
    ]
)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table beside its place and move it there."""
    with replacing(path) as file:
        pq.write_table(table, file, use_dictionary=False)


def write_text(text: str, path: Path) -> None:
    """Write a page, likewise."""
    with replacing(path) as file:
        file.write(text.encode())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Lend a file that takes the place of `path` if the block succeeds.

    It is locked while it is written to, so that the next who writes there can tell it
    from one that a killed process left.

    Raises:
        BatchError: the disk takes no file there; names the folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent)
        file, partial = begin(path)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in DISK_FULL_ERRNOS + DENIED:  # of the block
            raise
        is_full = error.errno in DISK_FULL_ERRNOS
        remedy = "free some space there" if is_full else "may we write there?"
        raise BatchError(
            f"cannot write {path.name} into {path.parent}: {error.strerror}; {remedy}"
        ) from error


def begin(path: Path) -> tuple[BinaryIO, Path]:
    """Open a file beside another, and lock it before anybody takes it for abandoned."""
    while True:
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        file = partial.open("xb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file, partial
        file.close()


def written(
    file: BinaryIO, rankings: Iterable[Ranking]
) -> Generator[Ranking, None, None]:
    """Pass rankings on and write them to a file on their way, as RECOMMENDATIONS."""
    with pq.ParquetWriter(file, RECOMMENDATIONS) as writer:
        group: list[Ranking] = []
        for ranking in rankings:
            group.append(ranking)
            if len(group) == USERS_PER_ROW_GROUP:
                writer.write_table(as_table(group))
                group.clear()
            yield ranking
        if group:
            writer.write_table(as_table(group))


def join(paths: Sequence[Path], path: Path) -> None:
    """Put the lists of several files, one behind the other, into one in their place."""
    with replacing(path) as file, pq.ParquetWriter(file, RECOMMENDATIONS) as writer:
        for one in paths:
            with pq.ParquetFile(one) as lists:
                for number in range(lists.num_row_groups):
                    writer.write_table(lists.read_row_group(number))
    for one in paths:
        one.unlink()


def as_table(rankings: list[Ranking]) -> pa.Table:
    """Lay rankings out as rows."""
    lengths = [len(ranking.item_ids) for ranking in rankings]
    columns = [
        np.repeat([ranking.user_id for ranking in rankings], lengths),
        np.concatenate([np.arange(1, length + 1) for length in lengths]),
        np.concatenate([ranking.item_ids for ranking in rankings]),
        np.concatenate([ranking.scores for ranking in rankings]),
    ]
    arrays = [
        pa.array(column.astype(kind.to_pandas_dtype()), kind)
        for column, kind in zip(columns, RECOMMENDATIONS.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=RECOMMENDATIONS)


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes have left half-written."""
    for path in folder.glob(f"*{PARTIAL}"):
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def prune(folder: Path, generations: Collection[str]) -> None:
    """Remove the lists of generations no longer held, and parts of what is joined."""
    for path in folder.glob("*.parquet"):
        found = GENERATION.fullmatch(path.stem)
        if found is None:
            continue
        is_joined = found[2] and path.with_name(f"{found[1]}.parquet").exists()
        if is_joined or found[1] not in generations:
            path.unlink(missing_ok=True)
