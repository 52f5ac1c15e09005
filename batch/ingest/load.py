"""A release into the staging tables: every line looked at, read, counted, checked."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import duckdb

from batch import warehouse
from batch.errors import BatchError
from batch.ingest.release import Release
from batch.ingest.validate import Lines, number_of
from batch.warehouse import RuleBroken

log = logging.getLogger(__name__)


def read(connection: duckdb.DuckDBPyConnection, found: Release) -> None:
    """Build the staging tables of a release, and log each repair with its count.

    Raises:
        BatchError: with the file and the line that is not as it should be.
    """
    lines = {
        table: Lines(path, found.encodings.get(table, "utf-8")).read()
        for table, path in found.tables.items()
    }
    try:
        warehouse.build_staging(connection, found.layout, found.parameters)
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        where = ", ".join(map(str, found.files))
        said = warehouse.explain(error)
        raise BatchError(f"cannot read one of {where}: {said}") from error
    reconcile(connection, lines)
    check(connection, found.tables)
    tell(connection, lines)
    repair(connection, lines["stg_ratings"])


def reconcile(
    connection: duckdb.DuckDBPyConnection, lines: Mapping[str, Lines]
) -> None:
    """See that every line that holds something has become a row.

    Raises:
        BatchError: it was changed in between, or DuckDB reads otherwise than we.
    """
    for table, read_ in lines.items():
        n_rows = warehouse.count(connection, table)
        if n_rows != read_.n:
            raise BatchError(
                f"{read_.path} had {read_.n} lines and gave {n_rows} rows: was it "
                "written to meanwhile? If not, please report it"
            )


def check(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Path]) -> None:
    """Run the checks, and name the line that is against one.

    Raises:
        BatchError: with the rule, and the first line that breaks it.
    """
    try:
        warehouse.check(connection)
    except RuleBroken as error:
        path = tables.get(error.table)
        if path is None or error.row_id is None:
            raise
        number = number_of(path, error.row_id)
        raise BatchError(f"{path}, line {number}: {error}") from error


def tell(connection: duckdb.DuckDBPyConnection, lines: Mapping[str, Lines]) -> None:
    """Log what was taken as it is, though it looks odd, and what was mended."""
    for read_ in lines.values():
        for said, n in read_.repairs.items():
            if n:
                log.warning("%s: %s (%d)", read_.path, said, n)
    ratings = lines["stg_ratings"]
    n, first = warehouse.later_than(connection, int(time.time()))
    if n:
        log.warning(
            "%s: ratings are later than this machine's clock: taken as they are "
            "(%d, the first in line %d)",
            ratings.path,
            n,
            number_of(ratings.path, first),
        )


def repair(connection: duckdb.DuckDBPyConnection, ratings: Lines) -> None:
    """Remove the ratings that others supersede, and see that nothing else went.

    Raises:
        BatchError: the rows that are left are not those that were not removed.
    """
    repaired = warehouse.repair(connection)
    if repaired is None:
        return
    log.warning(
        "%s: %s; the others were left out (%d, the first in line %d)",
        ratings.path,
        repaired.rule,
        repaired.n,
        number_of(ratings.path, repaired.row_id),
    )
    left = warehouse.count(connection, "stg_ratings")
    if left + repaired.n != ratings.n:
        raise BatchError(f"{ratings.path}: of {ratings.n} lines {left} rows are left")
