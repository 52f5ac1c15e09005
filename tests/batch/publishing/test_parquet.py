"""Parquet files, whole or not at all."""

import fcntl
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.publishing import parquet
from batch.publishing.external_ids import ExternalIds, Ids
from batch.scoring.ranking import Ranking

IDS = Ids(ExternalIds.of(range(1, 100)), ExternalIds.of(range(1, 100)))


def ranking(user_id: int, n_items: int) -> Ranking:
    """Lay out a list of the items 1 to n."""
    item_ids = np.arange(1, n_items + 1, dtype=np.int32)
    return Ranking(user_id, item_ids, -item_ids.astype(np.float32))


def write(path: Path, *blocks: list[Ranking]) -> None:
    """Write blocks as a run does."""
    with parquet.open_writer(path, IDS, "recs") as writer:
        for block in blocks:
            writer.write(block)


def test_lists_become_rows_and_blocks_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "new" / "g1.parquet"
    write(path, [ranking(1, 2), ranking(2, 0)], [ranking(7, 1)])
    table = pq.read_table(path)
    assert pq.read_metadata(path).num_row_groups == 2
    assert table.schema.equals(parquet.RECOMMENDATIONS)
    assert table.to_pydict() == {
        "user_id": [1, 1, 7],
        "rank": [1, 2, 1],
        "item_id": [1, 2, 1],
        "score": [-1.0, -2.0, -1.0],
    }


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        parquet.open_writer(tmp_path / "g1.parquet", IDS, "recs") as writer,
    ):
        writer.write([ranking(1, 2)])
        raise RuntimeError("the power went")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_and_what_another_writes_is_not(
    tmp_path: Path,
) -> None:
    left = tmp_path / "features.parquet.0badcafe.partial"
    left.touch()
    with parquet.replacing(tmp_path / "features.parquet") as one:
        one.write(b"one")
        assert not left.exists()
        with parquet.replacing(tmp_path / "features.parquet") as other:
            other.write(b"other")
    assert (tmp_path / "features.parquet").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["features.parquet"]


def test_the_lists_of_generations_that_are_held_or_of_others_stay(
    tmp_path: Path,
) -> None:
    g1, g2 = "20261124T013000Z-0a1b2c", "20261124T023000Z-0a1b2c"
    older, broken = "20261123T013000Z-0a1b2c", "20261122T013000Z-0a1b2c"
    with parquet.open_writer(tmp_path / f"{older}.parquet", IDS, "another"):
        pass
    write(tmp_path / f"{g1}.parquet", [ranking(1, 2)])
    write(tmp_path / f"{g2}.parquet", [ranking(1, 2)])
    for name in (f"{broken}.parquet", "mine.parquet", "notes.txt"):
        (tmp_path / name).touch()
    parquet.remove_generations(tmp_path, {g2}, "recs")
    left = {path.name for path in tmp_path.iterdir()}
    others = {f"{older}.parquet", "mine.parquet", "notes.txt"}
    assert left == {f"{g2}.parquet", *others}
    parquet.remove_generations(tmp_path / "not there", {g2}, "recs")


def test_a_table_replaces_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "features.parquet"
    for value in (1, 2):
        parquet.write_table(pa.table({"value": [value]}), path)
    assert pq.read_table(path).to_pydict() == {"value": [2]}
    assert [file.name for file in path.parent.iterdir()] == ["features.parquet"]


def test_a_file_that_was_taken_for_abandoned_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody tidies up between its opening and its lock."""
    flock = fcntl.flock
    n_calls = 0

    def late(file: BinaryIO, how: int) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 1:
            parquet.remove_abandoned(tmp_path)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    write(tmp_path / "g1.parquet", [ranking(1, 2)])
    assert [path.name for path in tmp_path.iterdir()] == ["g1.parquet"]
    assert pq.read_table(tmp_path / "g1.parquet").num_rows == 2
