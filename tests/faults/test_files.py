"""Bad raw files: refused with file and line, or repaired, counted and logged."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.errors import BatchError
from batch.ingest import release
from tests.conftest import KEYS, RedisServer, publish
from tests.faults import files
from tests.faults.batches import Clone
from tests.faults.files import Reader, Rows
from tests.movielens import write_world
from tests.sql import raw

DELIMITERS = {"ml-100k": "\t", "ml-1m": "::", "ml-10m": "::", "ml-csv": ","}
FORMATS = {form.name: form for form in release.FORMATS}
FLAGS = b"|".join([b"0"] * 19)

BAD_VALUES = {
    "user": f"0 two 2147483648 {'9' * 100} \0002 \r2 \ufeff2 \udce92 \u00a02",
    "item": "-20 ten 19.5 2e1 0x14 2_0 +20 ٢٠",
    "rating": "0 5.5 -1 1e9 NaN inf good 3,5 .5.",
    "time": "0 -7 881250949000 now 7.5",
}
BAD_RATINGS = [
    "2 10 3",
    "2 10 3 7 9",
    "2  3 7",
    *(f"{value} 20 3 7" for value in BAD_VALUES["user"].split(" ")),
    *(f"2 {value} 3 7" for value in BAD_VALUES["item"].split(" ")),
    *(f"2 20 {value} 7" for value in BAD_VALUES["rating"].split(" ")),
    *(f"2 20 3 {value}" for value in BAD_VALUES["time"].split(" ")),
]

every_format = pytest.mark.parametrize("name", raw.WRITERS)


@pytest.fixture(scope="module")
def opened() -> Iterator[Reader]:
    """Open one warehouse for all releases."""
    with files.reader() as reader:
        yield reader


@pytest.fixture
def reader(opened: Reader, tmp_path: Path) -> Reader:
    """Read from this test's folder."""
    (tmp_path / "ml").mkdir()
    return Reader(opened.connection, tmp_path / "ml")


def ratings_of(reader: Reader, name: str) -> Path:
    """Write a good release, and name its file of ratings."""
    reader.write(name, list(raw.RATINGS), list(raw.ITEMS))
    return reader.folder / FORMATS[name].ratings


def items_of(reader: Reader, name: str) -> Path:
    """Write a good release, and name its file of items."""
    ratings_of(reader, name)
    return reader.folder / FORMATS[name].items


