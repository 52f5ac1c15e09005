"""Run `sql/checks` and `sql/repairs` on the staging tables."""

from dataclasses import dataclass

import duckdb

from batch import warehouse
from batch.errors import BatchError


class RuleBroken(BatchError):
    """A row breaks a rule.

    Attributes:
        table: the staging table of the row.
        row_id: the number of rows before it; None if the rule covers several rows.
    """

    def __init__(self, table: str, row_id: int | None, message: str) -> None:
        super().__init__(message)
        self.table = table
        self.row_id = row_id


@dataclass(frozen=True)
class Repair:
    """Rows that were removed.

    Attributes:
        rule: the rule that they broke.
        n: the number of rows.
        row_id: the number of rows before the first of them.
    """

    rule: str
    n: int
    row_id: int


def check(connection: duckdb.DuckDBPyConnection) -> None:
    """Run the queries of `sql/checks`, each of which must return no rows.

    Raises:
        RuleBroken: with the rule and the first row that breaks it.
    """
    for path in sorted((warehouse.SQL / "checks").glob("*.sql")):
        query = path.read_text(encoding="utf-8")
        row = connection.execute(query).fetchone()
        if row is not None:
            names = [column[0] for column in connection.description or []]
            values = dict(zip(names, row, strict=True))
            row_id = values.pop("row_id", None)
            found = ", ".join(f"{name} {value}" for name, value in values.items())
            raise RuleBroken(
                f"stg_{path.name.partition('_')[0]}",
                row_id,
                f"the raw files break a rule: {rule_of(query)}; found {found}",
            )


def repair(connection: duckdb.DuckDBPyConnection) -> Repair | None:
    """Remove ratings that other ratings replace; return None if there are none."""
    model = "repairs/ratings_are_given_once"
    warehouse.build(connection, model, {})
    query = "select count(*), min(row_id) from ratings_are_given_once"
    ((n, first),) = connection.sql(query).fetchall()
    if n:
        connection.execute(
            "delete from stg_ratings "
            "where rowid in (select row_id from ratings_are_given_once)"
        )
    warehouse.drop(connection, model)
    return Repair(rule_of(warehouse.read(model)), n, first) if n else None


def rule_of(query: str) -> str:
    """Return the comment on the first line of a check or repair."""
    return query.partition("\n")[0].removeprefix("-- ")
