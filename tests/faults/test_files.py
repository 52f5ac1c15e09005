"""Bad raw files: refused by file and line, or mended, counted and told."""

import os
import re
import struct
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.errors import BatchError
from batch.ingest import release
from lookup.shared import contract
from tests.conftest import RedisServer, Tally, publish
from tests.faults import files
from tests.faults.files import Reader, Rows
from tests.sql import raw
from tests.test_end_to_end import Clone, write_world

DELIMITERS = {"ml-100k": "\t", "ml-1m": "::", "ml-10m": "::", "ml-csv": ","}
RATINGS = {"ml-100k": "u.data", "ml-csv": "ratings.csv"}
ITEMS = {"ml-100k": "u.item", "ml-csv": "movies.csv"}

BAD_FIELDS = {
    "too few": "2 10 3",
    "too many": "2 10 3 7 9",
    "no item": "2 ten 3 7",
    "no number": "2 10 good 7",
    "nothing": "2  3 7",
    "a rating of 0": "2 20 0 7",
    "a rating of 5.5": "2 20 5.5 7",
    "a rating of -1": "2 20 -1 7",
    "a rating of 1e9": "2 20 1e9 7",
    "a rating of NaN": "2 20 NaN 7",
    "a rating of inf": "2 20 inf 7",
    "a user of 0": "0 20 3 7",
    "a negative item": "2 -20 3 7",
    "an id of 33 bits": "2147483648 20 3 7",
    "an id of 100 digits": f"{'9' * 100} 20 3 7",
    "an item of 1.5": "2 19.5 3 7",
    "an item of 2e1": "2 2e1 3 7",
    "an item of 0x14": "2 0x14 3 7",
    "an item of 2_0": "2 2_0 3 7",
    "an item with a plus": "2 +20 3 7",
    "an item in other digits": "2 ٢٠ 3 7",
    "a time of 0": "2 20 3 0",
    "a negative time": "2 20 3 -7",
    "a time in milliseconds": "2 20 3 881250949000",
    "a time that is none": "2 20 3 now",
    "a time with a fraction": "2 20 3 7.5",
}
"""What is wrong with a line of ratings → its fields."""

BAD_BYTES = {
    "a NUL": b"\0",
    "a lone CR": b"\r",
    "a byte order mark within": b"\xef\xbb\xbf",
    "bytes of Latin-1": b"\xe9",
    "a space": b" ",
}
"""What is wrong with a line of ratings → what stands before its first field."""

every_format = pytest.mark.parametrize("name", raw.WRITERS)


@pytest.fixture(scope="module")
def opened() -> Iterator[Reader]:
    """Open one warehouse for all releases."""
    with files.reader() as reader:
        yield reader


@pytest.fixture
def reader(opened: Reader, tmp_path: Path, tally: Tally) -> Reader:
    """Read from this test's folder."""
    tally.inputs()
    (tmp_path / "ml").mkdir()
    return Reader(opened.connection, tmp_path / "ml")


def ratings_of(reader: Reader, name: str) -> Path:
    """Write a good release, and name its file of ratings."""
    reader.write(name, list(raw.RATINGS), list(raw.ITEMS))
    return reader.folder / RATINGS.get(name, "ratings.dat")


def items_of(reader: Reader, name: str) -> Path:
    """Write a good release, and name its file of items."""
    ratings_of(reader, name)
    return reader.folder / ITEMS.get(name, "movies.dat")