def insert(path: Path, line: bytes, before: int) -> None:
    """Put a line into a file."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[: before - 1], line, *lines[before - 1 :]]))


def refused(reader: Reader) -> str:
    """Expect one line that names the cause."""
    with pytest.raises(BatchError) as caught:
        reader.read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@every_format
@pytest.mark.parametrize("fields", BAD_RATINGS)
def test_a_bad_line_of_ratings_is_named(reader: Reader, name: str, fields: str) -> None:
    path = ratings_of(reader, name)
    line = DELIMITERS[name].join(fields.split(" ")) + "\n"
    insert(path, line.encode(errors="surrogateescape"), 3)
    assert refused(reader).startswith(f"{path}, line 3: ")


@every_format
def test_a_wrong_delimiter_is_named(reader: Reader, name: str) -> None:
    path, delimiter = ratings_of(reader, name), DELIMITERS[name]
    insert(path, b"2;20;3;7\n", 3)
    message = refused(reader)
    assert f"line 3: 1 columns, expected 4 separated by {delimiter!r}" in message


@every_format
def test_ten_million_columns_are_no_feat(reader: Reader, name: str) -> None:
    """Nor is a line of 100 MB: neither is ever split or shown."""
    path, delimiter = ratings_of(reader, name), DELIMITERS[name].encode()
    insert(path, b"1" + 10_000_000 * delimiter + b"\n", 3)
    assert f"{path}, line 3: longer than 65536 bytes" in (message := refused(reader))
    assert len(message) < 1000
    path = items_of(reader, name)
    with path.open("ab") as file:
        file.write(b"9" + DELIMITERS[name].encode() + b"x" * 100_000_000)
    assert f"{path}, line {4 + (name == 'ml-csv')}: longer than" in refused(reader)


@every_format
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf_16_is_named(reader: Reader, name: str, encoding: str) -> None:
    path = items_of(reader, name)
    content = path.read_bytes().decode("utf-8", "replace")
    path.write_bytes(content.encode(encoding))
    assert refused(reader).startswith(f"{path}, line 1: ")


@every_format
@pytest.mark.parametrize(
    ("ends", "number"), [("\r\r\r", 1), ("\n\n\r\n", 3), ("\r\n\r\n\n", 3)]
)
def test_mixed_line_ends_are_named(
    reader: Reader, name: str, ends: str, number: int
) -> None:
    """And those of old Macs."""
    path = ratings_of(reader, name)
    lines = zip(path.read_text().splitlines(), ends.splitlines(True), strict=False)
    path.write_text("".join(map("".join, lines)), newline="")
    message = refused(reader)
    assert message.startswith(f"{path}, line {number}: ")
    assert (number == 1) or "lines must all end with LF" in message


def test_a_bad_line_of_a_hundred_thousand_is_named(reader: Reader) -> None:
    """In the middle of blocks of many, whatever is wrong: a field, a pair, an item."""
    ratings: Rows = [(1 + i % 2, 1 + i // 2, 3.0, 7) for i in range(400_000)]
    items: Rows = [(i, "x", []) for i in range(1, 200_002)]
    for at, row, found in (
        (5311, (1, "nine", 3.0, 7), "item_id is 'nine', expected a whole number"),
        (390_000, (1, 2_000_001, 3.0, 7), "every rated item is in the items file"),
    ):
        raw.csv(reader.folder, [*ratings[:at], row, *ratings[at:]], items)
        message = refused(reader)
        assert f"{reader.folder}/ratings.csv, line {at + 2}: " in message
        assert found in message


@every_format
@pytest.mark.parametrize("title", ["a\tb", "a|b", "a::b", 'a "b", c', "a, b", "'a'"])
def test_a_title_may_hold_any_other_delimiter(
    reader: Reader, name: str, title: str
) -> None:
    """Its own is refused, but in a CSV, which quotes it."""
    items: Rows = [(10, title, ["War"]), (20, "x", [])]
    reader.write(name, list(raw.RATINGS), items)
    if {"ml-100k": "|", "ml-1m": "::", "ml-10m": "::"}.get(name, "\n") in title:
        assert f"line 1: {25 if name == 'ml-100k' else 4} columns" in refused(reader)
    else:
        reader.read()
        assert reader.items()[0] == (10, title, ["War"])


BAD_LINES = [
    ("movies.csv", b'10,"Heat, The (1995),Drama', "a quote that does not enclose a"),
    ("movies.csv", b'10,"Heat\nThe (1995)",Drama', "a quote that does not enclose a"),
    ("movies.csv", b'10,"Heat" The (1995),Drama', "a quote that does not enclose a"),
    ("movies.csv", b'10,The "Heat" (1995),Drama', "a quote that does not enclose a"),
    ("movies.csv", b"10,Heat, The (1995),Drama", "4 columns, expected 3"),
    ("movies.csv", b"10,,Drama", "title is '', expected a text"),
    ("movies.csv", b'10,"  ",Drama', "title is '  ', expected a text"),
    ("movies.csv", b"10,Heat,Drama|War|Drama", "genres is 'Drama|War|Drama', expe"),
    ("movies.csv", b"10,Heat,Drama||War", "genres is 'Drama||War', expected names"),
    ("movies.csv", b"10,Mis\xe9rables,Drama", "bytes that are not UTF-8"),
    ("u.item", b"7|x|soon|||" + FLAGS, "released_on is 'soon', expected"),
    ("u.item", b"7|x||||" + FLAGS.replace(b"0", b"2"), "genre_0 is '2', expected 0 or"),
    ("u.item", b"7|x||||" + FLAGS[2:], "23 columns, expected 24"),
    ("u.item", b"7|x\x92||||" + FLAGS, "neither UTF-8 nor Latin-1"),
    ("u.item", "7|ç||||".encode() + FLAGS, "UTF-8, where other lines are Latin-1"),
    ("movies.dat", b"7::x:::Drama", "three colons"),
    ("u.user", b"3|old|M|artist|1", "age is 'old', expected years"),
    ("u.user", b"3|25|M|artist", "4 columns, expected 5"),
    ("u.user", b"x|25|M|artist|1", "user_id is 'x'"),
    ("users.dat", b"3::M::25::-2::1", "occupation_code is '-2', expected a code"),
    ("u.user", b"1|25|M|artist|1", "no user_id stands for two users"),
    ("users.dat", b"1::M::25::2::1", "no user_id stands for two users"),
]


@pytest.mark.parametrize(("file", "line", "found"), BAD_LINES)
def test_a_bad_line_of_items_or_users_is_named(
    reader: Reader, file: str, line: bytes, found: str
) -> None:
    name = next(name for name, form in FORMATS.items() if file in form.names)
    ratings_of(reader, name)
    insert(reader.folder / file, line + b"\n", 3)
    assert f"{reader.folder}/{file}, line 3: " in (message := refused(reader))
    assert found in message


@every_format
def test_rows_that_do_not_fit_together_are_named(reader: Reader, name: str) -> None:
    """An item given twice, a rating of an unknown item or by an unknown user."""
    number = 4 + (name == "ml-csv")
    path = items_of(reader, name)
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines()[-1] + b"\n")
    broken = f"line {number}: the raw files break a rule: "
    assert f"{path}, {broken}no item_id" in refused(reader)
    reader.write(name, [*raw.RATINGS, (2, 77, 3.0, 7)], list(raw.ITEMS))
    path = reader.folder / FORMATS[name].ratings
    assert f"{path}, {broken}every rated" in refused(reader)
    reader.write(name, [*raw.RATINGS, (77, 10, 3.0, 7)], list(raw.ITEMS))
    if FORMATS[name].users:
        assert f"{path}, {broken}every user" in refused(reader)


AGAIN: Rows = [(1, 10, 1.0, 9), (1, 10, 2.0, 881250949), (2, 10, 4.0, 891717742)]
FUTURE: Rows = [(2, 20, 3.0, 9_999_999_999)]


@every_format
@pytest.mark.parametrize(
    ("ratings", "kept", "logged"),
    [
        ([*AGAIN, *raw.RATINGS], [], "left out (3, the first in line {})"),
        ([*FUTURE, *raw.RATINGS], FUTURE, "as they are (1, the first in line {})"),
    ],
)
def test_odd_ratings_are_logged(
    reader: Reader,
    name: str,
    caplog: pytest.LogCaptureFixture,
    ratings: Rows,
    kept: Rows,
    logged: str,
) -> None:
    """Of several ratings of an item the latest counts, of one second the highest."""
    reader.write(name, ratings, list(raw.ITEMS))
    reader.read()
    assert reader.ratings() == sorted([*raw.RATINGS, *kept])
    assert logged.format(2 if name == "ml-csv" else 1) in caplog.text


@every_format
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_blank_lines_and_a_last_line_without_end_are_logged(
    reader: Reader, name: str, end: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = ratings_of(reader, name)
    lines = path.read_bytes().splitlines()
    path.write_bytes(end.join([lines[0], b"", b"", *lines[1:]]))
    reader.read()
    assert reader.ratings() == sorted(raw.RATINGS)
    assert f"{path}: blank lines were skipped (2)" in caplog.text
    assert f"{path}: the last line has no end" in caplog.text


@every_format
def test_blank_lines_of_other_files_are_skipped(reader: Reader, name: str) -> None:
    ratings_of(reader, name)
    for path in reader.folder.iterdir():
        path.write_bytes(path.read_bytes() + b"\n\n")
    reader.read()
    assert len(reader.items()) == len(raw.ITEMS)


@pytest.mark.parametrize(("name", "title"), [("ml-100k", "«CAFÉ»"), ("ml-csv", '"')])
def test_odd_titles_are_read(reader: Reader, name: str, title: str) -> None:
    """Latin-1 with bytes like UTF-8's, and one quote."""
    reader.write(name, list(raw.RATINGS), [(10, title, ["War"]), *raw.ITEMS[1:]])
    reader.read()
    assert reader.items()[0][1] == title


