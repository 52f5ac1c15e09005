"""Own data: interactions, items and users from CSV, Parquet or SQL."""

import csv
import glob
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from itertools import groupby, islice
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from duckdb import ColumnExpression, ConstantExpression, FunctionExpression

from batch import warehouse
from batch.errors import BatchError
from batch.ingest import validate
from batch.settings import RatingScale

LAYOUT = "keyed"

COLUMNS = {
    "ratings": ("user_id", "item_id", "timestamp", "rating"),
    "items": ("item_id", "title", "genres", "year"),
    "users": ("user_id", "age", "gender", "occupation"),
}
"""Table → its columns; others are ignored."""
REQUIRED = frozenset({"user_id", "item_id", "timestamp", "title"})

Connection = duckdb.DuckDBPyConnection
Relation = duckdb.DuckDBPyRelation

log = logging.getLogger(__name__)


def read(
    connection: Connection, tables: Mapping[str, Path], scale: RatingScale
) -> None:
    """Build the staging tables, whose ids are integers in the order of the given ids.

    Args:
        connection: gets the tables.
        tables: staging table → a CSV, a Parquet file, a folder of them, or a query;
            `connect` → statements to run first.
        scale: the scale of the ratings.

    Raises:
        BatchError: names the first bad line, or row of a Parquet file or query.
    """
    parameters = {"lowest": scale.lowest, "highest": scale.highest}
    connection.execute("set TimeZone = 'UTC'")  # for times that name no zone
    if "connect" in tables:
        connect(connection, tables["connect"])
    for name in COLUMNS:
        path = tables.get(f"stg_{name}")
        try:
            open_source(connection, name, path)
            warehouse.build(connection, f"staging/{LAYOUT}/typed_{name}", parameters)
        except duckdb.Error as error:
            raise unreadable(path, error) from error
        if path is not None:
            check(connection, name, path)
    # ratings refer to items and users, and these to their numbers
    for model in ("numbered_keys", *reversed(warehouse.STAGING)):
        warehouse.build(connection, f"staging/{LAYOUT}/{model}", parameters)
    warehouse.drop(connection, "numbered_keys")
    for name in COLUMNS:
        warehouse.drop(connection, f"typed_{name}")
        drop_source(connection, name)
    log_unlisted(connection, tables.get("stg_items"))


def connect(connection: Connection, path: Path) -> None:
    """Run the statements of `connect.sql`."""
    try:
        connection.execute(warehouse.text_of(path))
    except duckdb.Error as error:
        raise unreadable(path, error) from error


def open_source(connection: Connection, name: str, path: Path | None) -> None:
    """Make `source_{name}`, a view or table with all of the table's columns as text."""
    drop_source(connection, name)
    wanted = COLUMNS[name]
    if path is None:
        nothing = [ConstantExpression(None).cast("VARCHAR").alias(c) for c in wanted]
        connection.sql("select 1 limit 0").select(*nothing).create(f"source_{name}")
        return
    relations = relations_of(connection, path)
    columns = dict.fromkeys(name for r in relations for name in r.columns)
    given = {name.strip().casefold() for name in columns}
    if missing := [c for c in wanted if c in REQUIRED - given]:
        raise BatchError(
            f"{path}: column {' and '.join(missing)} is missing: found "
            f"{', '.join(columns)}"
        )
    if ignored := [c for c in columns if c.strip().casefold() not in wanted]:
        log.warning("%s: columns are ignored: %s", path, ", ".join(ignored))
    texts = reduce(Relation.union, (as_texts(r, wanted) for r in relations))
    if path.suffix == ".sql":  # asked twice, a database may give other rows
        texts.create(f"source_{name}")
    else:
        texts.create_view(f"source_{name}")


def drop_source(connection: Connection, name: str) -> None:
    """Drop what `open_source` made, if anything."""
    for kind in ("view", "table"):
        with suppress(duckdb.CatalogException):  # it is of the other kind
            connection.execute(f"drop {kind} if exists source_{name}")


def as_texts(relation: Relation, wanted: Sequence[str]) -> Relation:
    """Return the wanted columns as text, null where the relation lacks one."""
    kinds = zip(relation.columns, relation.types, strict=True)
    found = {name.strip().casefold(): as_text(name, kind.id) for name, kind in kinds}
    nothing = ConstantExpression(None)
    return relation.select(
        *(found.get(c, nothing).cast("VARCHAR").alias(c) for c in wanted)
    )


def as_text(name: str, kind: str) -> duckdb.Expression:
    """Return a column, a list joined by `|`, a whole float without its `.0`."""
    column: duckdb.Expression = ColumnExpression(name)
    if kind in ("list", "array"):
        return FunctionExpression("array_to_string", column, ConstantExpression("|"))
    if kind in ("float", "double"):  # as pandas has integers beside missing ones
        end, none = ConstantExpression("[.]0$"), ConstantExpression("")
        return FunctionExpression("regexp_replace", column.cast("VARCHAR"), end, none)
    return column


