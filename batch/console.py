"""What a person is shown at the end: a result, or one line that says what failed."""

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO

import duckdb

from batch import warehouse
from batch.errors import DISK_FULL_ERRNOS, BatchError
from lookup.shared.embedded_redis import EmbeddedRedisError
from lookup.shared.env import SettingError

UNTOLD = "done, but what it tells cannot be written to stdout"

Table = dict[str, list[str]]
"""Row → cells; the first one names the columns."""


def set_up_logging(log: logging.Logger, *, quiet: bool, debug: bool) -> None:
    """Log to stderr: stdout is for results."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    if debug:
        log.setLevel(logging.DEBUG)


def explain(error: Exception) -> str:
    """Put a failure into one line."""
    if isinstance(error, BatchError | SettingError | EmbeddedRedisError):
        return str(error)
    if isinstance(error, duckdb.Error):
        return warehouse.explain(error)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        remedy = "free some space there; " * (error.errno in DISK_FULL_ERRNOS)
        return (
            f"the system says: {error.strerror or error}{where}; {remedy}--debug shows "
            "where"
        )
    return f"unexpected {type(error).__name__}: {error}; --debug shows where"


def fail(message: str, code: int) -> int:
    """Tell what went wrong on one line; return the exit code."""
    with suppress(OSError):  # nobody can be told
        print("error:", " ".join(message.split()), file=sys.stderr)
    return code


def show(text: str) -> int:
    """Print what a command tells; return the exit code, 1 if stdout does not take it.

    Half of it on a full disk must not pass for all of it.
    """
    if sys.stdout is None:  # closed before we began
        return fail(f"{UNTOLD}: it is closed", 1)
    try:
        print(text, flush=True)
    except OSError as error:
        give_up(sys.stdout)
        return fail(f"{UNTOLD}: {error.strerror}", 1)
    return 0


def written_out() -> int:
    """Write out what stdout and stderr hold back; return the exit code, 0 or 1.

    Those that take no more are given up: at exit Python would try again, complain in
    words of its own and change the exit code.
    """
    code = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            give_up(stream)
            if stream is sys.stdout:
                code = fail(f"{UNTOLD}: {error.strerror}", 1)
    return code


def give_up(stream: TextIO) -> None:
    """Let what a stream holds, and all that is yet written to it, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def readable(result: Mapping[str, object]) -> str:
    """Lay a result out for a person, one thing a line, and what is alike as a table."""
    blocks: dict[tuple[str, ...], Table] = {}
    width = max(map(len, result))
    lines: list[str | Table] = []
    for name, value in result.items():
        if not isinstance(value, Mapping):
            lines.append(f"{name:{width}}  {shown(value)}")
        elif value and all(isinstance(row, Mapping) for row in value.values()):
            lines.append({name: list(next(iter(value.values())))} | rows_of(value))
        elif tuple(value) in blocks:
            blocks[tuple(value)] |= rows_of({name: value})
        else:
            blocks[tuple(value)] = {"": list(value)} | rows_of({name: value})
            lines.append(blocks[tuple(value)])
    return "\n".join(
        line if isinstance(line, str) else laid_out(line, width) for line in lines
    )


def rows_of(values: Mapping[str, Mapping[str, object]]) -> Table:
    """Write the cells of a table, name → row."""
    return {
        name: [shown(cell) for cell in row.values()] for name, row in values.items()
    }


def laid_out(table: Table, width: int) -> str:
    """Set the columns of a table below their names, or on one line where it is one."""
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


def shown(value: object) -> str:
    """Write a number to four digits, an interval as one, and a list on one line."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(cell)}" for name, cell in value.items())
    if isinstance(value, list) and value and isinstance(value[0], float):
        return " to ".join(map(shown, value))
    return "  ".join(map(shown, value)) if isinstance(value, list) else str(value)
