import math
from typing import Any

import pytest

from batch import warehouse
from tests.sql.given import Connection, expect, fetched, given

MODEL = "intermediate/{}".format
LIKES: dict[str, Any] = {"liked_from": 4, "disliked_to": 2}


def test_ratings_are_numbered_by_time_and_then_by_item(connection: Connection) -> None:
    given(
        connection,
        "stg_ratings",
        "user_id item_id rating rated_at",
        [(1, 30, 4.0, 100), (1, 5, 5.0, 200), (1, 20, 3.0, 100), (2, 30, 1.0, 50)],
    )
    expect(
        fetched(connection, MODEL("int_ratings")),
        [
            (1, 20, 3.0, 100, 1),
            (1, 30, 4.0, 100, 2),
            (1, 5, 5.0, 200, 3),
            (2, 30, 1.0, 50, 1),
        ],
    )


def cutoffs(
    connection: Connection, n_cuts: int, n_next: int = 0
) -> list[tuple[object, ...]]:
    """Return the cutoffs, as (user_id, n_history, n_with_future)."""
    model = MODEL("int_cutoffs")
    return fetched(connection, model, n_cuts=n_cuts, n_next=n_next)


def test_cuts_of_the_last_fifth_are_those_of_the_protocol(
    connection: Connection,
) -> None:
    """A user of n ratings is cut at ceil(0.8 n), and again at ceil(0.8 ceil(0.8 n))."""
    given(
        connection,
        "int_ratings",
        "user_id item_id position",
        [(n, item, item) for n in range(1, 21) for item in range(1, n + 1)],
    )
    once = {n: math.ceil(0.8 * n) for n in range(1, 21)}
    for n_cuts, expected in (
        (0, [(n, n, n) for n in once]),
        (1, [(n, once[n], n) for n in once]),
        (2, [(n, once[once[n]], once[n]) for n in once]),
    ):
        expect(cutoffs(connection, n_cuts), expected)


def test_a_long_history_is_cut_exactly(connection: Connection) -> None:
    """No float rounds the cut up or down."""
    given(
        connection,
        "int_ratings",
        "user_id item_id",
        [(n, item) for n in (735, 736, 2999, 3000) for item in range(n)],
    )
    expect(
        cutoffs(connection, 2),
        [(735, 471, 588), (736, 472, 589), (2999, 1920, 2400), (3000, 1920, 2400)],
    )


@pytest.mark.parametrize("n_cuts", [0, 1])
def test_a_cutoff_may_be_some_ratings_before_a_cut(
    connection: Connection, n_cuts: int
) -> None:
    """They are its future; users who had not rated more have no cutoff."""
    given(
        connection,
        "int_ratings",
        "user_id item_id position",
        [(n, item, item) for n in range(1, 11) for item in range(1, n + 1)],
    )
    expect(
        cutoffs(connection, n_cuts, n_next=3),
        [
            [(4, 1, 4), (5, 2, 5), (6, 3, 6), (7, 4, 7), (8, 5, 8), (9, 6, 9)],
            [(4, 1, 4), (5, 1, 4), (6, 2, 5), (7, 3, 6), (8, 4, 7), (9, 5, 8)],
        ][n_cuts]
        + [(10, 7, 10), (10, 5, 8)][n_cuts : n_cuts + 1],
    )


def test_nothing_after_a_cutoff_is_history(connection: Connection) -> None:
    """Two ratings before the hold-out: they are the future, the hold-out is neither.

    User 1's hold-out is item 50; user 2 has rated too little to have a past.
    """
    given(
        connection, "int_ratings", "user_id item_id rating rated_at position", RATINGS
    )
    parameters = {"n_cuts": 1, "n_next": 2}
    warehouse.build(connection, MODEL("int_cutoffs"), parameters)
    expect(
        fetched(
            connection,
            MODEL("int_history"),
            "user_id item_id n_history n_back",
            **LIKES,
        ),
        [(1, 10, 2, 1), (1, 20, 2, 0)],
    )
    expect(fetched(connection, MODEL("int_future")), [(1, 30, 4.0), (1, 40, 3.5)])


RATINGS = [
    (1, 10, 5.0, 100, 1),
    (1, 20, 2.0, 200, 2),
    (1, 30, 4.0, 300, 3),
    (1, 40, 3.5, 400, 4),
    (1, 50, 1.0, 500, 5),
    (2, 10, 3.0, 700, 1),
]
CUTOFFS = [(1, 3, 4), (2, 1, 1)]


def test_history_ends_at_the_cutoff_and_future_follows(
    connection: Connection,
) -> None:
    given(
        connection, "int_ratings", "user_id item_id rating rated_at position", RATINGS
    )
    given(connection, "int_cutoffs", "user_id n_history n_with_future", CUTOFFS)
    expect(
        fetched(connection, MODEL("int_history"), **LIKES),
        [
            (1, 10, 5.0, 100, 1, 3, 2, 0.333333, True, False, 0.9604, 0.81, 0.64, 0.25),
            (1, 20, 2.0, 200, 2, 3, 1, 0.666667, False, True, 0.98, 0.9, 0.8, 0.5),
            (1, 30, 4.0, 300, 3, 3, 0, 1.0, True, False, 1.0, 1.0, 1.0, 1.0),
            (2, 10, 3.0, 700, 1, 1, 0, 1.0, False, False, 1.0, 1.0, 1.0, 1.0),
        ],
    )
    expect(fetched(connection, MODEL("int_future")), [(1, 40, 3.5)])
