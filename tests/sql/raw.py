"""Tiny releases in the formats of GroupLens."""

import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb

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
    *,
    end: str = "\n",
    mark: bytes = b"",
) -> None:
    """Write lines, after a byte order mark if there is to be one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(mark + "".join(line + end for line in lines).encode(encoding))


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
    encoding: str = "latin-1",
    **ends: Any,
) -> Path:
    """Write a release like ml-100k."""
    about = [(i, title, "", "", "", *flags(genres)) for i, title, genres in items]
    people = [(*user, "55455") for user in users]
    write(folder / "u.data", joined(ratings, "\t"), **ends)
    write(folder / "u.item", joined(about, "|"), encoding, **ends)
    write(folder / "u.user", joined(people, "|"), **ends)
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
    encoding: str = "latin-1",
    **ends: Any,
) -> Path:
    """Write a release like ml-1m, or like ml-10m if there are no users."""
    about = [(i, title, piped(genres)) for i, title, genres in items]
    write(folder / "ratings.dat", joined(ratings, "::"), **ends)
    write(folder / "movies.dat", joined(about, "::"), encoding, **ends)
    if users is not None:
        people = [
            (i, gender, age, OCCUPATION_CODES[str(work)], "55455")
            for i, age, gender, work in users
        ]
        write(folder / "users.dat", joined(people, "::"), **ends)
    return folder


def csv(
    folder: Path,
    ratings: Sequence[Row] = RATINGS,
    items: Sequence[Row] = ITEMS,
    encoding: str = "utf-8",
    **ends: Any,
) -> Path:
    """Write a release like ml-latest-small."""
    rated = ["userId,movieId,rating,timestamp", *joined(ratings, ",")]
    about = [(i, quoted(str(title)), piped(genres)) for i, title, genres in items]
    named = ["movieId,title,genres", *joined(about, ",")]
    write(folder / "ratings.csv", rated, **ends)
    write(folder / "movies.csv", named, encoding, **ends)
    return folder


WRITERS: dict[str, Callable[..., Path]] = {
    "ml-100k": tab,
    "ml-1m": dat,
    "ml-10m": lambda folder, *rows, **options: dat(
        folder, *rows, **{"encoding": "utf-8", **options, "users": None}
    ),
    "ml-csv": csv,
}
"""Name of a release → the function that writes one like it."""


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


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    """Return the rows of a query."""
    return list(connection.execute(query).fetchall())
