"""Load a release into the staging tables, with all checks and repairs."""

import hashlib
import logging
import time
from pathlib import Path

import duckdb

from batch import warehouse
from batch.errors import BatchError
from batch.ingest import own_data, rules, validate
from batch.ingest.release import Release
from batch.settings import DEFAULT_SCALE, RatingScale

log = logging.getLogger(__name__)


def read(
    connection: duckdb.DuckDBPyConnection,
    found: Release,
    scale: RatingScale = DEFAULT_SCALE,
) -> None:
    """Build the staging tables of a release, and log each repair with its count.

    Raises:
        BatchError: names the file and its first bad line.
    """
    if found.layout == own_data.LAYOUT:
        own_data.read(connection, found.tables, scale)
    else:
        read_movielens(connection, found, scale)
    check(connection, found)
    log_future(connection, found)
    repair(connection, found)
    like_all(connection)


def read_movielens(
    connection: duckdb.DuckDBPyConnection, found: Release, scale: RatingScale
) -> None:
    """Build the staging tables of a release in one of MovieLens' forms."""
    for table, path in found.tables.items():
        validate.check(connection, path, found.encoding_of(table), scale)
    parameters = {**found.parameters, "highest": scale.highest}
    warehouse.build_staging(connection, found.layout, parameters)
    for table, path in found.tables.items():
        n_rows = warehouse.count(connection, table)
        reconcile(path, n_rows, found.encoding_of(table))


def check(connection: duckdb.DuckDBPyConnection, found: Release) -> None:
    """Run the checks of `sql/checks`, and name the line that breaks a rule."""
    try:
        rules.check(connection)
    except rules.RuleBroken as error:
        path = found.tables.get(error.table)
        if path is None:
            raise
        place = line_of(found, path, error.row_id, ", ")
        raise BatchError(f"{path}{place}: {error}") from error


def line_of(found: Release, path: Path, row: int | None, before: str) -> str:
    """Name the line of a staging row, if rows are in the order of the file's lines."""
    if row is None or found.layout == own_data.LAYOUT:
        return ""
    return f"{before}line {validate.line_number(path, row)}"


def reconcile(path: Path, n_rows: int, encoding: str) -> None:
    """Check that each filled line has become a row, and log how many are blank."""
    n_filled, n_blank, is_ended = validate.count_lines(
        path, validate.LINE_FORMATS[path.name].n_headers
    )
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


def log_future(connection: duckdb.DuckDBPyConnection, found: Release) -> None:
    """Log how many ratings have a time in the future."""
    query = "select count(*), min(rowid) from stg_ratings where rated_at > $now"
    ((n, first),) = connection.execute(query, {"now": int(time.time())}).fetchall()
    if n:
        cause = "ratings are later than this machine's clock: taken as they are"
        log_ratings(found, cause, n, first)


def repair(connection: duckdb.DuckDBPyConnection, found: Release) -> None:
    """Remove the ratings that later ones replace, and log how many."""
    repaired = rules.repair(connection)
    if repaired:
        cause = f"{repaired.rule}; the others were left out"
        log_ratings(found, cause, repaired.n, repaired.row_id)


def log_ratings(found: Release, cause: str, n: int, row: int) -> None:
    """Log what is true of n ratings, the first of which is in a row of stg_ratings."""
    path = found.tables["stg_ratings"]
    first = line_of(found, path, row, ", the first in ")
    log.warning("%s: %s (%d%s)", path, cause, n, first)


def like_all(connection: duckdb.DuckDBPyConnection) -> None:
    """Give all interactions five stars if their ratings are all the same."""
    n_values = len(connection.table("stg_ratings").unique("rating"))
    if n_values == 1:
        log.warning("no ratings, or only one value: every interaction counts as liked")
        connection.execute("update stg_ratings set rating = 5")


def digest(connection: duckdb.DuckDBPyConnection) -> str:
    """Return a digest of the rows of the staging tables, in whatever order they are."""
    sums = [
        connection.table(name).aggregate(f"count(*), sum(hash({name})::hugeint)")
        for name in warehouse.STAGING
    ]
    return hashlib.sha256(repr([one.fetchall() for one in sums]).encode()).hexdigest()