def insert(path: Path, line: bytes, before: int) -> None:
    """Put a line into a file."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[: before - 1], line, *lines[before - 1 :]]))


def refused(reader: Reader) -> str:
    """Expect one line that says why."""
    with pytest.raises(BatchError) as caught:
        reader.read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- lines of ratings -----------------------------------------------------------------


@every_format
@pytest.mark.parametrize("fields", BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_bad_line_of_ratings_is_named(reader: Reader, name: str, fields: str) -> None:
    path = ratings_of(reader, name)
    line = DELIMITERS[name].join(fields.split(" ")) + "\n"
    insert(path, line.encode(), 3)
    assert refused(reader).startswith(f"{path}, line 3: ")


@every_format
@pytest.mark.parametrize("before", BAD_BYTES.values(), ids=BAD_BYTES)
def test_bytes_that_are_no_text_are_named(
    reader: Reader, name: str, before: bytes
) -> None:
    path = ratings_of(reader, name)
    fields = DELIMITERS[name].encode().join([b"2", b"20", b"3", b"7"])
    insert(path, before + fields + b"\n", 3)
    assert refused(reader).startswith(f"{path}, line 3: ")


@every_format
def test_a_wrong_delimiter_is_named(reader: Reader, name: str) -> None:
    path, delimiter = ratings_of(reader, name), DELIMITERS[name]
    insert(path, b"2;20;3;7\n", 3)
    said = refused(reader)
    assert f"line 3: 1 columns, expected 4 separated by {delimiter!r}" in said


@every_format
def test_ten_million_columns_are_no_feat(reader: Reader, name: str) -> None:
    """Nor is a line of 100 MB: neither is ever split, nor shown."""
    path, delimiter = ratings_of(reader, name), DELIMITERS[name].encode()
    insert(path, b"1" + 10_000_000 * delimiter + b"\n", 3)
    assert f"{path}, line 3: longer than 65536 bytes" in (said := refused(reader))
    assert len(said) < 1000
    path = items_of(reader, name)
    with path.open("ab") as file:
        file.write(b"9" + DELIMITERS[name].encode() + b"x" * 100_000_000)
    assert f"{path}, line {4 + (name == 'ml-csv')}: longer than" in refused(reader)


@every_format
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf_16_is_named(reader: Reader, name: str, encoding: str) -> None:
    for path in (ratings_of(reader, name), items_of(reader, name)):
        content = path.read_bytes()
        path.write_bytes(content.decode("utf-8", "replace").encode(encoding))
        assert refused(reader).startswith(f"{path}, line 1: ")
        path.write_bytes(content)


@every_format
def test_lone_carriage_returns_are_named(reader: Reader, name: str) -> None:
    """As old Macs, and Excel on new ones, end lines."""
    path = ratings_of(reader, name)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    assert refused(reader).startswith(f"{path}, line 1: ")


@every_format
@pytest.mark.parametrize("ends", [(b"\n", b"\r\n"), (b"\r\n", b"\n")])
def test_mixed_line_ends_are_named(
    reader: Reader, name: str, ends: tuple[bytes, bytes]
) -> None:
    path = ratings_of(reader, name)
    first, other = ends
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"".join([*(line + first for line in lines[:2]), lines[2], other]))
    assert f"{path}, line 3: lines must all end with " in refused(reader)


def test_a_bad_line_of_a_hundred_thousand_is_named(reader: Reader) -> None:
    """In the middle of blocks of many, whatever is wrong: a field, a pair, an item."""
    ratings: Rows = [(1 + i % 2, 1 + i // 2, 3.0, 7) for i in range(400_000)]
    items: Rows = [(i, "x", []) for i in range(1, 200_002)]
    for at, row, found in (
        (5311, (1, "nine", 3.0, 7), "item_id is 'nine', expected a whole number"),
        (390_000, (1, 2_000_001, 3.0, 7), "every rated item is in the items file"),
    ):
        raw.csv(reader.folder, [*ratings[:at], row, *ratings[at:]], items)
        said = refused(reader)
        assert f"{reader.folder}/ratings.csv, line {at + 2}: " in said
        assert found in said


# --- items and users ------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'10,"Heat, The (1995),Drama', "a quote that does not enclose a whole column"),
        (b'10,"Heat\nThe (1995)",Drama', "a quote that does not enclose a whole column"),
        (b'10,"Heat" The (1995),Drama', "a quote that does not enclose a whole column"),
        (b'10,The "Heat" (1995),Drama', "a quote that does not enclose a whole column"),
        (b"10,Heat, The (1995),Drama", "4 columns, expected 3"),
        (b"10,,Drama", "title is '', expected a text"),
        (b'10,"  ",Drama', "title is '  ', expected a text"),
        (b"10,Heat,Drama|War|Drama", "genres is 'Drama|War|Drama', expected names"),
        (b"10,Heat,Drama||War", "genres is 'Drama||War', expected names"),
        (b"10,Mis\xe9rables,Drama", "bytes that are not UTF-8"),
    ],
)
def test_a_bad_line_of_movies_csv_is_named(
    reader: Reader, line: bytes, found: str
) -> None:
    path = items_of(reader, "ml-csv")
    insert(path, line + b"\n", 3)
    assert f"{path}, line 3: {found}" in refused(reader)


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (b"7|x|soon|||" + b"|".join([b"0"] * 19), "released_on is 'soon', expected"),
        (b"7|x||||" + b"|".join([b"2"] * 19), "genre_0 is '2', expected 0 or 1"),
        (b"7|x||||" + b"|".join([b"0"] * 18), "23 columns, expected 24"),
        (b"7|x\x92||||" + b"|".join([b"0"] * 19), "neither UTF-8 nor Latin-1"),
        ("7|ç||||".encode() + b"|".join([b"0"] * 19), "UTF-8, where other lines are Latin-1"),
    ],
)
def test_a_bad_line_of_u_item_is_named(reader: Reader, bad: bytes, found: str) -> None:
    """Line 1 has an é of Latin-1: to read on in either way would be wrong for one."""
    path = items_of(reader, "ml-100k")
    insert(path, bad + b"\n", 3)
    assert f"{path}, line 3: " in (said := refused(reader))
    assert found in said


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("u.user", b"3|old|M|artist|1", "age is 'old', expected years"),
        ("u.user", b"3|25|M|artist", "4 columns, expected 5"),
        ("u.user", b"x|25|M|artist|1", "user_id is 'x'"),
        ("users.dat", b"3::M::25::-2::1", "occupation_code is '-2', expected a code"),
        ("u.user", b"1|25|M|artist|1", "no user_id stands for two users"),
        ("users.dat", b"1::M::25::2::1", "no user_id stands for two users"),
    ],
)
def test_a_bad_line_of_users_is_named(
    reader: Reader, file: str, line: bytes, found: str
) -> None:
    ratings_of(reader, "ml-100k" if file == "u.user" else "ml-1m")
    insert(reader.folder / file, line + b"\n", 3)
    assert f"{reader.folder}/{file}, line 3: " in (said := refused(reader))
    assert found in said


@every_format
def test_rows_that_do_not_fit_together_are_named(reader: Reader, name: str) -> None:
    """An item that stands there twice, a rating of none, a user who is none."""
    header = name == "ml-csv"
    path = items_of(reader, name)
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines()[header] + b"\n")
    assert f"{path}, line {4 + header}: the raw files break a rule: no item_id" in (
        refused(reader)
    )
    reader.write(name, [*raw.RATINGS, (2, 77, 3.0, 7)], list(raw.ITEMS))
    path = reader.folder / RATINGS.get(name, "ratings.dat")
    assert f"{path}, line {4 + header}: the raw files break a rule: every rated" in (
        refused(reader)
    )
    reader.write(name, [*raw.RATINGS, (77, 10, 3.0, 7)], list(raw.ITEMS))
    if name in ("ml-100k", "ml-1m"):
        assert f"{path}, line 4: the raw files break a rule: every user" in (
            refused(reader)
        )


@every_format
def test_who_rates_nothing_and_what_is_not_rated_stays(
    reader: Reader, name: str
) -> None:
    reader.write(name, [(1, 10, 0.5, 7)], list(raw.ITEMS))
    reader.read()
    assert len(reader.items()) == 3
    assert reader.ratings() == [(1, 10, 0.5, 7)]


# --- what is mended -------------------------------------------------------------------


@every_format
def test_what_is_given_again_counts_once(
    reader: Reader, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The latest, of one second the highest; where it stands does not matter."""
    again = [(1, 10, 1.0, 9), (1, 10, 2.0, 881250949), (2, 10, 4.0, 891717742)]
    reader.write(name, [*again, *raw.RATINGS], list(raw.ITEMS))
    reader.read()
    assert reader.ratings() == sorted(raw.RATINGS)
    assert "the latest counts, of one second the highest" in caplog.text
    first = 2 if name == "ml-csv" else 1
    assert f"were left out (3, the first in line {first})" in caplog.text