@every_format
def test_zeros_before_a_number_do_not_matter(reader: Reader, name: str) -> None:
    path = ratings_of(reader, name)
    insert(path, DELIMITERS[name].join(["002", "0020", "03.5", "07\n"]).encode(), 2)
    reader.read()
    assert (2, 20, 3.5, 7) in reader.ratings()
    assert len(reader.items()) == 3


def test_a_header_alone_is_named(reader: Reader) -> None:
    path = ratings_of(reader, "ml-csv")
    path.write_text("userId,movieId,rating,timestamp\n")
    assert f"{path}: the raw files break a rule: there is at" in refused(reader)


some = settings(
    max_examples=int(os.environ.get("EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.slow
@some
@given(given_=files.releases())
def test_releases_are_read_back_from_every_format(
    given_: tuple[Rows, Rows], opened: Reader
) -> None:
    files.read_back(given_, opened)


@pytest.mark.slow
@some
@given(files.releases(), files.NAMES, st.integers(0, 2), files.DAMAGES)
def test_damaged_releases_are_refused_or_read_exactly(
    opened: Reader,
    given_: tuple[Rows, Rows],
    name: str,
    which: int,
    damages: list[files.Damage],
) -> None:
    files.survive(given_, name, which, damages, opened)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "change", "found"),
    [
        ("u.data", lambda b: b.replace(b"\t", b".5\t", 1), "user_id is '1.5'"),
        ("u.data", lambda b: b + b"1\t999\t3\t7\n", "every rated item is in the items"),
        ("u.item", lambda b: b"\xff\xfe" + b, "u.item, line 1: item_id is"),
    ],
)
def test_a_refused_run_changes_nothing(
    tmp_path: Path,
    own_server: RedisServer,
    file: str,
    change: Callable[[bytes], bytes],
    found: str,
) -> None:
    (tmp_path / "mlruns").mkdir()
    path = write_world(tmp_path / "bad") / file
    path.write_bytes(change(path.read_bytes()))
    clone = Clone(tmp_path, {"REDIS_URL": own_server.url})
    with redis.Redis.from_url(own_server.url) as client:
        publish(client)
        before = {key: client.dump(key) for key in client.scan_iter()}
        for command in ("features", "run"):
            assert found in clone.failure(command, "--raw", "bad")
        assert client.get(KEYS.current) == b"g1"
        assert {key: client.dump(key) for key in client.scan_iter()} == before