def relations_of(connection: Connection, path: Path) -> list[Relation]:
    """Return the rows of a source of own data, in its order."""
    if path.suffix == ".sql":
        rows = connection.sql(warehouse.text_of(path))
        if rows is None:  # DuckDB's stubs know no query without rows
            raise BatchError(f"{path}: expected a query")
        return [rows]
    if path.suffix == ".csv":
        csv_file = connection.read_csv(
            glob.escape(str(path)),
            columns=dict.fromkeys(header_of(path), "VARCHAR"),
            header=True,
            delimiter=delimiter_of(path),
            quotechar='"',
            escapechar='"',
            auto_detect=False,
            hive_partitioning=False,
        )
        return [csv_file]

    def schema(file: str) -> list[object]:
        part = connection.read_parquet(file, hive_partitioning=False)
        return [*part.columns, *part.types]

    files = [glob.escape(str(file)) for file in parts(path)]
    # the same column may have another type in other parts, which DuckDB can't combine
    return [
        connection.read_parquet([*run], union_by_name=True, hive_partitioning=False)
        for _, run in groupby(files, schema)
    ]


def parts(path: Path) -> list[Path]:
    """Return a file, or the Parquet files of a folder in the order of their names."""
    return sorted(path.glob("[!._]*.parquet")) if path.is_dir() else [path]


def header_of(path: Path) -> list[str]:
    """Return the names in the first line of a CSV; columns without one get one."""
    try:
        names = next(records(path), (1, []))[1]
    except (UnicodeDecodeError, csv.Error) as error:
        validate.check_text(path, "utf-8")
        raise BatchError(f"{path}, line 1: {error}") from error
    if not any(names):
        raise BatchError(f"{path} is empty, or its first line is")
    folded = [name.strip().casefold() for name in names]
    twice = [name for i, name in enumerate(folded) if name and name in folded[:i]]
    if twice:
        raise BatchError(f"{path}, line 1: two columns are named {twice[0]!r}")
    return [name or f"column {i}" for i, name in enumerate(names, start=1)]


def delimiter_of(path: Path) -> str:
    """Return what separates the columns of a CSV: the commonest in its first line."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return max(",;\t", key=file.readline(validate.MAX_LINE_BYTES).count)


def records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the header and the rows of a CSV, each with the number of its line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader, line = csv.reader(file, delimiter=delimiter_of(path)), 1
        for record in reader:
            if record or line == 1:
                yield line, record
            line = reader.line_num + 1


def check(connection: Connection, name: str, path: Path) -> None:
    """Raise a BatchError that names the first bad value of a table."""
    rows = connection.table(f"typed_{name}")
    if path.suffix == ".csv":
        reconcile(path, len(rows))
    bad = rows.filter("fault is not null").order("row_id").limit(1)
    for row, fault in bad.select("row_id, fault").fetchall():
        raise BatchError(
            f"{place(path, row)}: {fault['column_name']} is {fault['entry']!r}, "
            f"expected {fault['expected']}"
        )
    if name == "ratings":
        unrated = rows.filter("rating is null")
        if 0 < len(unrated) < len(rows):
            ((row,),) = unrated.min("row_id").fetchall()
            raise BatchError(
                f"{place(path, row)}: rating is empty, expected one, as in other rows"
            )


def reconcile(path: Path, n_rows: int) -> None:
    """Check that each record of a CSV has become a row."""
    n_lines, *_ = validate.count_lines(path, n_headers=1)
    # a value may hold a line break
    if n_lines != n_rows and sum(1 for _ in records(path)) - 1 != n_rows:
        validate.check_text(path, "utf-8")
        raise BatchError(f"{path} was changed while it was read: run again")


def place(path: Path, row: int) -> str:
    """Return the file and the line, or the row group and row, of a row from 0."""
    if path.suffix == ".sql":
        return f"{path}, row {row + 1}"
    if path.suffix == ".csv":
        return f"{path}, line {next(islice(records(path), row + 1, None))[0]}"
    for file in parts(path):
        metadata = pq.read_metadata(file)
        for group in range(metadata.num_row_groups):
            n_rows = metadata.row_group(group).num_rows
            if row < n_rows:
                return f"{file}, row group {group + 1}, row {row + 1}"
            row -= n_rows
    raise BatchError(f"{path} was changed while it was read: run again")


def unreadable(path: Path | None, error: duckdb.Error) -> Exception:
    """Return an error that names the first line that DuckDB cannot read."""
    if warehouse.is_full(error) or path is None:
        return error
    if path.suffix == ".csv":
        with suppress(UnicodeDecodeError, csv.Error):
            lines = records(path)
            n_columns = len(next(lines)[1])
            for line, record in lines:
                if len(record) != n_columns:
                    shown = ",".join(record)[:200]
                    return BatchError(
                        f"{path}, line {line}: {len(record)} columns, expected "
                        f"{n_columns}, in {shown!r}"
                    )
        validate.check_text(path, "utf-8")
    return BatchError(f"cannot read {path}: {warehouse.explain(error)}")


def log_unlisted(connection: Connection, path: Path | None) -> None:
    """Log how many items have interactions and are missing in the items table.

    Raises:
        BatchError: all of them are.
    """
    items = connection.table("stg_items")
    n_unlisted = len(items.filter("not is_listed"))
    if n_unlisted:
        ratings = connection.table("stg_ratings").select("item_id")
        if not len(items.filter("is_listed").join(ratings, "item_id", "semi")):
            pairs = items.aggregate("is_listed, min(item_key)").fetchall()
            shown = dict(pairs)
            raise BatchError(
                f"{path}: none of its items has interactions: expected the same "
                f"item_id in both, found {shown.get(True)!r} here and {shown[False]!r} "
                "there"
            )
        log.warning(
            "%s: items that it lacks stay in histories and are never recommended (%d)",
            path,
            n_unlisted,
        )
