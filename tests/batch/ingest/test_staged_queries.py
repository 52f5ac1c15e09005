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


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder sql/staging/shop in a copy of the SQL."""
    shutil.copytree(warehouse.SQL, tmp_path / "sql")
    monkeypatch.setattr(warehouse, "SQL", tmp_path / "sql")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "sql/staging/shop"
    folder.mkdir()
    return folder


def test_a_file_of_events_can_be_the_source(
    connection: Connection, tmp_path: Path, shop: Path
) -> None:
    """View, basket and purchase are ratings of 1, 3 and 5; the README's example."""
    for name, text in documented("A Parquet file of events").items():
        (shop / name).write_text(text)
    events = pa.table(
        {
            "customer": ["c1", "c1", "c2", "c2", "c2"],
            "sku": ["a", "b", "a", "b", "b"],
            "event": ["view", "purchase", "basket", "view", "click"],
            "at": pa.array([1_600_000_000 + i for i in range(5)], pa.timestamp("s")),
        }
    )
    pq.write_table(events, tmp_path / "events.parquet")
    found = release.staged("shop")
    load.read(connection, found)
    assert rows(connection) == [
        ("c1", "a", 1.0, 1_600_000_000),
        ("c1", "b", 5.0, 1_600_000_001),
        ("c2", "a", 3.0, 1_600_000_002),
        ("c2", "b", 1.0, 1_600_000_003),
    ]
    assert (found.name, found.is_queried) == ("shop", True)


def test_a_database_can_be_the_source(
    connection: Connection, tmp_path: Path, shop: Path
) -> None:
    """The README's example, with a file of DuckDB as the database.

    The extensions for SQLite and Postgres are made for one version of DuckDB each, and
    no package has them for the one installed.
    """
    files = documented("A database")
    for sqlite in ("install sqlite;\nload sqlite;\n", ", type sqlite"):
        assert sqlite in files["connect.sql"]
        files["connect.sql"] = files["connect.sql"].replace(sqlite, "")
    for name, text in files.items():
        (shop / name).write_text(text)
    found = release.staged("shop")
    with duckdb.connect(str(tmp_path / "shop.db")) as database:
        database.execute("""
            create table orders as select * from (values
                (7, 'x', '2020-01-01 10:00:00'), (10, 'y', '2020-01-02 10:00:00')
            ) o (customer_id, book, ordered_at);
            create table books as select 'x' as book, 'X' as name, 1999 as year
        """)
    load.read(connection, found)
    assert [row[:2] for row in rows(connection)] == [("7", "x"), ("10", "y")]
    before = load.digest(connection)
    load.read(connection, found)
    assert load.digest(connection) == before
    connection.execute("delete from stg_ratings where user_id = 2")
    assert load.digest(connection) != before


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
        ("stg_items", "-- nothing yet", "stg_items.sql: expected a query"),
        ("connect", "-- \udce9", "connect.sql, byte 3: expected UTF-8"),
        ("stg_items", None, "STAGING='shop': .*/shop lacks stg_items.sql"),
    ],
)
def test_what_is_wrong_with_a_source_is_named(
    connection: Connection, shop: Path, name: str, text: str | None, message: str
) -> None:
    good = "select 'u' as user_id, 'i' as item_id, 7 as timestamp"
    files = {"stg_ratings": good, "stg_items": "select 'i' as item_id, 'I' as title"}
    for table, query in {**files, name: text}.items():
        if query is not None:
            content = query.encode(errors="surrogateescape")
            (shop / f"{table}.sql").write_bytes(content)
    with pytest.raises(BatchError, match=message):
        load.read(connection, release.staged("shop"))


@pytest.mark.parametrize("name", ["tab", "keyed", "nowhere", "../staging", ""])
def test_only_folders_of_ones_own_are_sources(name: str) -> None:
    with pytest.raises(BatchError, match="expected the name of a folder of your own"):
        release.staged(name)
