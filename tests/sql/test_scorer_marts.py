"""The marts that the compiled scorer reads: whole numbers, in a fixed order."""

from batch import warehouse
from tests.sql.given import Connection, expect, fetched, given


def test_items_are_in_order_with_their_genres(connection: Connection) -> None:
    given(
        connection,
        "item_features",
        "item_id n_ratings avg_age",
        [(20, 0, None), (10, 5, 33.5)],
    )
    genres = [(10, ["War"]), (20, [])]
    given(connection, "stg_items", "item_id genres", genres)
    films = [(10, 20, False), (20, 20, True)]
    given(connection, "films", "item_id film_id is_eligible", films)
    table = warehouse.fetch(connection, "marts/scorer_items", {})
    assert table["item_id"].to_pylist() == [10, 20]
    columns = "item_id n_ratings avg_age genres film_id is_eligible"
    rows = fetched(connection, "marts/scorer_items", columns)
    expect(rows, [(10, 5, 33.5, ["War"], 20, False), (20, 0, None, [], 20, True)])


def test_sequences_are_counted_in_millionths(connection: Connection) -> None:
    given(
        connection,
        "int_item_sequences",
        "item_id other_item_id next_share next_similarity previous_similarity "
        "session_similarity",
        [(20, 10, 0.1, 0.2, 0.3, 0.4), (10, 20, 0.000001, 0.0, 1.0, 0.5)],
    )
    table = warehouse.fetch(connection, "marts/scorer_sequences", {})
    assert table["item_id"].to_pylist() == [10, 20]
    expect(
        fetched(connection, "marts/scorer_sequences"),
        [
            (10, 20, 1, 0, 1_000_000, 500_000),
            (20, 10, 100_000, 200_000, 300_000, 400_000),
        ],
    )


def test_users_are_those_of_the_parameter(connection: Connection) -> None:
    """With the week in which their history ends."""
    given(
        connection,
        "user_features",
        "user_id n_ratings last_rated_at age",
        [(3, 7, 2 * 604_800, 40), (1, 5, 604_799, None), (2, 9, 604_800, 20)],
    )
    columns = "user_id n_ratings week age"
    rows = fetched(connection, "marts/scorer_users", columns, user_ids=[3, 1])
    expect(rows, [(1, 5, 0, None), (3, 7, 2, 40)])
    table = warehouse.fetch(connection, "marts/scorer_users", {"user_ids": [3, 1]})
    assert table["user_id"].to_pylist() == [1, 3]


def test_histories_are_counted_in_ten_thousandths(connection: Connection) -> None:
    """The last ratings first; sequences reach back as far as in pair_features."""
    given(
        connection,
        "int_history",
        "user_id item_id n_back is_liked slow_weight weight fast_weight",
        [
            (2, 10, 30, True, 0.5455, 0.0424, 0.0012),
            (2, 20, 29, False, 0.5566, 0.0471, 0.0015),
            (1, 30, 0, True, 1.0, 1.0, 1.0),
            (9, 30, 0, True, 1.0, 1.0, 1.0),
        ],
    )
    expect(
        fetched(connection, "marts/scorer_histories", user_ids=[1, 2]),
        [
            (1, 30, True, True, 10_000, 10_000, 10_000),
            (2, 20, True, False, 5566, 471, 15),
            (2, 10, False, True, 5455, 424, 12),
        ],
    )


def test_genres_are_counted_in_millionths(connection: Connection) -> None:
    given(
        connection,
        "int_user_genres",
        "user_id genre history_share recent_share liked_share avg_liking history_lift",
        [
            (1, "War", 0.5, 0.25, 0.125, -0.5, 12.345678),
            (1, "Drama", 0.0, 0.0, 0.0, 0.000001, 1.0),
            (2, "War", 1.0, 1.0, 1.0, 1.0, 1.0),
        ],
    )
    expect(
        fetched(connection, "marts/scorer_genres", user_ids=[1]),
        [
            (1, "Drama", 0, 0, 0, 1, 1_000_000),
            (1, "War", 500_000, 250_000, 125_000, -500_000, 12_345_678),
        ],
    )
