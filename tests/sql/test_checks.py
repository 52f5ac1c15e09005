from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from batch import warehouse
from batch.errors import BatchError
from batch.ingest import load, release
from tests.sql import raw

Connection = duckdb.DuckDBPyConnection

BAD = [
    (
        "every rating is from 0.5 to 5",
        "insert into stg_ratings values (2, 20, 5.5, 7), (2, 3, null, 7), (2, 3, 0, 7)",
        "user_id 2, item_id 20, rating 5.5, rated_at 7, n_ratings 3",
    ),
    (
        "every rating is from 0.5 to 5",
        "insert into stg_ratings values (2, 20, 'nan', 7)",
        "user_id 2, item_id 20, rating nan, rated_at 7, n_ratings 1",
    ),
    (
        "every rating names a user and an item by a positive id",
        "insert into stg_ratings values (null, 2, 3, 7), (2, null, 3, 7), (0, 2, 3, 7)",
        "user_id None, item_id 2, rating 3.0, rated_at 7, n_ratings 3",
    ),
    (
        "every rating has its time in seconds since 1970",
        "insert into stg_ratings values (2, 20, 3, null), (2, 30, 3, 0)",
        "user_id 2, item_id 20, rating 3.0, rated_at None, n_ratings 2",
    ),
    (
        "every rating has its time in seconds since 1970",
        "insert into stg_ratings values (2, 20, 3, 881250949000)",
        "user_id 2, item_id 20, rating 3.0, rated_at 881250949000, n_ratings 1",
    ),
    (
        "there is at least one rating",
        "delete from stg_ratings",
        "n_ratings 0",
    ),
    (
        "every rated item is in the items file",
        "delete from stg_items where item_id = 10",
        "item_id 10, n_ratings 2, n_unknown_items 1",
    ),
    (
        "every user with a rating is in the users file",
        "delete from stg_users",
        "user_id 1, n_ratings 2, n_unknown_users 2",
    ),
    (
        "every item has a positive id",
        "insert into stg_items values (-1, 'x', 1995, [])",
        "item_id -1, title x, n_items 1",
    ),
    (
        "every item has a title",
        "insert into stg_items values (40, null, 1995, []), (41, '', null, [])",
        "item_id 40, title None, n_items 2",
    ),
    (
        "no item_id stands for two items",
        "insert into stg_items values (10, 'x', 1995, [])",
        "item_id 10, n_items 2, n_repeated_ids 1",
    ),
    (
        "every user has a positive id",
        "insert into stg_users values (null, 7, 'M', 'artist')",
        "user_id None, age 7, gender M, occupation artist, n_users 1",
    ),
    (
        "no user_id stands for two users",
        "insert into stg_users values (2, 7, 'M', 'artist')",
        "user_id 2, n_users 2, n_repeated_ids 1",
    ),
]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Hold the staging tables of a good release."""
    with duckdb.connect() as connection:
        load.read(connection, release.find(raw.tab(tmp_path), tmp_path))
        yield connection


def rules() -> dict[str, str]:
    """Give each check's query by the rule that heads it."""
    texts = [path.read_text() for path in (warehouse.SQL / "checks").glob("*.sql")]
    return {text.partition("\n")[0].removeprefix("-- "): text for text in texts}


def test_good_data_passes(connection: Connection) -> None:
    warehouse.check(connection)


@pytest.mark.parametrize(("rule", "change", "found"), BAD)
def test_each_check_finds_its_bad_row(
    connection: Connection, rule: str, change: str, found: str
) -> None:
    """It counts the bad rows and names the first; the runner stops at any."""
    connection.execute(change)
    rows = connection.execute(rules()[rule])
    names = [column[0] for column in rows.description or []]
    ((*row,),) = rows.fetchall()
    values = zip(names, row, strict=True)
    assert ", ".join(f"{n} {v}" for n, v in values if n != "row_id") == found
    with pytest.raises(BatchError):
        warehouse.check(connection)


def test_each_check_has_a_test() -> None:
    assert set(rules()) == {rule for rule, _, _ in BAD}


def test_a_broken_rule_is_reported_with_its_row(connection: Connection) -> None:
    connection.execute("insert into stg_ratings values (2, 20, 7, 881250949)")
    found = r"every rating is from 0.5 to 5; found user_id 2, item_id 20, rating 7\.0"
    with pytest.raises(BatchError, match=found):
        warehouse.check(connection)
