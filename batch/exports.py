"""Parquet files that are there whole or not at all."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch.ranking import Ranking

PARTIAL = ".partial"
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
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    pq.write_table(table, partial)
    settle(partial, path)


class RecommendationsFile:
    """A generation's lists as `user_id, rank, item_id, score`, while being written."""

    def __init__(self, folder: Path, generation: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{generation}.parquet"
        self._partial = self.path.with_name(self.path.name + PARTIAL)

    def written(self, rankings: Iterable[Ranking]) -> Iterator[Ranking]:
        """Pass rankings on and write them down on their way."""
        with pq.ParquetWriter(self._partial, RECOMMENDATIONS) as writer:
            group: list[Ranking] = []
            for ranking in rankings:
                group.append(ranking)
                if len(group) == USERS_PER_ROW_GROUP:
                    writer.write_table(as_table(group))
                    group.clear()
                yield ranking
            if group:
                writer.write_table(as_table(group))

    def settle(self) -> None:
        """Give the finished file its name."""
        settle(self._partial, self.path)


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


def settle(partial: Path, path: Path) -> None:
    """Rename a finished file, its content safely on the disk before its name is."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def prune(folder: Path, generations: Iterable[str]) -> None:
    """Remove the lists of generations no longer held, and what a crash left."""
    held = {f"{generation}.parquet" for generation in generations}
    for path in folder.glob("*.parquet*"):
        if path.name not in held:
            path.unlink()
