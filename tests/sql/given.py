"""Literal rows in, the rows of one model out."""

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from batch import warehouse

Row = tuple[object, ...]
Connection = duckdb.DuckDBPyConnection

TYPES: dict[str, str] = {
    "stg_ratings": "user_id integer, item_id integer, rating double, rated_at bigint",
    "stg_items": "item_id integer, title varchar, release_year integer, "
    "genres varchar[], item_key varchar, is_listed boolean default true",
    "stg_users": "user_id integer, age integer, gender varchar, occupation varchar, "
    "user_key varchar",
    "eligible_items": "item_id integer, item_key varchar",
    "films": "item_id integer, film_id integer, is_eligible boolean",
    "int_ratings": "user_id integer, item_id integer, rating double, rated_at bigint, "
    "position bigint",
    "int_cutoffs": "user_id integer, n_history bigint, n_with_future bigint",
    "int_history": "user_id integer, item_id integer, rating double, rated_at bigint, "
    "position bigint, n_history bigint, n_back bigint, position_share decimal(7, 6), "
    "is_liked boolean, is_disliked boolean, slow_weight decimal(5, 4), "
    "weight decimal(5, 4), fast_weight decimal(5, 4)",
    "int_future": "user_id integer, item_id integer, rating double",
    "int_cooccurrence_users": "user_id integer",
    "int_item_counts": "item_id integer, n_ratings bigint, n_liked bigint, "
    "n_disliked bigint, n_sampled bigint, popularity_rank bigint",
    "int_cooccurrence_ratings": "user_id integer, item_id integer, position bigint, "
    "rated_at bigint",
    "int_item_pairs": "item_id integer, other_item_id integer, n_both bigint, "
    "n_same_session bigint, n_next double, n_previous double",
    "int_modelled_items": "item_id integer, n_ratings bigint",
    "int_voters": "user_id integer, item_id integer",
    "int_item_neighbours": "item_id integer, other_item_id integer, "
    "similarity decimal(7, 6)",
    "int_item_sequences": "item_id integer, other_item_id integer, "
    "next_share decimal(7, 6), next_similarity decimal(7, 6), "
    "previous_similarity decimal(7, 6), session_similarity decimal(7, 6)",
    "int_user_genres": "user_id integer, genre varchar, history_share decimal(9, 6), "
    "recent_share decimal(9, 6), liked_share decimal(9, 6), "
    "avg_liking decimal(9, 6), history_lift decimal(12, 6)",
    "int_item_audiences": "item_id integer, audience varchar, lift double",
    "int_item_weeks": "item_id integer, week bigint, n_until hugeint, "
    "n_last_weeks hugeint",
    "item_features": "item_id integer, release_year integer, n_ratings bigint, "
    "avg_rating double, stddev_rating double, liked_share double, "
    "avg_position double, avg_position_share double, avg_n_back double, "
    "avg_n_history double, last_ten_share double, last_rated_at bigint, "
    "female_share double, avg_age double",
    "user_features": "user_id integer, n_ratings bigint, stddev_rating double, "
    "liked_share double, last_rated_at bigint, history_seconds bigint, "
    "last_ten_seconds bigint, avg_release_year double, "
    "last_ten_avg_release_year double, avg_n_item_ratings double, "
    "last_ten_avg_n_item_ratings double, last_ten_avg_position_share double, "
    "age integer, age_audience varchar, occupation_audience varchar",
    "ranked_items": "user_id integer, rank integer, item_id integer",
    "candidate_pairs": "user_id integer, item_id integer, label double",
}
"""The columns of each table, with the types that the models give them."""


@pytest.fixture(name="connection")
def opened(tmp_path: Path) -> Iterator[Connection]:
    """Give an empty warehouse."""
    with warehouse.connect(tmp_path) as connection:
        yield connection


def given(
    connection: Connection, table: str, columns: str, rows: Iterable[Row]
) -> None:
    """Create a table of TYPES from literal rows; columns that they lack are null."""
    connection.execute(f"create or replace table {table} ({TYPES[table]})")
    names = columns.split()
    records = [dict(zip(names, row, strict=True)) for row in rows]
    if records:
        connection.register("given_rows", pa.Table.from_pylist(records))
        query = f"insert into {table} by name select * from given_rows"  # noqa: S608 - a name of TYPES
        connection.execute(query)
        connection.unregister("given_rows")


def fetched(
    connection: Connection, model: str, columns: str | None = None, **parameters: object
) -> list[Row]:
    """Run a model and return its rows, sorted, with some or all columns."""
    table = warehouse.fetch(connection, model, parameters)
    names = table.column_names if columns is None else columns.split()
    rows = (tuple(plain(record[n]) for n in names) for record in table.to_pylist())
    return sorted(rows, key=repr)


def plain(value: object) -> object:
    """Turn a decimal into a float."""
    return float(value) if isinstance(value, Decimal) else value


def expect(got: Sequence[Row], rows: Iterable[Row]) -> None:
    """Assert that rows are as expected, in any order, floats approximately."""
    expected = sorted(rows, key=repr)
    assert len(got) == len(expected), f"{len(got)} rows, not {len(expected)}: {got}"
    for row, wanted in zip(got, expected, strict=True):
        assert row == tuple(nearly(value) for value in wanted)


def nearly(value: object, rel: float = 1e-9) -> Any:
    """Return a value that compares approximately if it is a float."""
    return pytest.approx(value, rel=rel) if isinstance(value, float) else value


def constant(model: str, pattern: str) -> int:
    """Return the one number that a pattern finds in a model."""
    (number,) = set(re.findall(pattern, warehouse.read(model)))
    return int(number)
