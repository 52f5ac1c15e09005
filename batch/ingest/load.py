"""Load a release into the staging tables, with all checks and repairs."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import duckdb

from batch import warehouse
from batch.errors import BatchError
from batch.ingest import validate
from batch.ingest.release import Release
from batch.warehouse import RuleBroken

log = logging.getLogger(__name__)


def read(connection: duckdb.DuckDBPyConnection, found: Release) -> None:
    """Build the staging tables of a release, and log each repair with its count.

    Raises:
        BatchError: with the file and the line that is not as it should be.
    """
    for table, path in found.tables.items():
        validate.check(connection, path, found.encodings.get(table, "utf-8"))
    try:
        warehouse.build_staging(connection, found.layout, found.parameters)
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        where = ", ".join(map(str, found.files))
        cause = warehouse.explain(error)
        raise BatchError(f"cannot read one of {where}: {cause}") from error
    check(connection, found.tables)
    for table, path in found.tables.items():
        log_skipped(path, warehouse.count(connection, table))
    log_future(connection, found.tables["stg_ratings"])
    repair(connection, found.tables["stg_ratings"])


def check(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Path]) -> None:
    """Run the checks of `sql/checks`, and name the line that breaks a rule.

    Raises:
        BatchError: with the rule, and the first line that breaks it.
    """
    try:
        warehouse.check(connection)
    except RuleBroken as error:
        path = tables.get(error.table)
        if path is None:
            raise
        row = error.row_id
        place = "" if row is None else f", line {validate.line_number(path, row)}"
        raise BatchError(f"{path}{place}: {error}") from error


def log_skipped(path: Path, n_rows: int) -> None:
    """Log blank lines, and a last line that may have been cut off.

    Raises:
        BatchError: the file was changed while it was read.
    """
    n_lines, is_ended = validate.count_lines(path)
    if n_rows > n_lines:
        raise BatchError(f"{path} was changed while it was read: run again")
    if n_rows < n_lines:
        log.warning("%s: blank lines were skipped (%d)", path, n_lines - n_rows)
    if not is_ended:
        log.warning(
            "%s: the last line has no end: taken as it is, but the file may be cut off",
            path,
        )


def log_future(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Log the ratings that are later than now."""
    n, first = warehouse.later_than(connection, int(time.time()))
    if n:
        log.warning(
            "%s: ratings are later than this machine's clock: taken as they are "
            "(%d, the first in line %d)",
            path,
            n,
            validate.line_number(path, first),
        )


def repair(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Remove the ratings that later ones replace, and log how many."""
    repaired = warehouse.repair(connection)
    if repaired:
        log.warning(
            "%s: %s; the others were left out (%d, the first in line %d)",
            path,
            repaired.rule,
            repaired.n,
            validate.line_number(path, repaired.row_id),
        )
