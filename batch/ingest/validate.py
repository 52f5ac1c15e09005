"""Check that each line of a raw file has the form that its staging model reads."""

import glob
from dataclasses import dataclass
from pathlib import Path

import duckdb

from batch import warehouse
from batch.errors import BatchError
from batch.settings import DEFAULT_SCALE, RatingScale

MAX_LINE_BYTES = 65536


@dataclass(frozen=True)
class LineFormat:
    """The format of a file's lines; `line_faults.sql` checks each column's values."""

    delimiter: str
    columns: tuple[str, ...]
    header: str | None = None

    @property
    def n_headers(self) -> int:
        """The number of lines before the first row."""
        return int(self.header is not None)


RATINGS = ("user_id", "item_id", "rating", "rated_at")
ITEMS = ("item_id", "title", "genres")
DATES = ("released_on", "video_released_on", "imdb_url")
GENRES = tuple(f"genre_{number}" for number in range(19))  # as u.genre numbers them

LINE_FORMATS = {
    "u.data": LineFormat("\t", RATINGS),
    "u.item": LineFormat("|", ("item_id", "title", *DATES, *GENRES)),
    "u.user": LineFormat("|", ("user_id", "age", "gender", "occupation", "zip_code")),
    "ratings.dat": LineFormat("::", RATINGS),
    "movies.dat": LineFormat("::", ITEMS),
    "users.dat": LineFormat(
        "::", ("user_id", "gender", "age", "occupation_code", "zip_code")
    ),
    "ratings.csv": LineFormat(",", RATINGS, "userId,movieId,rating,timestamp"),
    "movies.csv": LineFormat(",", ITEMS, "movieId,title,genres"),
}
"""File name → the format of its lines."""


USUAL_RATING = "0*(0?[.][5-9][0-9]*|[1-4]([.][0-9]*)?|5([.]0*)?)"
"""Matches only ratings of the default scale, for a check that need not parse them."""


def check(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    encoding: str = "utf-8",
    scale: RatingScale = DEFAULT_SCALE,
) -> None:
    """Check all lines of a file; the error names the first bad line and its column."""
    is_usual = (scale.lowest, scale.highest) == (0.5, 5.0)
    form = LINE_FORMATS[path.name]
    parameters = {
        "path": glob.escape(str(path)),
        "encoding": encoding,
        "max_line_bytes": MAX_LINE_BYTES,
        "delimiter": form.delimiter,
        "columns": list(form.columns),
        "n_headers": form.n_headers,
        "lowest": scale.lowest,
        "highest": scale.highest,
        "usual_rating": USUAL_RATING if is_usual else "nothing",
    }
    query = warehouse.read("staging/lines/line_faults")
    try:
        rows = connection.execute(query, parameters).fetchall()
    except duckdb.InvalidInputException as error:
        check_text(path, encoding)
        raise BatchError(f"cannot read {path}: {warehouse.explain(error)}") from error
    for number, fault, column, entry, expected, excerpt in rows:
        cause = fault or f"{column} is {entry!r}, expected {expected}"
        raise BatchError(f"{path}, line {number}: {cause}, in {excerpt!r}")


def check_text(path: Path, encoding: str) -> None:
    """Raise a BatchError that names the first line that DuckDB cannot read as text."""
    with path.open("rb") as file:
        end = b"\r\n" if file.readline(MAX_LINE_BYTES).endswith(b"\r\n") else b"\n"
        file.seek(0)
        lines = iter(lambda: file.readline(MAX_LINE_BYTES + len(end)), b"")
        for number, line in enumerate(lines, start=1):
            fault = text_fault(line.removesuffix(end), encoding)
            if fault:
                shown = line[:200].decode(encoding, "replace").rstrip("\r\n")
                raise BatchError(f"{path}, line {number}: {fault}, in {shown!r}")


def text_fault(line: bytes, encoding: str) -> str | None:
    """Return why a line, given without its end, is not text; None if it is."""
    if b"\r" in line or b"\n" in line:
        return "lines must all end with LF, or all with CR LF, and this one does not"
    if len(line) >= MAX_LINE_BYTES:
        return f"longer than {MAX_LINE_BYTES} bytes"
    if b"\x1f" in line:
        return "a control character"
    if encoding == "latin-1" and any(0x80 <= byte < 0xA0 for byte in line):
        return "bytes that are neither UTF-8 nor Latin-1; save the file as UTF-8"
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return "bytes that are not UTF-8"
    return None


def count_lines(path: Path, n_headers: int) -> tuple[int, int, bool]:
    """Return the numbers of filled and blank lines, and whether the last has an end."""
    n_lines, n_blank, line = 0, 0, b"\n"
    with path.open("rb") as file:
        for line in file:
            n_lines += 1
            n_blank += line in (b"\n", b"\r\n")
    return n_lines - n_blank - n_headers, n_blank, line.endswith(b"\n")


def line_number(path: Path, row: int) -> int:
    """Return the number of the line that became a row of a staging table."""
    left = LINE_FORMATS[path.name].n_headers + row
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            left -= bool(line.strip(b"\r\n"))
            if left < 0:
                return number
    raise BatchError(f"{path} was changed while it was read: run again")
