"""Raw files of any content and any damage: read exactly, or refused by file and line.

Each damaged release must be refused with a file that exists and a line in it, or give
the rows that an independent reader finds in the same bytes.
"""

import csv
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
from hypothesis import strategies as st

from batch import warehouse
from batch.errors import BatchError
from batch.ingest import load, release
from tests.sql import raw

Rows = list[raw.Row]

IDS = st.one_of(st.integers(1, 30), st.sampled_from([999_999_999, 2**31 - 1, 1 << 30]))
TITLES = st.one_of(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="|"),
        min_size=1,
        max_size=12,
    ),
    st.text("aÃ©é¼ \"',;#\\:/(1999)%\u2028\ufeff", min_size=1, max_size=12),
).filter(lambda text: text == text.strip() and text and "::" not in f":{text}:")
RATING = st.tuples(
    st.sampled_from([1, 2]),
    IDS,
    st.integers(1, 10).map(lambda n: n / 2),
    st.integers(1, 99_999_999_999),
)


@st.composite
def releases(draw: st.DrawFn) -> tuple[Rows, Rows]:
    """Draw ratings and items, of which some are rated and some not."""
    drawn = draw(st.lists(RATING, min_size=1, max_size=8, unique_by=lambda r: r[:2]))
    ids = sorted({rating[1] for rating in drawn} | set(draw(st.sets(IDS, max_size=3))))
    genres = st.sets(st.sampled_from(raw.TAB_GENRES[1:]), max_size=3).map(sorted)
    return list(drawn), [(i, draw(TITLES), draw(genres)) for i in ids]


@dataclass
class Reader:
    """A warehouse and a folder that many releases pass through."""

    connection: duckdb.DuckDBPyConnection
    folder: Path

    def read(self) -> release.Release:
        """Read what is in the folder."""
        found = release.find(self.folder, self.folder / "unpacked")
        load.read(self.connection, found)
        return found

    def write(self, name: str, ratings: Rows, items: Rows) -> None:
        """Write a release alone into the folder."""
        for path in self.folder.iterdir():
            path.unlink()
        is_old = name in ("ml-100k", "ml-1m") and is_latin(items)
        encoding = {} if is_old else {"encoding": "utf-8"}
        raw.WRITERS[name](self.folder, ratings, items, **encoding)

    def ratings(self) -> Rows:
        """Return the ratings that were read, sorted."""
        return raw.rows(self.connection, "select * from stg_ratings order by all")

    def items(self) -> Rows:
        """Return the ids and titles that were read, and the genres, sorted."""
        query = "select item_id, title, list_sort(genres) from stg_items order by all"
        return raw.rows(self.connection, query)


