"""Tiny releases, written as GroupLens writes its own."""

import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import duckdb

from batch.ingest import load
from batch.ingest.release import Release

Row = tuple[object, ...]

RATINGS: tuple[Row, ...] = (
    (1, 10, 5.0, 881250949),
    (1, 20, 3.0, 881250950),
    (2, 10, 4.0, 891717742),
)

ITEMS: tuple[Row, ...] = (
    (10, "Misérables, Les (1995)", ["Drama", "Musical"]),
    (20, 'Star Wars: "A" Hope (1977)', ["Action"]),
    (30, "unknown", []),
)

USERS: tuple[Row, ...] = (
    (1, 25, "F", "artist"),
    (2, 56, "M", "writer"),
)

TAB_GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)

OCCUPATION_CODES = {"artist": 2, "writer": 20}


def write(
    path: Path,
    lines: Iterable[str],
    encoding: str = "utf-8",
    end: str = "\n",
    mark: bytes = b"",
) -> Path:
    """Write lines, after a byte order mark if there is to be one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(line + end for line in lines)
    path.write_bytes(mark + text.encode(encoding))
    return path


def joined(rows: Iterable[Sequence[object]], delimiter: str) -> list[str]:
    """Join the cells of each row, whole numbers without a point."""
    return [delimiter.join(cell(value) for value in row) for row in rows]


def cell(value: object) -> str:
    """Write a value as GroupLens does."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def tab(
    folder: Path,
    ratings: Sequence[Row] = RATINGS,
    items: Sequence[Row] = ITEMS,
    users: Sequence[Row] = USERS,
    *,
    encoding: str = "latin-1",
    end: str = "\n",
    mark: bytes = b"",
) -> Path:
    """Write a release like ml-100k."""
    about = [(i, title, "", "", "", *flags(genres)) for i, title, genres in items]
    people = [(*user, "55455") for user in users]
    write(folder / "u.data", joined(ratings, "\t"), "utf-8", end, mark)
    write(folder / "u.item", joined(about, "|"), encoding, end, mark)
    write(folder / "u.user", joined(people, "|"), "utf-8", end, mark)
    return folder


def flags(genres: object) -> list[int]:
    """Mark the genres of ml-100k with ones."""
    assert isinstance(genres, list)
    return [int(name in (genres or ["unknown"])) for name in TAB_GENRES]


def dat(
    folder: Path,
    ratings: Sequence[Row] = RATINGS,
    items: Sequence[Row] = ITEMS,
    users: Sequence[Row] | None = USERS,
    *,
    encoding: str = "latin-1",
    end: str = "\n",
    mark: bytes = b"",
) -> Path:
    """Write a release like ml-1m, or like ml-10m if there are no users."""
    about = [(i, title, piped(genres)) for i, title, genres in items]
    write(folder / "ratings.dat", joined(ratings, "::"), "utf-8", end, mark)
    write(folder / "movies.dat", joined(about, "::"), encoding, end, mark)
    if users is not None:
        people = [
            (i, gender, age, OCCUPATION_CODES[str(work)], "55455")
            for i, age, gender, work in users
        ]
        write(folder / "users.dat", joined(people, "::"), "utf-8", end, mark)
    return folder


def csv(
    folder: Path,
    ratings: Sequence[Row] = RATINGS,
    items: Sequence[Row] = ITEMS,
    *,
    encoding: str = "utf-8",
    end: str = "\n",
    mark: bytes = b"",
) -> Path:
    """Write a release like ml-latest-small."""
    rated = ["userId,movieId,rating,timestamp", *joined(ratings, ",")]
    about = [(i, quoted(str(title)), piped(genres)) for i, title, genres in items]
    named = ["movieId,title,genres", *joined(about, ",")]
    write(folder / "ratings.csv", rated, "utf-8", end, mark)
    write(folder / "movies.csv", named, encoding, end, mark)
    return folder


WRITERS: dict[str, Callable[..., Path]] = {
    "ml-100k": tab,
    "ml-1m": dat,
    "ml-10m": lambda folder, *rows, **options: dat(
        folder, *rows, **{"encoding": "utf-8", **options, "users": None}
    ),
    "ml-csv": csv,
}
"""What writes the release of a name."""


def piped(genres: object) -> str:
    """Join the genres as the later releases do."""
    assert isinstance(genres, list)
    return "|".join(genres) or "(no genres listed)"


def quoted(title: str) -> str:
    """Quote a title if it needs it."""
    escaped = title.replace('"', '""')
    return f'"{escaped}"' if set(title) & set(',"') else title


def zipped(folder: Path, archive: Path, prefix: str = "") -> Path:
    """Zip the files of a folder, below `prefix` as in `ml-100k/`."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted(folder.iterdir()):
            target.write(path, prefix + path.name)
    return archive


def stage(connection: duckdb.DuckDBPyConnection, found: Release) -> None:
    """Build the staging tables of a release, as a run does."""
    load.read(connection, found)


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    """Return the rows of a query."""
    return list(connection.execute(query).fetchall())
