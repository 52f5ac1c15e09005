from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from batch.errors import BatchError
from batch.ingest import release
from tests.movielens import ml_100k
from tests.sql import raw

Connection = duckdb.DuckDBPyConnection

BOM = b"\xef\xbb\xbf"

COLUMNS = {
    "stg_ratings": "user_id INTEGER, item_id INTEGER, rating DOUBLE, rated_at BIGINT",
    "stg_items": "item_id INTEGER, title VARCHAR, release_year INTEGER, "
    "genres VARCHAR[]",
    "stg_users": "user_id INTEGER, age INTEGER, gender VARCHAR, occupation VARCHAR",
}

ITEMS = [
    (10, "Misérables, Les (1995)", 1995, ["Drama", "Musical"]),
    (20, 'Star Wars: "A" Hope (1977)', 1977, ["Action"]),
    (30, "unknown", None, []),
]

NOBODY = [(1, None, None, None), (2, None, None, None)]

every_format = pytest.mark.parametrize("name", raw.WRITERS)


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Open an empty database."""
    with duckdb.connect() as connection:
        yield connection


def stage(connection: Connection, folder: Path) -> release.Release:
    """Recognise a folder and build its staging tables."""
    found = release.find(folder, folder / "unpacked")
    raw.stage(connection, found)
    return found


def failure(connection: Connection, folder: Path) -> str:
    """Expect the release not to be read, and return what the user is told."""
    with pytest.raises(BatchError) as caught:
        stage(connection, folder)
    said = str(caught.value)
    assert "\n" not in said
    return said


def expect(connection: Connection, name: str) -> None:
    """Expect the rows of tests/sql/raw.py."""
    for table, columns in COLUMNS.items():
        described = raw.rows(connection, f"describe {table}")
        assert ", ".join(f"{row[0]} {row[1]}" for row in described) == columns
    ratings = raw.rows(connection, "select * from stg_ratings order by all")
    assert ratings == list(raw.RATINGS)
    assert raw.rows(connection, "select * from stg_items order by all") == ITEMS
    users = raw.rows(connection, "select * from stg_users order by all")
    assert users == (list(raw.USERS) if name in ("ml-100k", "ml-1m") else NOBODY)


@every_format
def test_formats_give_the_same_rows(
    tmp_path: Path, connection: Connection, name: str
) -> None:
    """Whatever the format, the tables hold the same columns, types and rows."""
    raw.WRITERS[name](tmp_path)
    assert stage(connection, tmp_path).name == name
    expect(connection, name)


@every_format
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_marks_and_line_ends_do_not_matter(
    tmp_path: Path, connection: Connection, name: str, end: str
) -> None:
    """Files that an editor saved anew are read as before."""
    raw.WRITERS[name](tmp_path, encoding="utf-8", end=end, mark=BOM)
    stage(connection, tmp_path)
    expect(connection, name)


@every_format
@pytest.mark.parametrize("folder", ["it's [1] 100%*", "rating=3", "ä ö"])
def test_paths_are_no_patterns(
    tmp_path: Path, connection: Connection, name: str, folder: str
) -> None:
    """A folder named like a pattern or a partition is read as any other."""
    raw.WRITERS[name](tmp_path / "it's 1 100%*")
    raw.WRITERS[name](tmp_path / folder)
    stage(connection, tmp_path / folder)
    expect(connection, name)


@every_format
def test_half_stars_are_kept(tmp_path: Path, connection: Connection, name: str) -> None:
    """Ratings are not rounded."""
    raw.WRITERS[name](tmp_path, ratings=[(1, 10, 0.5, 7), (2, 10, 4.5, 8)])
    stage(connection, tmp_path)
    ratings = raw.rows(connection, "select rating from stg_ratings order by 1")
    assert ratings == [(0.5,), (4.5,)]


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
    """A title of ml-100k without a year has a date beside it."""
    raw.tab(tmp_path, ratings=[(1, 1, 4.0, 7)])
    flags = "|".join("0" * 19)
    raw.write(tmp_path / "u.item", [f"1|Toy Story|22-Nov-1995|||{flags}"])
    stage(connection, tmp_path)
    assert raw.rows(connection, "select release_year from stg_items") == [(1995,)]


def test_occupations_of_ml_1m_get_their_names(
    tmp_path: Path, connection: Connection
) -> None:
    """Codes become words, and unknown ones nothing."""
    raw.dat(tmp_path)
    lines = ["1::F::1::0::48067", "2::M::56::10::70072", "3::M::25::21::55117"]
    raw.write(tmp_path / "users.dat", lines)
    stage(connection, tmp_path)
    users = raw.rows(connection, "select age, occupation from stg_users order by all")
    assert users == [(1, "other"), (25, None), (56, "K-12 student")]


@every_format
@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ((2, 10, "good", 8), "rating is 'good', expected 0.5 to 5"),
        (
            (2147483648, 10, 3.0, 8),
            "user_id is '2147483648', expected a whole number from 1 to 2147483647",
        ),
        ((2, 10, 3.0), "3 columns, expected 4 separated by "),
        ((2, 10, 3.0, 8, 9), "5 columns, expected 4 separated by "),
    ],
)
def test_bad_lines_are_named(
    tmp_path: Path, connection: Connection, name: str, row: raw.Row, fault: str
) -> None:
    """One line tells the file, the line, the fault and the text."""
    raw.WRITERS[name](tmp_path, ratings=[(1, 10, 4.0, 7), row, (3, 10, 4.0, 7)])
    path = next(tmp_path.glob("*data")) if name == "ml-100k" else None
    path = path or next(tmp_path.glob("ratings.*"))
    line = 3 if name == "ml-csv" else 2
    said = failure(connection, tmp_path)
    assert said.startswith(f"{path}, line {line}: {fault}")
    assert str(row[0]) in said.rpartition(", in ")[2]


def test_a_bad_line_far_down_is_named(tmp_path: Path, connection: Connection) -> None:
    """The number is the file's, not that of a block of it."""
    ratings: list[raw.Row] = [(user, 10, 3.0, 7) for user in range(1, 300_001)]
    ratings[250_000] = (7, "ten", 3.0, 7)
    raw.csv(tmp_path, ratings=ratings)
    assert f"{tmp_path}/ratings.csv, line 250002: item_id is 'ten'" in failure(
        connection, tmp_path
    )


