from tests.sql.given import Connection, expect, fetched, given

MODEL = "intermediate/{}".format
WEEK = 604_800


def test_counts_of_an_item(connection: Connection) -> None:
    """Ratings of 4 are liked, ratings of 2 disliked; an unrated item has no row.

    User 3 is no co-occurrence user. Among equally popular items the lower item_id is
    first.
    """
    given(connection, "int_cooccurrence_users", "user_id", [(1,), (2,)])
    given(
        connection,
        "int_history",
        "user_id item_id is_liked is_disliked",
        [
            (1, 10, True, False),
            (2, 10, True, False),
            (3, 10, True, False),
            (1, 20, False, True),
            (3, 30, False, False),
        ],
    )
    expect(
        fetched(connection, MODEL("int_item_counts")),
        [(10, 3, 3, 0, 2, 1), (20, 1, 0, 1, 1, 2), (30, 1, 0, 0, 0, 3)],
    )


def test_genres_of_a_user(connection: Connection) -> None:
    """An item counts for each of its genres, one without any for none."""
    given(
        connection,
        "stg_items",
        "item_id genres",
        [(10, ["Action", "Drama"]), (20, ["Drama"]), (30, []), (40, ["War"])],
    )
    given(
        connection,
        "int_history",
        "user_id item_id rating n_history weight is_liked",
        [
            (1, 10, 5.0, 3, 0.81, True),
            (1, 20, 2.0, 3, 0.9, False),
            (1, 30, 4.0, 3, 1.0, True),
            (2, 20, 4.0, 1, 1.0, True),
            (3, 30, 4.0, 1, 1.0, True),
        ],
    )
    # of the 5 ratings 1 is of Action, 3 are of Drama
    expect(
        fetched(connection, MODEL("int_user_genres")),
        [
            # liking: 1.5 / (1 + 5); lift: (1 / 3) / (1 / 5)
            (1, "Action", 0.333333, 0.081, 0.333333, 0.25, 1.666667),
            # liking: (1.5 - 1.5) / (2 + 5); lift: (2 / 3) / (3 / 5)
            (1, "Drama", 0.666667, 0.171, 0.333333, 0.0, 1.111111),
            # liking: 0.5 / (1 + 5); lift: 1 / (3 / 5)
            (2, "Drama", 1.0, 0.1, 1.0, 0.083333, 1.666667),
        ],
    )


AUDIENCE_HISTORY = [(1, 10), (2, 10), (1, 20), (3, 20)]


def test_audiences_of_an_item(connection: Connection) -> None:
    """By fifteen years of age; what is unknown of a user makes no audience."""
    given(
        connection,
        "stg_users",
        "user_id age gender occupation",
        [(1, 29, "F", "artist"), (2, 30, "M", None), (3, None, "F", "artist")],
    )
    given(connection, "int_history", "user_id item_id", AUDIENCE_HISTORY)
    # each item has half of the ratings; F1 gave 2 of them, M2 1, artists 3
    expect(
        fetched(connection, MODEL("int_item_audiences")),
        [
            (10, "F1", 3.5 / 6.0),  # (1 + 5 / 2) / (2 / 2 + 5)
            (20, "F1", 3.5 / 6.0),
            (10, "M2", 3.5 / 5.5),  # (1 + 5 / 2) / (1 / 2 + 5)
            (10, "artist", 3.5 / 6.5),  # (1 + 5 / 2) / (3 / 2 + 5)
            (20, "artist", 4.5 / 6.5),
        ],
    )


def test_no_audiences_without_demographics(connection: Connection) -> None:
    given(connection, "stg_users", "user_id", [(1,), (2,), (3,)])
    given(connection, "int_history", "user_id item_id", AUDIENCE_HISTORY)
    assert fetched(connection, MODEL("int_item_audiences")) == []


def test_weeks_of_an_item(connection: Connection) -> None:
    """Only weeks that end a history are kept; a rating is recent for five of them.

    Item 40 is not one of the compared items.
    """
    counts = [(10, 1), (30, 2), (20, 3), (40, 4)]
    given(connection, "int_item_counts", "item_id popularity_rank", counts)
    given(
        connection,
        "int_history",
        "user_id item_id rated_at",
        [
            (1, 10, 1 * WEEK),
            (1, 30, 1 * WEEK),
            (1, 40, 1 * WEEK),
            (1, 20, 6 * WEEK),
            (2, 10, 3 * WEEK - 1),
        ],
    )
    expect(
        fetched(connection, MODEL("int_item_weeks"), n_compared=3),
        [(10, 2, 2, 2), (30, 2, 1, 1), (10, 6, 2, 1), (20, 6, 1, 1), (30, 6, 1, 0)],
    )