@contextmanager
def reader() -> Iterator[Reader]:
    """Open a warehouse and a folder for many releases."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as spill,
        warehouse.connect(Path(spill)) as connection,
    ):
        connection.execute("set threads = 1")
        yield Reader(connection, Path(folder))


def is_latin(items: Rows) -> bool:
    """Return whether no title in Latin-1 could be another one in UTF-8."""
    for _, title, _ in items:
        text = str(title)
        try:
            if not text.isascii() and text.encode("latin-1").decode("utf-8"):
                return False
        except UnicodeEncodeError:
            return False
        except UnicodeDecodeError:
            continue
    return True


def read_back(given_: tuple[Rows, Rows], reader_: Reader) -> None:
    """Write a release in each format, and expect the same rows from each."""
    ratings, items = given_
    for name in raw.WRITERS:
        reader_.write(name, ratings, items)
        reader_.read()
        assert reader_.ratings() == meant(ratings), name
        titled = [(i, title, sorted(map(str, genres))) for i, title, genres in items]  # type: ignore[call-overload]
        assert reader_.items() == sorted(titled), name


# --- damage ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Damage:
    """A change to some bytes of a file."""

    kind: str
    at: float
    to: float
    inserted: bytes

    def done(self, content: bytes) -> bytes:
        """Damage the content of a file."""
        at, to = sorted(int(share * len(content)) for share in (self.at, self.to))
        lines = content.splitlines(keepends=True)
        one, two = (int(share * (len(lines) - 1)) for share in (self.at, self.to))
        match self.kind:
            case "flip":
                byte = content[at : at + 1] or b"0"
                flipped = bytes([byte[0] ^ (self.inserted or b"\1")[0]])
                return content[:at] + flipped + content[at + 1 :]
            case "delete":
                return content[:at] + content[min(to, at + 5) :]
            case "insert":
                return content[:at] + self.inserted + content[at:]
            case "duplicate" if lines:
                return b"".join([*lines[: one + 1], *lines[one:]])
            case "swap" if lines:
                lines[one], lines[two] = lines[two], lines[one]
                return b"".join(lines)
            case _:
                return content[:at]


KINDS = ("flip", "delete", "insert", "duplicate", "swap", "truncate")
DAMAGES = st.lists(
    st.builds(
        Damage,
        st.sampled_from(KINDS),
        st.floats(0, 1),
        st.floats(0, 1),
        st.one_of(
            st.sampled_from(
                b'\n \r\n \r \0 :: | , \t " 0 - + . e1 nan \xe9 \xef\xbb\xbf'.split(
                    b" "
                )
            ),
            st.binary(min_size=1, max_size=4),
        ),
    ),
    min_size=1,
    max_size=3,
)
NAMES = st.sampled_from(sorted(raw.WRITERS))


def survive(
    given_: tuple[Rows, Rows],
    name: str,
    which: int,
    damages: list[Damage],
    reader_: Reader,
) -> None:
    """Expect a damaged file to be refused by line, or read as others read it."""
    reader_.write(name, *given_)
    paths = sorted(reader_.folder.iterdir())
    path = paths[which % len(paths)]
    content = path.read_bytes()
    for damage in damages:
        content = damage.done(content)
    path.write_bytes(content)
    try:
        found = reader_.read()
    except BatchError as error:
        expect_place(str(error), reader_.folder)
        return
    expected = independently(found)
    assert reader_.ratings() == expected[0]
    query = "select item_id, title from stg_items order by all"
    assert raw.rows(reader_.connection, query) == expected[1]


def expect_place(message: str, folder: Path) -> None:
    """Expect one line that names a file that exists, and a line in it."""
    assert "\n" not in message
    place = re.match(
        r"(.+?)(?:, line (\d+):| is empty, or its first line is|: the raw files)",
        message,
    )
    assert place, message
    path = Path(place[1])
    assert path.parent == folder
    assert path.exists()
    if place[2]:
        assert 1 <= int(place[2]) <= len(path.read_bytes().split(b"\n")), message


def meant(ratings: Rows) -> Rows:
    """Return ratings with five stars each if they are all the same, sorted."""
    if len({rating for _, _, rating, _ in ratings}) == 1:
        ratings = [(user, item, 5.0, time) for user, item, _, time in ratings]
    return sorted(ratings)


def independently(found: release.Release) -> tuple[Rows, Rows]:
    """Read the same bytes in plain Python: ratings, the latest of each, and items."""
    latest: dict[tuple[int, int], tuple[int, float]] = {}
    for user, item, rating, time in cells(found, "stg_ratings"):
        pair = int(user), int(item)
        latest[pair] = max(latest.get(pair, (0, 0.0)), (int(time), float(rating)))
    ratings: Rows = [(*pair, rating, at) for pair, (at, rating) in latest.items()]
    items = [(int(item), title.strip(" ")) for item, title, *_ in cells(found)]
    return meant(ratings), sorted(items)


def cells(found: release.Release, table: str = "stg_items") -> Iterator[list[str]]:
    """Split the lines of a file."""
    path = found.tables[table]
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    delimiter = {".data": "\t", ".item": "|", ".dat": "::"}.get(path.suffix)
    lines = text.decode(found.encoding_of(table)).split("\n")
    for line in lines[delimiter is None :]:
        if line := line.removesuffix("\r"):
            yield line.split(delimiter) if delimiter else next(csv.reader([line]))