def test_a_wrong_encoding_is_named(tmp_path: Path, connection: Connection) -> None:
    """A CSV that is not UTF-8 is refused."""
    raw.csv(tmp_path, encoding="latin-1")
    said = failure(connection, tmp_path)
    assert f"{tmp_path}/movies.csv, line 2: bytes that are not UTF-8" in said


def test_an_open_quote_is_named(tmp_path: Path, connection: Connection) -> None:
    """A quote that swallows the rest of the file is refused."""
    raw.csv(tmp_path)
    lines = ["movieId,title,genres", '10,"Heat, The (1995),Drama']
    raw.write(tmp_path / "movies.csv", lines)
    said = failure(connection, tmp_path)
    assert f"{tmp_path}/movies.csv, line 2: a quote that does not" in said


def test_mixed_line_ends_are_named(tmp_path: Path, connection: Connection) -> None:
    """A file glued from two systems is refused."""
    raw.tab(tmp_path)
    (tmp_path / "u.data").write_bytes(b"1\t10\t3\t7\r\n2\t10\t3\t7\n3\t10\t3\t7\r\n")
    said = failure(connection, tmp_path)
    assert said.startswith(f"{tmp_path}/u.data, line 2: lines must all end with LF, or all")


def test_the_real_ml_100k(connection: Connection) -> None:
    """The published counts are met."""
    folder = ml_100k()
    raw.stage(connection, release.find(folder, folder))
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
