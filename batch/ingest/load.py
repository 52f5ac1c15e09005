"""Load a release into the staging tables, with all checks and repairs."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import duckdb

from batch import warehouse
from batch.errors import BatchError
from batch.ingest import rules, validate
from batch.ingest.release import Release

log = logging.getLogger(__name__)


def read(connection: duckdb.DuckDBPyConnection, found: Release) -> None:
    """Build the staging tables of a release, and log each repair with its count.

    Raises:
        BatchError: names the file and its first bad line.
    """
    for table, path in found.tables.items():
        validate.check(connection, path, found.encoding_of(table))
    warehouse.build_staging(connection, found.layout, found.parameters)
    for table, path in found.tables.items():
        n_rows = warehouse.count(connection, table)
        reconcile(path, n_rows, found.encoding_of(table))
    check(connection, found.tables)
    log_future(connection, found.tables["stg_ratings"])
    repair(connection, found.tables["stg_ratings"])


def check(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Path]) -> None:
    """Run the checks of `sql/checks`, and name the line that breaks a rule."""
    try:
        rules.check(connection)
    except rules.RuleBroken as error:
        path = tables.get(error.table)
        if path is None:
            raise
        row = error.row_id
        place = "" if row is None else f", line {validate.line_number(path, row)}"
        raise BatchError(f"{path}{place}: {error}") from error


def reconcile(path: Path, n_rows: int, encoding: str) -> None:
    """Check that each filled line has become a row, and log how many are blank."""
    n_filled, n_blank, is_ended = validate.count_lines(path)
    if n_rows != n_filled:
        # DuckDB 2.0 skips a last line of more than 32 MB without an error
        validate.check_text(path, encoding)
        raise BatchError(
            f"{path} has {n_filled} lines and gave {n_rows} rows: was it written to "
            "meanwhile? If not, please report it"
        )
    if n_blank:
        log.warning("%s: blank lines were skipped (%d)", path, n_blank)
    if not is_ended:
        log.warning("%s: the last line has no end: the file may be cut off", path)


def log_future(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Log how many ratings have a time in the future."""
    query = "select count(*), min(rowid) from stg_ratings where rated_at > $now"
    found = connection.execute(query, {"now": int(time.time())}).fetchall()
    ((n, first),) = found
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
    repaired = rules.repair(connection)
    if repaired:
        log.warning(
            "%s: %s; the others were left out (%d, the first in line %d)",
            path,
            repaired.rule,
            repaired.n,
            validate.line_number(path, repaired.row_id),
        )
