"""Own data in each form that it may have."""

import logging
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.errors import BatchError
from batch.ingest import load, release
from batch.settings import DEFAULT_SCALE, RatingScale
from tests import shop
from tests.sql import raw
from tests.worlds import Connection

EVENTS: list[tuple[str, str, int]] = [
    ("zoë", "a:1", 1_600_000_000),
    ("zoë", "007", 1_600_000_100),
    ("Bob, jr.", "a:1", 1_600_000_200),
    ("Bob, jr.", "b/2 %", 1_600_000_300),
]
NAMES = ("user_id", "item_id", "timestamp")


def staged(
    connection: Connection, folder: Path, scale: RatingScale = DEFAULT_SCALE
) -> list[tuple[str, str, float, int]]:
    """Read a folder or zip; return (user_key, item_key, rating, rated_at)."""
    load.read(connection, release.find(folder, folder.parent / "unpacked"), scale)
    return rows(connection)


def rows(connection: Connection) -> list[tuple[str, str, float, int]]:
    """Return the staged ratings with external ids, by time."""
    return connection.sql("""
        select user_key, item_key, rating, rated_at
        from stg_ratings
        inner join stg_users using (user_id)
        inner join stg_items using (item_id)
        order by rated_at
    """).fetchall()


def failure(connection: Connection, folder: Path) -> str:
    """Expect one line about what is wrong with a folder."""
    with pytest.raises(BatchError) as caught:
        staged(connection, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def columns(events: list[tuple[str, str, int]] = EVENTS) -> dict[str, list[object]]:
    """Return events as columns."""
    return dict(zip(NAMES, map(list, zip(*events, strict=True)), strict=True))


def as_csv(path: Path, events: Iterable[shop.Row] = EVENTS) -> None:
    text = shop.text(",".join(NAMES), events)
    path.joinpath("interactions.csv").write_text(text)


def as_a_spreadsheet(path: Path) -> None:
    """BOM, CRLF, quotes, capitals, another order, another column."""
    body = "".join(f'\r\n{t},"{item}",,"{user}"' for user, item, t in EVENTS)
    text = f'\ufeff Timestamp,"ITEM_ID","note, if any",User_Id{body}\r\n\r\n'
    path.joinpath("interactions.csv").write_bytes(text.encode())


def with_semicolons(path: Path) -> None:
    """As a spreadsheet writes a CSV where commas stand for decimal points."""
    body = "".join(f'"{user}";{item};{t}\n' for user, item, t in EVENTS)
    path.joinpath("interactions.csv").write_text(";".join(NAMES) + "\n" + body)


def as_iso(path: Path) -> None:
    ends = ("Z", "+00:00", ".25", "")
    events = [
        (user, item, shop.iso(t).removesuffix("+00:00") + end)
        for (user, item, t), end in zip(EVENTS, ends, strict=True)
    ]
    events[0] = (*events[0][:2], "2020-09-13T14:26:40+02:00")
    as_csv(path, events)


def in_microseconds(path: Path) -> None:
    units = (1_000, 1_000_000, 1, 1_000)
    events = [
        (user, item, t * unit + unit // 2)
        for (user, item, t), unit in zip(EVENTS, units, strict=True)
    ]
    as_csv(path, events)


def as_parquet(path: Path) -> None:
    times = pa.array([t * 1_000_000 for *_, t in EVENTS], pa.timestamp("us", "CET"))
    table = pa.table({**columns(), "timestamp": times, "extra": [1, 2, 3, 4]})
    pq.write_table(table, path / "interactions.parquet")


def as_parts(path: Path) -> None:
    """Of other columns and types."""
    parts = path / "interactions"
    parts.mkdir()
    (parts / "_SUCCESS").touch()
    table = pa.table(columns())
    pq.write_table(table.slice(0, 3), parts / "part-0.parquet")
    times = pa.array([EVENTS[3][2]], pa.timestamp("s", "UTC"))
    other = table.slice(3).select(NAMES[::-1]).set_column(0, "Timestamp", times)
    pq.write_table(other, parts / "part-1.parquet")


FORMS = (
    as_csv,
    as_a_spreadsheet,
    with_semicolons,
    as_iso,
    in_microseconds,
    as_parquet,
    as_parts,
)


@pytest.mark.parametrize("write", FORMS)
@pytest.mark.parametrize("packed", [False, True])
def test_own_data_is_read_in_any_form(
    connection: Connection, tmp_path: Path, write: Callable[[Path], None], packed: bool
) -> None:
    """Every interaction counts as liked, since there are no ratings."""
    home = path = tmp_path / "shop"
    path.mkdir()
    write(path)
    if packed:
        path = tmp_path / "shop.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in filter(Path.is_file, home.rglob("*")):
                archive.write(file, file.relative_to(tmp_path))
    found = staged(connection, path)
    assert found == [(user, item, 5.0, t) for user, item, t in EVENTS]
    ids = connection.sql("select item_id, item_key, title, is_listed from stg_items")
    assert sorted(ids.fetchall()) == [
        (1, "007", "007", True),
        (2, "a:1", "a:1", True),
        (3, "b/2 %", "b/2 %", True),
    ]
    users = connection.sql("select user_id, user_key from stg_users").fetchall()
    assert sorted(users) == [(1, "Bob, jr."), (2, "zoë")]


@pytest.mark.parametrize(
    ("given", "order"),
    [
        ("10 9 100 1", "1 9 10 100"),
        ("10 9 100 01", "01 10 100 9"),
        ("10 9 -1", "-1 10 9"),
        ("10 9007199254740992", "10 9007199254740992"),
        ("9 9007199254740991 10", "9 10 9007199254740991"),
        ("é z Z a", "Z a z é"),
    ],
)
def test_ids_are_numbered_in_order(
    connection: Connection, tmp_path: Path, given: str, order: str
) -> None:
    """As numbers where all are canonical integers below 2 ** 53, else as text."""
    events = [(user, "x", 7 + i) for i, user in enumerate(given.split())]
    as_csv(tmp_path, events)
    staged(connection, tmp_path)
    keys = connection.sql("select user_key from stg_users order by user_id").fetchall()
    assert [key for (key,) in keys] == order.split()


def test_integers_that_became_floats_are_integers(
    connection: Connection, tmp_path: Path
) -> None:
    """As pandas writes a column that once had missing values."""
    bought = {"user_id": [7.0, 10.0], "item_id": [1, 2], "timestamp": [7.0, 8.5]}
    pq.write_table(pa.table(bought), tmp_path / "interactions.parquet")
    items = {"item_id": [1.0, 2.0], "title": ["A", "B"], "year": [1999.0, None]}
    pq.write_table(pa.table(items), tmp_path / "items.parquet")
    found = staged(connection, tmp_path)
    assert [row[:2] for row in found] == [("7", "1"), ("10", "2")]
    assert connection.sql("select title from stg_items").fetchall() == [("A",), ("B",)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (",x,7,5", "user_id is None, expected 1 to 128 characters"),
        (f"u,{'x' * 129},7,5", f"item_id is '{'x' * 129}', expected 1 to 128"),
        ("u,a\tb,7,5", r"item_id is 'a\\tb', expected .* without control characters"),
        ("u,x,0,5", "timestamp is '0', expected a time after 1970: unix seconds"),
        ("u,x,,5", "timestamp is None, expected a time"),
        ("u,x,yesterday,5", "timestamp is 'yesterday', expected a time"),
        ("u,x,2020-13-01,5", "timestamp is '2020-13-01', expected a time"),
        ("u,x,7,6", r"rating is '6', expected 0.5 to 5 \(RATING_SCALE\)"),
        ("u,x,7,nan", "rating is 'nan', expected 0.5 to 5"),
        ("u,x,7,good", "rating is 'good', expected 0.5 to 5"),
        ("u,x,7,", "rating is empty, expected one, as in other rows"),
        ("u,x,7", "3 columns, expected 4, in 'u,x,7'"),
        ("u,x,7,5,9", "5 columns, expected 4"),
        ('u,"x,7,5', "2 columns, expected 4"),
    ],
)
def test_a_bad_line_is_named(
    connection: Connection, tmp_path: Path, line: str, message: str
) -> None:
    """By its number in the file, whatever lies before it."""
    path = tmp_path / "interactions.csv"
    before = 'user_id,item_id,timestamp,rating,\n"u",x,7,4,"a\nb"\n\n'
    if message.partition(" ")[2].startswith("columns"):
        before = 'user_id,item_id,timestamp,rating\n"u",x,7,4\n\n\n'
        line += "\n"
    else:
        line += ",\n"
    path.write_text(before + line + "u,y,8,3" + "," * before.count("rating,"))
    place = f"{path}, line 5: "
    found = failure(connection, tmp_path)
    assert found.startswith(place), found
    assert re.match(message, found.removeprefix(place)), found


def test_a_bad_row_of_parquet_is_named(connection: Connection, tmp_path: Path) -> None:
    as_parts(tmp_path)
    path = tmp_path / "interactions" / "part-1.parquet"
    table = pa.table(columns([*EVENTS[:3], ("u", "", 7)]))
    pq.write_table(table, path, row_group_size=3)
    found = failure(connection, tmp_path)
    assert found.startswith(f"{path}, row group 2, row 1: item_id is '', expected")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("interactions.csv", "user,item_id\n", "column user_id and timestamp is miss"),
        ("interactions.csv", "", "is empty, or its first line is"),
        ("interactions.csv", "user_id,User_ID\n", "two columns are named 'user_id'"),
        ("interactions.csv", ",".join(NAMES) + "\n", "there is at least one rating"),
        ("items.csv", "item_id,title\na,A\na,B\n", "line 3: item_id is 'a', expected"),
        ("items.csv", "item_id,title,year\na,A,x\n", "line 2: year is 'x', expected a"),
        ("items.csv", "item_id,title\nA:1,A\n", "found 'A:1' here and '007' there"),
        ("users.csv", "user_id,age\nu,-3\n", "line 2: age is '-3', expected years"),
        ("u.data", "", "is ambiguous: it holds interactions.csv, u.data; keep one"),
        ("interactions.parquet", "", "it holds interactions.csv, interactions.parq"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(
    connection: Connection, tmp_path: Path, name: str, text: str, message: str
) -> None:
    as_csv(tmp_path)
    (tmp_path / name).write_text(text)
    assert message in failure(connection, tmp_path)


def test_unlisted_items_and_repeats_are_counted(
    connection: Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a repeated interaction the latest counts."""
    events = [*EVENTS, ("zoë", "a:1", 1_600_000_999)]
    text = shop.text(",".join(NAMES) + ",shop", [(*event, 1) for event in events])
    (tmp_path / "interactions.csv").write_text(text)
    described = [("a:1", "A", "x| y|x"), ("new", "", "")]
    text = shop.text("item_id,title,genres", described)
    (tmp_path / "items.csv").write_text(text)
    (tmp_path / "users.csv").write_text("AGE,user_id,gender\n41,zoë,female\n,eve,\n")
    with caplog.at_level(logging.WARNING):
        found = staged(connection, tmp_path)
    assert [(u, i, t) for u, i, _, t in found] == [*EVENTS[1:], events[-1]]
    for message in (
        "columns are ignored: shop",
        "items that it lacks stay in histories and are never recommended (2)",
        "the latest counts, of one second the highest; the others were left out (1)",
        "no ratings, or only one value: every interaction counts as liked",
    ):
        assert message in caplog.text
    query = "select item_key, title, genres, is_listed from stg_items order by item_id"
    assert connection.sql(query).fetchall() == [
        ("007", "007", [], False),
        ("a:1", "A", ["x", "y"], True),
        ("b/2 %", "b/2 %", [], False),
        ("new", "new", [], True),
    ]
    people = connection.sql("select user_key, age, gender from stg_users").fetchall()
    assert people == [("Bob, jr.", None, None), ("eve", None, None), ("zoë", 41, "F")]


# --- scales --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*raw.WRITERS, "own data"])
def test_ratings_of_any_scale_become_stars(
    connection: Connection, tmp_path: Path, name: str
) -> None:
    given = [(1, 10, 0, 70), (1, 20, 7, 71), (2, 10, 10, 72)]
    if name == "own data":
        text = shop.text("user_id,item_id,rating,timestamp", given)
        (tmp_path / "interactions.csv").write_text(text)
    else:
        raw.WRITERS[name](tmp_path, given)
    found = staged(connection, tmp_path, RatingScale(0, 10))
    assert [rating for _, _, rating, _ in found] == [0.5, 3.5, 5.0]
    with pytest.raises(BatchError, match=r"rating is '0', expected 1 to 10 "):
        staged(connection, tmp_path, RatingScale(1, 10))


def test_a_constant_rating_counts_as_liked(
    connection: Connection, tmp_path: Path
) -> None:
    raw.tab(tmp_path, [(1, 10, 1, 70), (2, 20, 1, 71)])
    assert [rating for _, _, rating, _ in staged(connection, tmp_path)] == [5.0, 5.0]


def test_a_users_file_that_is_not_movielens_is_ignored(
    connection: Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw.dat(tmp_path, encoding="utf-8")
    (tmp_path / "users.dat").write_text("1::139564917\n2::17528189\n")
    with caplog.at_level(logging.WARNING):
        assert len(staged(connection, tmp_path)) == 3
    assert f"{tmp_path / 'users.dat'} is ignored: it has 2 columns" in caplog.text
    assert release.find(tmp_path, tmp_path).name == "ml-10m"