@every_format
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_blank_lines_and_a_last_line_without_end_are_told(
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
def test_the_future_is_told_and_taken(
    reader: Reader, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    reader.write(name, [*raw.RATINGS, (2, 20, 3.0, 9_999_999_999)], list(raw.ITEMS))
    reader.read()
    assert len(reader.ratings()) == 4
    line = 5 if name == "ml-csv" else 4
    assert f"taken as they are (1, the first in line {line})" in caplog.text


@every_format
def test_zeros_before_a_number_do_not_matter(reader: Reader, name: str) -> None:
    path = ratings_of(reader, name)
    insert(path, DELIMITERS[name].join(["002", "0020", "03.5", "07\n"]).encode(), 2)
    reader.read()
    assert (2, 20, 3.5, 7) in reader.ratings()


# --- headers, and what is no file -----------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        "1,10,5,881250949",
        "movieId,userId,rating,timestamp",
        "user,item,rating,timestamp",
        "userId,movieId,rating,timestamp,note",
        "userId;movieId;rating;timestamp",
        "\ruserId,movieId,rating,timestamp",
    ],
)
def test_another_header_is_named(reader: Reader, header: str) -> None:
    path = ratings_of(reader, "ml-csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *lines[1:]]), newline="")
    assert refused(reader).startswith(str(path))


def test_a_header_alone_is_named(reader: Reader) -> None:
    path = ratings_of(reader, "ml-csv")
    path.write_text("userId,movieId,rating,timestamp\n")
    assert f"{path}: the raw files break a rule: there is at" in refused(reader)


@every_format
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to(p)])
def test_what_is_no_file_is_named(
    reader: Reader, name: str, make: Callable[[Path], None]
) -> None:
    """Nothing is waited for that a pipe could say."""
    path = ratings_of(reader, name)
    path.unlink()
    make(path)
    assert f"{reader.folder} lacks {path.name}" in refused(reader)


