"""Own data from the queries of a folder of sql/staging."""

import re
import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch import warehouse
from batch.errors import BatchError
from batch.ingest import load, release
from tests.batch.ingest.test_own_data import rows
from tests.worlds import Connection

README = Path(warehouse.SQL / "README.md").read_text(encoding="utf-8")


def documented(title: str) -> dict[str, str]:
    """Return the files that a worked example of sql/README.md shows."""
    section = README.partition(f"### {title}\n")[2].partition("\n### ")[0]
    files = re.findall(
        r"`[\w/]*?(\w+\.sql)`[^\n`]*\n+```sql\n(.*?)```", section, re.DOTALL
    )
    assert files
    return dict(files)


def source(
    folder: Path, monkeypatch: pytest.MonkeyPatch, title: str
) -> release.Release:
    """Copy a worked example into sql/staging/shop of an own SQL folder."""
    sql = folder / "sql"
    shutil.copytree(warehouse.SQL, sql)
    monkeypatch.setattr(warehouse, "SQL", sql)
    (sql / "staging" / "shop").mkdir()
    for name, text in documented(title).items():
        (sql / "staging" / "shop" / name).write_text(text)
    monkeypatch.chdir(folder)
    return release.staged("shop")


def test_a_file_of_events_can_be_the_source(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """View, basket and purchase are ratings of 1, 3 and 5; the README's example."""
    found = source(tmp_path, monkeypatch, "A Parquet file of events")
    events = pa.table(
        {
            "customer": ["c1", "c1", "c2", "c2", "c2"],
            "sku": ["a", "b", "a", "b", "b"],
            "event": ["view", "purchase", "basket", "view", "click"],
            "at": pa.array([1_600_000_000 + i for i in range(5)], pa.timestamp("s")),
        }
    )
    pq.write_table(events, tmp_path / "events.parquet")
    load.read(connection, found)
    assert rows(connection) == [
        ("c1", "a", 1.0, 1_600_000_000),
        ("c1", "b", 5.0, 1_600_000_001),
        ("c2", "a", 3.0, 1_600_000_002),
        ("c2", "b", 1.0, 1_600_000_003),
    ]
    assert (found.name, found.is_queried) == ("shop", True)


def test_a_database_can_be_the_source(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's example, with a file of DuckDB as the database.

    The extensions for SQLite and Postgres are made for one version of DuckDB each, and
    no package has them for the one installed.
    """
    found = source(tmp_path, monkeypatch, "A database")
    path = warehouse.SQL / "staging" / "shop" / "connect.sql"
    text = path.read_text()
    assert "install sqlite;\nload sqlite;\n" in text
    text = text.replace("install sqlite;\nload sqlite;\n", "").replace(
        ", type sqlite", ""
    )
    path.write_text(text)
    with duckdb.connect(str(tmp_path / "shop.db")) as database:
        database.execute("""
            create table orders as select * from (values
                (7, 'x', '2020-01-01 10:00:00'), (10, 'y', '2020-01-02 10:00:00')
            ) o (customer_id, book, ordered_at);
            create table books as select 'x' as book, 'X' as name, 1999 as year
        """)
    load.read(connection, found)
    assert [row[:2] for row in rows(connection)] == [("7", "x"), ("10", "y")]
    before = warehouse.digest(connection)
    load.read(connection, found)
    assert warehouse.digest(connection) == before
    connection.execute("delete from stg_ratings where user_id = 2")
    assert warehouse.digest(connection) != before


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("stg_ratings", "select 1 as user_id", "column item_id and timestamp is miss"),
        ("stg_ratings", "select * from nowhere", "cannot read .*stg_ratings.sql: Cata"),
        ("connect", "attach 'nowhere/x.db'", "cannot read .*connect.sql: IO Error"),
        (
            "stg_ratings",
            "select 1 as user_id, '' as item_id, 7 as timestamp",
            "stg_ratings.sql, row 1: item_id is '', expected",
        ),
        ("stg_items", None, "STAGING='shop': .*/shop lacks stg_items.sql"),
    ],
)
def test_what_is_wrong_with_a_source_is_named(
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    text: str | None,
    message: str,
) -> None:
    monkeypatch.setattr(warehouse, "SQL", tmp_path)
    shutil.copytree(Path(__file__).parents[3] / "sql", tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "staging" / "shop"
    folder.mkdir()
    good = "select 'u' as user_id, 'i' as item_id, 7 as timestamp"
    (folder / "stg_ratings.sql").write_text(good)
    (folder / "stg_items.sql").write_text("select 'i' as item_id, 'I' as title")
    if text is None:
        (folder / f"{name}.sql").unlink()
    else:
        (folder / f"{name}.sql").write_text(text)
    with pytest.raises(BatchError, match=message):
        load.read(connection, release.staged("shop"))


@pytest.mark.parametrize("name", ["tab", "keyed", "nowhere", "../staging", ""])
def test_only_folders_of_ones_own_are_sources(name: str) -> None:
    with pytest.raises(BatchError, match="expected the name of a folder of your own"):
        release.staged(name)
