"""Format results and errors for the terminal, and set up logging."""

import logging
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import duckdb

from batch import warehouse
from batch.errors import DISK_FULL_ERRNOS, BatchError
from lookup.shared.embedded_redis import EmbeddedRedisError
from lookup.shared.env import SettingError

Table = dict[str, list[str]]
"""Row name → cells; the first row names the columns."""


def set_up_logging(log: logging.Logger, *, quiet: bool, debug: bool) -> None:
    """Send logs to stderr, since stdout is for results."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    if debug:
        log.setLevel(logging.DEBUG)


def explain(error: Exception) -> str:
    """Return a one-line message for an exception."""
    if isinstance(error, BatchError | SettingError | EmbeddedRedisError):
        return str(error)
    if isinstance(error, duckdb.Error):
        notes = getattr(error, "__notes__", [])  # the file with the SQL
        return ": ".join([*notes, warehouse.explain(error)])
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        remedy = "free some space there; " * (error.errno in DISK_FULL_ERRNOS)
        return (
            f"the system says: {error.strerror or error}{where}; {remedy}--debug shows "
            "where"
        )
    return f"unexpected {type(error).__name__}: {error}; --debug shows where"


def fail(message: str, code: int) -> int:
    """Print an error as one line; return the exit code."""
    print("error:", " ".join(message.split()), file=sys.stderr)
    return code


def readable(result: Mapping[str, object]) -> str:
    """Format a result: a line per value, and a table for mappings with equal keys."""
    tables: dict[tuple[str, ...], Table] = {}
    width = max(map(len, result))
    lines: list[str | Table] = []
    for name, value in unnested(result):
        if not isinstance(value, Mapping):
            lines.append(f"{name:{width}}  {formatted(value, name)}")
        elif value and all(isinstance(row, Mapping) for row in value.values()):
            lines.append({name: list(next(iter(value.values())))} | rows_of(value))
        elif tuple(value) in tables:
            tables[tuple(value)] |= rows_of({name: value})
        else:
            tables[tuple(value)] = {"": list(value)} | rows_of({name: value})
            lines.append(tables[tuple(value)])
    return "\n".join(
        line if isinstance(line, str) else format_table(line, width) for line in lines
    )


def unnested(result: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield names and values, and mappings within a mapping after it."""
    for name, value in result.items():
        if not isinstance(value, Mapping):
            yield name, value
            continue
        inner = {n: v for n, v in value.items() if isinstance(v, Mapping) and v}
        if len(inner) == len(value):
            yield name, value
        else:
            yield name, {n: v for n, v in value.items() if n not in inner}
            yield from ((f"{name} {n}", v) for n, v in inner.items())


def rows_of(values: Mapping[str, Mapping[str, object]]) -> Table:
    """Format each cell of a table, given as row name → row."""
    return {
        name: [formatted(cell, column) for column, cell in row.items()]
        for name, row in values.items()
    }


def format_table(table: Table, width: int) -> str:
    """Align the columns of a table; a single row without a heading becomes one line."""
    (heading, names), *rows = table.items()
    if not heading and len(rows) == 1:
        [(name, cells)] = rows
        pairs = zip(names, cells, strict=True)
        return f"{name:{width}}  {'  '.join(map(' '.join, pairs))}"
    first = max(width, *map(len, table))
    widths = [max(map(len, column)) for column in zip(*table.values(), strict=True)]
    return "\n".join(
        "  ".join(
            [f"{name:{first}}", *(f"{c:{w}}" for c, w in zip(row, widths, strict=True))]
        ).rstrip()
        for name, row in table.items()
    )


def formatted(value: object, name: str = "") -> str:
    """Format a float to four digits, an interval as `a to b`, a list on one line.

    Integers that are times, ages or sizes, as their names say, are written for people.
    """
    if isinstance(value, int) and name.endswith("_seconds"):
        return str(timedelta(seconds=value))
    if isinstance(value, int) and name.endswith("_bytes"):
        return f"{value / 1e6:,.1f} MB"
    if isinstance(value, int) and name in ("newest_rated_at", "since", "until"):
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {formatted(cell)}" for name, cell in value.items())
    if isinstance(value, list) and value and isinstance(value[0], float):
        return " to ".join(map(formatted, value))
    return "  ".join(map(formatted, value)) if isinstance(value, list) else str(value)
