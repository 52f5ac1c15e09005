import math
from typing import Any

import pytest

from batch import warehouse
from tests import movielens, worlds
from tests.sql.given import Connection, expect, fetched, given

MODEL = "intermediate/{}".format
LIKES: dict[str, Any] = {"liked_from": 4, "disliked_to": 2}


LARGEST = 2**31 - 1
TIES = [
    [(31, 683170470), (20, 1549148171), (30, 2323702005), (1, 2654476264)],
    [(LARGEST - 1, 1133660428), (1, 2654516767), (LARGEST, 3788096189)],
    [(30, 176137351), (1, 506911610), (LARGEST, 1640491032)],
]
"""Items and their ties for the users 1, 2 and LARGEST, computed by hand."""


def test_ratings_are_numbered_by_time_and_within_a_second_by_a_hash(
    connection: Connection,
) -> None:
    """User 1 rated item 5, whose tie 387317420 is the lowest, a second later."""
    users = dict(zip([1, 2, LARGEST], TIES, strict=True))
    for user, items in users.items():
        for item, tie in items:
            assert movielens.place((user, item, 4.0, 100)) == (100, tie, item)
    expected = [
        (user, item, 4.0, 100, position)
        for user, items in users.items()
        for position, (item, _) in enumerate(items, start=1)
    ]
    expected.append((1, 5, 4.0, 101, 5))
    rows = [row[:4] for row in sorted(expected, key=lambda row: row[1])]
    given(connection, "stg_ratings", "user_id item_id rating rated_at", rows)
    expect(fetched(connection, MODEL("int_ratings")), expected)


def test_the_tests_sort_ratings_as_the_models_do(connection: Connection) -> None:
    """Two fifths of this world's ratings share their second with the one before."""
    world = worlds.ragged()
    worlds.stage(connection, world)
    ours = sorted(world.ratings, key=lambda row: (row[0], movielens.place(row)))
    found = warehouse.fetch(connection, MODEL("int_ratings"), {}).to_pylist()
    found.sort(key=lambda row: (row["user_id"], row["position"]))
    assert [row["item_id"] for row in found] == [row[1] for row in ours]
    by_item = sorted(ours, key=lambda row: (row[0], row[3], row[1]))
    assert by_item != ours


def cutoffs(
    connection: Connection, n_cuts: int, n_next: int = 0, short_share: float = 0
) -> list[tuple[object, ...]]:
    """Return the cutoffs, as (user_id, n_history, n_with_future)."""
    model = MODEL("int_cutoffs")
    return fetched(
        connection, model, n_cuts=n_cuts, n_next=n_next, short_share=short_share
    )


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
    """They are its future; one rating stays the past, or there is no cutoff."""
    given(
        connection,
        "int_ratings",
        "user_id item_id position",
        [(n, item, item) for n in range(1, 11) for item in range(1, n + 1)],
    )
    expect(
        cutoffs(connection, n_cuts, n_next=3),
        [
            [
                (2, 1, 2),
                (3, 1, 3),
                (4, 1, 4),
                (5, 2, 5),
                (6, 3, 6),
                (7, 4, 7),
                (8, 5, 8),
                (9, 6, 9),
            ],
            [
                (2, 1, 2),
                (3, 1, 3),
                (4, 1, 4),
                (5, 1, 4),
                (6, 2, 5),
                (7, 3, 6),
                (8, 4, 7),
                (9, 5, 8),
            ],
        ][n_cuts]
        + [(10, 7, 10), (10, 5, 8)][n_cuts : n_cuts + 1],
    )


def test_some_users_teach_with_a_short_history(connection: Connection) -> None:
    """About a tenth keep one to five ratings, and the next twenty are their future."""
    ratings = [(user, item, item) for user in range(1, 501) for item in range(1, 41)]
    given(connection, "int_ratings", "user_id item_id position", ratings)
    found = cutoffs(connection, n_cuts=1, short_share=0.1)
    short = [row for row in found if row[1] != 32]
    assert {row[2] for row in found if row not in short} == {40}
    assert 40 <= len(short) <= 60
    assert {row[1] for row in short} == {1, 2, 3, 4, 5}
    assert all(row[2] == int(str(row[1])) + 20 for row in short)
    assert cutoffs(connection, n_cuts=1, short_share=0) == [
        (user, 32, 40) for user in sorted(range(1, 501), key=str)
    ]
    # enough are short already
    ratings = [row for row in ratings if row[0] > 60 or row[1] <= 6]
    given(connection, "int_ratings", "user_id item_id position", ratings)
    found = cutoffs(connection, n_cuts=1, short_share=0.1)
    assert {row[1] for row in found} == {5, 32}


def test_nothing_after_a_cutoff_is_history(connection: Connection) -> None:
    """Two ratings before the hold-out: they are the future, the hold-out is neither.

    User 1's hold-out is item 50; user 2 has rated too little to have a past.
    """
    given(
        connection, "int_ratings", "user_id item_id rating rated_at position", RATINGS
    )
    parameters = {"n_cuts": 1, "n_next": 2, "short_share": 0.0}
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
            (1, 10, 5.0, 100, 1, 3, 2, 0.333333, True, False, 0.9604, 0.81, 0.64),
            (1, 20, 2.0, 200, 2, 3, 1, 0.666667, False, True, 0.98, 0.9, 0.8),
            (1, 30, 4.0, 300, 3, 3, 0, 1.0, True, False, 1.0, 1.0, 1.0),
            (2, 10, 3.0, 700, 1, 1, 0, 1.0, False, False, 1.0, 1.0, 1.0),
        ],
    )
    expect(fetched(connection, MODEL("int_future")), [(1, 40, 3.5)])
