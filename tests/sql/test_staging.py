from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from batch.ingest import load, release
from tests.movielens import ml_100k
from tests.sql import raw

Connection = duckdb.DuckDBPyConnection

BOM = b"\xef\xbb\xbf"

COLUMNS = {
    "stg_ratings": "user_id INTEGER, item_id INTEGER, rating DOUBLE, rated_at BIGINT",
    "stg_items": "item_id INTEGER, title VARCHAR, release_year INTEGER, "
    "genres VARCHAR[], item_key VARCHAR, is_listed BOOLEAN",
    "stg_users": "user_id INTEGER, age INTEGER, gender VARCHAR, occupation VARCHAR, "
    "user_key VARCHAR",
}

ITEMS = [
    (10, "Misérables, Les (1995)", 1995, ["Drama", "Musical"], "10", True),
    (20, 'Star Wars: "A" Hope (1977)', 1977, ["Action"], "20", True),
    (30, "unknown", None, [], "30", True),
]

UNDESCRIBED = [(1, None, None, None, "1"), (2, None, None, None, "2")]

every_format = pytest.mark.parametrize("name", raw.WRITERS)


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Open an empty database."""
    with duckdb.connect() as connection:
        yield connection


def stage(connection: Connection, folder: Path) -> release.Release:
    """Recognise a folder and build its staging tables."""
    found = release.find(folder, folder / "unpacked")
    load.read(connection, found)
    return found


def expect(connection: Connection, name: str) -> None:
    """Expect the rows of tests/sql/raw.py."""
    for table, columns in COLUMNS.items():
        described = raw.rows(connection, f"describe {table}")
        assert ", ".join(f"{row[0]} {row[1]}" for row in described) == columns
    ratings = raw.rows(connection, "select * from stg_ratings order by all")
    assert ratings == list(raw.RATINGS)
    assert raw.rows(connection, "select * from stg_items order by all") == ITEMS
    users = raw.rows(connection, "select * from stg_users order by all")
    described = [(*user, str(user[0])) for user in raw.USERS]
    assert users == (described if name in ("ml-100k", "ml-1m") else UNDESCRIBED)


@every_format
def test_formats_give_the_same_rows(
    tmp_path: Path, connection: Connection, name: str
) -> None:
    raw.WRITERS[name](tmp_path)
    assert stage(connection, tmp_path).name == name
    expect(connection, name)


@every_format
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_marks_and_line_ends_do_not_matter(
    tmp_path: Path, connection: Connection, name: str, end: str
) -> None:
    raw.WRITERS[name](tmp_path, encoding="utf-8", end=end, mark=BOM)
    stage(connection, tmp_path)
    expect(connection, name)


@every_format
@pytest.mark.parametrize("folder", ["it's [1] 100%*", "rating=3", "ä ö"])
def test_paths_are_no_patterns(
    tmp_path: Path, connection: Connection, name: str, folder: str
) -> None:
    raw.WRITERS[name](tmp_path / "it's 1 100%*")
    raw.WRITERS[name](tmp_path / folder)
    stage(connection, tmp_path / folder)
    expect(connection, name)


@every_format
@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("Heat (1995)", 1995),
        ("Heat (1995) ", 1995),
        ("Land Before Time III (1995) (V)", 1995),
        ("1900 (Novecento) (1976)", 1976),
        ("Remade (1950) (2004)", 2004),
        ("Death Note: Desu nôto (2006–2007)", 2006),
        ("Fawlty Towers (1975-1979)", 1975),
        ("Diplomatic Immunity (2009– )", 2009),
        ("Babylon 5", None),
        ("2001: A Space Odyssey", None),
        ("Bug (12345)", None),
    ],
)
def test_years_are_taken_from_titles(
    tmp_path: Path, connection: Connection, name: str, title: str, year: int | None
) -> None:
    """The year is the last in parentheses, of a range its first."""
    rated, item = [(1, 10, 4.0, 7)], (10, title, ["Drama"])
    raw.WRITERS[name](tmp_path, ratings=rated, items=[item], encoding="utf-8")
    stage(connection, tmp_path)
    items = raw.rows(connection, "select title, release_year from stg_items")
    assert items == [(title.strip(), year)]


def test_years_fall_back_on_the_release_date(
    tmp_path: Path, connection: Connection
) -> None:
    """A title of ml-100k without a year has a release date."""
    raw.tab(tmp_path, ratings=[(1, 1, 4.0, 7)])
    flags = "|".join("0" * 19)
    raw.write(tmp_path / "u.item", [f"1|Toy Story|22-Nov-1995|||{flags}"])
    stage(connection, tmp_path)
    assert raw.rows(connection, "select release_year from stg_items") == [(1995,)]


def test_occupations_of_ml_1m_get_their_names(
    tmp_path: Path, connection: Connection
) -> None:
    raw.dat(tmp_path)
    lines = ["1::F::1::0::48067", "2::M::56::10::70072", "3::M::25::21::55117"]
    raw.write(tmp_path / "users.dat", lines)
    stage(connection, tmp_path)
    users = raw.rows(connection, "select age, occupation from stg_users order by all")
    assert users == [(1, "other"), (25, None), (56, "K-12 student")]


def test_the_real_ml_100k(connection: Connection) -> None:
    folder = ml_100k()
    load.read(connection, release.find(folder, folder))
    counts = raw.rows(
        connection,
        """
        select
            (select count(*) from stg_ratings),
            (select count(*) from stg_items),
            (select count(release_year) from stg_items),
            (select count(*) from stg_users),
            (select count(*) from stg_users where occupation is null)
        """,
    )
    assert counts == [(100_000, 1682, 1681, 943, 0)]
    titles = raw.rows(connection, "select title from stg_items where item_id = 543")
    assert titles == [("Misérables, Les (1995)",)]
