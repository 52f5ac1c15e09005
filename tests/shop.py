"""A small book shop's own data: ids of text, and no ratings."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

Row = Sequence[object]

N_CUSTOMERS, N_BOOKS = 120, 200
GENRES = ("Crime", "Poetry", "Travel")


def purchases() -> list[tuple[str, str, int]]:
    """Draw about 2,000 purchases as (user_id, item_id, unix seconds).

    Each customer prefers a third of the books.
    """
    draw = np.random.default_rng(7)
    rows = []
    for customer in range(1, N_CUSTOMERS + 1):
        own = np.arange(N_BOOKS) % 3 == customer % 3
        chances = np.where(own, 8.0, 1.0) / (10 + np.arange(N_BOOKS))
        chosen = draw.choice(N_BOOKS, 10 + customer % 14, False, chances / sum(chances))
        time = 1_600_000_000 + customer * 1000
        for book in chosen.tolist():
            time += int(draw.integers(60, 90_000))
            rows.append((f"cust-{customer:04}", book_id(book), time))
    return rows


def books() -> list[tuple[str, str, str, int]]:
    """Return all books as (item_id, title, genres, year)."""
    return [
        (book_id(book), f"Book {book}", GENRES[book % 3], 1950 + book % 70)
        for book in range(N_BOOKS)
    ]


def book_id(book: int) -> str:
    """Return an id with what other formats would take for a separator, at times."""
    return f"B{book:02}X" + ("", ":a,b/c% é")[book % 9 == 0]


def text(header: str, rows: Iterable[Row], end: str = "\n") -> str:
    """Return rows as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=end)
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return file.getvalue()


def write(folder: Path) -> Path:
    """Write interactions.csv and items.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    bought = text("user_id,item_id,timestamp", purchases())
    (folder / "interactions.csv").write_text(bought, encoding="utf-8")
    described = text("item_id,title,genres,year", books())
    (folder / "items.csv").write_text(described, encoding="utf-8")
    return folder


def iso(seconds: int) -> str:
    """Return a time as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
