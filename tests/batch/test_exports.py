"""Parquet files, whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch import exports
from batch.ranking import Ranking


def ranking(user_id: int, n_items: int) -> Ranking:
    """Lay out a list of the items 1 to n."""
    item_ids = np.arange(1, n_items + 1, dtype=np.int32)
    return Ranking(user_id, item_ids, -item_ids.astype(np.float32))


def test_lists_become_rows(tmp_path: Path) -> None:
    rankings = [ranking(1, 2), ranking(2, 0), ranking(7, 1)]
    file = exports.RecommendationsFile(tmp_path / "new", "g1")
    assert list(file.written(rankings)) == rankings
    file.settle()
    table = pq.read_table(tmp_path / "new" / "g1.parquet")
    assert table.schema.equals(exports.RECOMMENDATIONS)
    assert table.to_pydict() == {
        "user_id": [1, 1, 7],
        "rank": [1, 2, 1],
        "item_id": [1, 2, 1],
        "score": [-1.0, -2.0, -1.0],
    }


def test_more_users_than_a_row_group_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "USERS_PER_ROW_GROUP", 4)
    file = exports.RecommendationsFile(tmp_path, "g1")
    list(file.written(ranking(user_id, 3) for user_id in range(1, 11)))
    file.settle()
    metadata = pq.read_metadata(tmp_path / "g1.parquet")
    assert (metadata.num_rows, metadata.num_row_groups) == (30, 3)


def test_a_run_that_fails_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    def failing() -> Iterator[Ranking]:
        yield ranking(1, 2)
        raise RuntimeError("the power went")

    file = exports.RecommendationsFile(tmp_path, "g1")
    with pytest.raises(RuntimeError):
        list(file.written(failing()))
    assert not (tmp_path / "g1.parquet").exists()
    exports.prune(tmp_path, ["g1"])
    assert list(tmp_path.iterdir()) == []


def test_prune_keeps_the_lists_of_generations_that_are_held(tmp_path: Path) -> None:
    for name in ("g1.parquet", "g2.parquet", "g3.parquet.partial", "notes.txt"):
        (tmp_path / name).touch()
    exports.prune(tmp_path, ["g2"])
    assert {path.name for path in tmp_path.iterdir()} == {"g2.parquet", "notes.txt"}
    exports.prune(tmp_path / "not there", ["g2"])


def test_a_table_replaces_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "features.parquet"
    for value in (1, 2):
        exports.write_table(pa.table({"value": [value]}), path)
    assert pq.read_table(path).to_pydict() == {"value": [2]}
    assert [file.name for file in path.parent.iterdir()] == ["features.parquet"]
