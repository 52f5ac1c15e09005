"""A disk that is full where raw files are unpacked and where DuckDB spills."""

from pathlib import Path

import pytest

from batch import warehouse
from batch.errors import BatchError
from batch.ingest import release
from tests.faults.batches import Clone
from tests.faults.disks import tiny_disk
from tests.sql import raw


def crowd(folder: Path, n_users: int) -> Path:
    """Write a release of many ratings."""
    ratings: list[raw.Row] = [
        (user, 1 + (user * 7 + item * 31) % 300, 3.0, 880_000_000 + item)
        for user in range(1, n_users + 1)
        for item in range(60)
    ]
    items: list[raw.Row] = [(item, f"Item {item}", ["War"]) for item in range(1, 301)]
    return raw.csv(folder, ratings, items)


def test_no_room_to_unpack_is_named(tmp_path: Path) -> None:
    """Nothing half-written is left or used, and with room it goes on."""
    folder, unpacked = crowd(tmp_path / "raw", 200), tmp_path / "unpacked"
    path = raw.zipped(folder, tmp_path / "ml.zip")
    with tiny_disk(unpacked, "64k"):
        with pytest.raises(BatchError) as caught:
            release.find(path, unpacked)
        said = str(caught.value)
        assert said.startswith(f"cannot unpack {path} into {unpacked}: ")
        assert said.endswith("No space left on device; free some space there")
        assert not list(unpacked.iterdir())
    found = release.find(path, unpacked)
    assert release.fingerprint(found) == release.fingerprint(
        release.find(folder, unpacked)
    )


def test_no_room_to_spill_is_named(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    query = "create table numbers as select hash(i) as h, i from range(4000000) r (i)"
    with (
        tiny_disk(spill, "4m"),
        pytest.raises(BatchError) as caught,
        warehouse.spilling(spill),
        warehouse.connect(spill) as connection,
    ):
        connection.execute("set memory_limit = '60MiB'")
        connection.execute("set threads = 1")
        connection.execute(query)
    assert str(caught.value).startswith(
        f"no room in {spill}, where DuckDB puts data that does not fit into memory"
    )
    assert "\n" not in str(caught.value)


def test_too_little_memory_is_named(tmp_path: Path) -> None:
    """What a single step needs at once cannot be spilled."""
    said = r"raise DUCKDB_MEMORY or lower DUCKDB_THREADS \(Out of Memory Error: .*\)$"
    with (
        pytest.raises(BatchError, match=said),
        warehouse.spilling(tmp_path),
        warehouse.connect(tmp_path) as connection,
    ):
        connection.execute("set memory_limit = '10MiB'")
        connection.execute("select list(i) from range(4000000) r (i)").fetchall()


@pytest.mark.slow
def test_a_run_without_room_to_spill_ends_in_one_line(tmp_path: Path) -> None:
    """It writes no file; with room the next one succeeds."""
    crowd(tmp_path / "raw", 2500)
    spill = tmp_path / "data" / "processed" / "spill"
    clone = Clone(tmp_path, {"MOVIELENS_RAW": "raw"})
    little = Clone(tmp_path, {"MOVIELENS_RAW": "raw", "DUCKDB_MEMORY": "48MiB"})
    with tiny_disk(spill, "1m"):
        line = little.failure("features")
        assert line.startswith("error: no room in data/processed/spill, where ")
        assert [path.name for path in spill.parent.iterdir()] == ["spill"]
    clone.run("features")
    assert not list(spill.iterdir())
