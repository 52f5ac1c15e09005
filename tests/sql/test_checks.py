from pathlib import Path

import duckdb
import pytest

from batch import warehouse
from batch.errors import BatchError
from batch.ingest import load, release, rules
from tests.sql import raw

ITEM = "(item_id, title, release_year, genres) values"
USER = "(user_id, age, gender, occupation) values"

BAD = [
    (
        "ratings_are_in_range",
        "insert into stg_ratings values (2, 20, 5.5, 7), (2, 3, null, 7), (2, 3, 0, 7)",
        "user_id 2, item_id 20, rating 5.5, rated_at 7, n_ratings 3",
    ),
    (
        "ratings_are_in_range",
        "insert into stg_ratings values (2, 20, 'nan', 7)",
        "user_id 2, item_id 20, rating nan, rated_at 7, n_ratings 1",
    ),
    (
        "ratings_have_ids",
        "insert into stg_ratings values (null, 2, 3, 7), (2, null, 3, 7), (0, 2, 3, 7)",
        "user_id None, item_id 2, rating 3.0, rated_at 7, n_ratings 3",
    ),
    (
        "ratings_are_dated",
        "insert into stg_ratings values (2, 20, 3, null), (2, 30, 3, 0)",
        "user_id 2, item_id 20, rating 3.0, rated_at None, n_ratings 2",
    ),
    (
        "ratings_are_dated",
        "insert into stg_ratings values (2, 20, 3, 881250949000)",
        "user_id 2, item_id 20, rating 3.0, rated_at 881250949000, n_ratings 1",
    ),
    ("ratings_exist", "delete from stg_ratings", "n_ratings 0"),
    (
        "ratings_have_known_items",
        "delete from stg_items where item_id = 10",
        "item_id 10, n_ratings 2, n_unknown_items 1",
    ),
    (
        "ratings_have_known_users",
        "delete from stg_users",
        "user_id 1, n_ratings 2, n_unknown_users 2",
    ),
    (
        "items_have_ids",
        "insert into stg_items {item} (-1, 'x', 1995, [])",
        "item_id -1, title x, n_items 1",
    ),
    (
        "items_have_titles",
        "insert into stg_items {item} (40, null, 1995, []), (41, '', null, [])",
        "item_id 40, title None, n_items 2",
    ),
    (
        "items_are_unique",
        "insert into stg_items {item} (10, 'x', 1995, [])",
        "item_id 10, n_items 2, n_repeated_ids 1",
    ),
    (
        "users_have_ids",
        "insert into stg_users {user} (null, 7, 'M', 'artist')",
        "user_id None, age 7, gender M, occupation artist, n_users 1",
    ),
    (
        "users_are_unique",
        "insert into stg_users {user} (2, 7, 'M', 'artist')",
        "user_id 2, n_users 2, n_repeated_ids 1",
    ),
]


@pytest.mark.parametrize(("check", "change", "found"), BAD)
def test_each_check_names_the_first_bad_row(
    tmp_path: Path, check: str, change: str, found: str
) -> None:
    rule = warehouse.read(f"checks/{check}").partition("\n")[0].removeprefix("-- ")
    with duckdb.connect() as connection:
        load.read(connection, release.find(raw.tab(tmp_path), tmp_path))
        rules.check(connection)
        connection.execute(change.format(item=ITEM, user=USER))
        with pytest.raises(BatchError) as caught:
            rules.check(connection)
    assert str(caught.value) == f"the raw files break a rule: {rule}; found {found}"


def test_each_check_has_a_test() -> None:
    checks = {path.stem for path in (warehouse.SQL / "checks").glob("*.sql")}
    assert checks == {check for check, _, _ in BAD}