def test_a_link_to_a_file_is_one(reader: Reader, tmp_path: Path) -> None:
    path = ratings_of(reader, "ml-1m")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    reader.read()
    assert reader.ratings() == sorted(raw.RATINGS)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may be somebody else")
def test_a_file_that_others_may_not_read_is_named(tally: Tally) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = raw.tab(Path(name))
        folder.chmod(0o755)
        (folder / "u.item").chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(BatchError, match=r"cannot read .*u\.item"):
                release.find(folder, folder / "unpacked")
        finally:
            os.seteuid(0)
    tally.inputs()


def test_a_pipe_or_a_gz_is_no_release(tmp_path: Path, tally: Tally) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "ml.tar.gz").write_bytes(b"\x1f\x8b\x08\0")
    for name, found in (("pipe", "is no folder and no file"), ("ml.tar.gz", "no whole zip")):
        with pytest.raises(BatchError, match=found):
            release.find(tmp_path / name, tmp_path / "unpacked")
    tally.inputs(2)


# --- zips -----------------------------------------------------------------------------


def zip_refused(path: Path) -> str:
    """Expect a zip to be refused, and nothing of it to be left."""
    unpacked = path.parent / "unpacked"
    with pytest.raises(BatchError) as caught:
        release.find(path, unpacked)
    assert not unpacked.exists() or not [p for p in unpacked.rglob("*") if p.is_file()]
    return str(caught.value)


def test_encrypted_members_are_refused(tmp_path: Path, tally: Tally) -> None:
    path = raw.zipped(raw.tab(tmp_path / "raw"), tmp_path / "ml.zip")
    content = bytearray(path.read_bytes())
    for entry in re.finditer(rb"PK\x01\x02", bytes(content)):
        struct.pack_into("<H", content, entry.start() + 8, 1)
    path.write_bytes(content)
    assert "is encrypted, password required" in zip_refused(path)
    tally.inputs()


def test_a_member_longer_than_it_says_is_refused(tmp_path: Path, tally: Tally) -> None:
    path = raw.zipped(raw.tab(tmp_path / "raw"), tmp_path / "ml.zip")
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, entry + 24, 5)
    path.write_bytes(content)
    assert f"{path} cannot be unpacked: " in zip_refused(path)
    tally.inputs()


def test_zip64_is_read(tmp_path: Path, tally: Tally) -> None:
    path = tmp_path / "ml.zip"
    folder = raw.tab(tmp_path / "raw")
    with zipfile.ZipFile(path, "w") as made:
        for source in folder.iterdir():
            with made.open(source.name, "w", force_zip64=True) as file:
                file.write(source.read_bytes())
    assert release.find(path, tmp_path / "unpacked").name == "ml-100k"
    tally.inputs()


# --- anything -------------------------------------------------------------------------


some = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.slow
@some
@given(given_=files.releases())
def test_whatever_is_written_is_read_from_every_format(
    given_: tuple[Rows, Rows], opened: Reader, tally: Tally
) -> None:
    files.read_back(given_, opened)
    tally.inputs(len(raw.WRITERS))


@pytest.mark.slow
@some
@given(files.releases(), files.NAMES, st.integers(0, 2), files.DAMAGES)
def test_whatever_is_damaged_is_refused_or_read_as_by_others(
    opened: Reader,
    tally: Tally,
    given_: tuple[Rows, Rows],
    name: str,
    which: int,
    damages: list[files.Damage],
) -> None:
    files.survive(given_, name, which, damages, opened)
    tally.inputs()


# --- as people see it -----------------------------------------------------------------


def spoil(folder: Path, file: str, change: Callable[[bytes], bytes]) -> None:
    """Change the content of a file of a world."""
    path = write_world(folder) / file
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "change", "found"),
    [
        ("u.data", lambda b: b.replace(b"\t", b".5\t", 1), "user_id is '1.5'"),
        ("u.data", lambda b: b + b"1\t999\t3\t7\n", "every rated item is in the items"),
        ("u.item", lambda b: b"\xff\xfe" + b, "u.item, line 1: it is UTF-16"),
    ],
)
def test_a_run_is_refused_in_one_line_and_serves_what_it_did(
    tmp_path: Path,
    own_server: RedisServer,
    tally: Tally,
    file: str,
    change: Callable[[bytes], bytes],
    found: str,
) -> None:
    (tmp_path / "mlruns").mkdir()
    spoil(tmp_path / "bad", file, change)
    clone = Clone(tmp_path, {"REDIS_URL": own_server.url})
    with redis.Redis.from_url(own_server.url) as client:
        publish(client)
        before = {key: client.dump(key) for key in client.scan_iter()}
        for command in ("features", "run"):
            assert found in clone.failure(command, "--raw", "bad")
        assert client.get(contract.CURRENT) == b"g1"
        assert {key: client.dump(key) for key in client.scan_iter()} == before
    tally.faults(2)
