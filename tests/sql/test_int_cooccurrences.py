"""The models of which items go together, and which follow which."""

import pytest

from batch import warehouse
from tests.sql.given import Connection, Row, constant, expect, fetched, given

MODEL = "intermediate/{}".format
COUNTS = "item_id n_sampled"
PAIR = "item_id other_item_id"
RATINGS = "user_id item_id position rated_at"

# --- which ratings are counted -------------------------------------------------------


def users(connection: Connection, n_cooccurrences: int) -> set[object]:
    """Return the co-occurrence users."""
    model = MODEL("int_cooccurrence_users")
    rows = fetched(connection, model, n_cooccurrences=n_cooccurrences)
    return {user for (user,) in rows}


def test_users_are_sampled_only_on_large_releases(connection: Connection) -> None:
    """At most the last thousand ratings of a history count."""
    histories = [(1, 3), (2, 4), (3, 5000)]
    given(connection, "int_cutoffs", "user_id n_history", histories)
    assert users(connection, 1_000_025) == {1, 2, 3}
    assert len(users(connection, 1_000_024)) == 2
    assert users(connection, 8) == set()


def test_a_smaller_sample_of_users_is_part_of_a_larger(connection: Connection) -> None:
    histories = [(user, 10) for user in range(1, 2001)]
    given(connection, "int_cutoffs", "user_id n_history", histories)
    few, many = users(connection, 100 * 200), users(connection, 100 * 1000)
    assert (len(few), len(many)) == (200, 1000)
    assert few < many
    assert 400 < len(many & set(range(1, 1001))) < 600
    assert few & {*range(1, 30)} == {6, 8, 26, 29}  # by fixed arithmetic


def test_ratings_are_the_last_thousand_of_compared_items(
    connection: Connection,
) -> None:
    given(connection, "int_cooccurrence_users", "user_id", [(1,)])
    counts = [(10, 1), (20, 2), (30, 3)]
    given(connection, "int_item_counts", "item_id popularity_rank", counts)
    given(
        connection,
        "int_history",
        "user_id item_id position rated_at n_back",
        [
            (1, 10, 1, 5, 1000),
            (1, 20, 2, 6, 999),
            (1, 10, 3, 7, 998),
            (1, 30, 4, 8, 0),
            (2, 10, 1, 9, 0),
        ],
    )
    expect(
        fetched(connection, MODEL("int_cooccurrence_ratings"), n_compared=2),
        [(1, 20, 2, 6), (1, 10, 3, 7)],
    )


def test_modelled_items_are_the_most_rated_with_five_ratings(
    connection: Connection,
) -> None:
    model = MODEL("int_modelled_items")
    names = "item_id n_sampled popularity_rank n_ratings"
    counts = [(30, 5, 3, 5), (10, 900, 1, 900), (20, 4, 4, 4), (40, 6, 2, 6)]
    given(connection, "int_item_counts", names, counts)
    expect(fetched(connection, model), [(10, 900), (30, 5), (40, 6)])


@pytest.mark.parametrize(
    ("n_items", "n_head", "n_modelled"),
    [
        # the ratings are on the first items, or spread over 2,500 or 4,000
        (4000, 100, 2000),
        (2500, 2500, 2475),
        (4000, 4000, 3000),
    ],
)
def test_more_items_are_modelled_where_ratings_spread_over_more(
    connection: Connection, n_items: int, n_head: int, n_modelled: int
) -> None:
    names = "item_id n_sampled popularity_rank n_ratings"
    counts = [
        (item, 5, item, 5000 if item <= n_head else 1) for item in range(1, n_items + 1)
    ]
    given(connection, "int_item_counts", names, counts)
    modelled = fetched(connection, MODEL("int_modelled_items"), "item_id")
    assert {item for (item,) in modelled} == set(range(1, n_modelled + 1))


# --- pairs ---------------------------------------------------------------------------


def test_pairs_of_items_are_counted_both_ways(connection: Connection) -> None:
    """A session is shorter than five minutes; what follows at once counts most."""
    given(
        connection,
        "int_cooccurrence_ratings",
        RATINGS,
        [
            (1, 10, 1, 0),
            (1, 20, 2, 299),
            (1, 30, 3, 599),
            (2, 10, 1, 0),
            (2, 30, 2, 0),
            (3, 40, 1, 0),
        ],
    )
    expect(
        fetched(connection, MODEL("int_item_pairs"), part=0, n_parts=1),
        [
            (10, 20, 1, 1, 1.0, 0.0),
            (20, 10, 1, 1, 0.0, 1.0),
            (20, 30, 1, 0, 1.0, 0.0),
            (30, 20, 1, 0, 0.0, 1.0),
            # two ratings later and one rating later: (19 + 20) / 20
            (10, 30, 2, 1, 1.95, 0.0),
            (30, 10, 2, 1, 0.0, 1.95),
        ],
    )


def test_twenty_ratings_later_is_still_next(connection: Connection) -> None:
    ratings = [(1, 10, 1, 0), (1, 20, 21, 0), (1, 30, 22, 0)]
    given(connection, "int_cooccurrence_ratings", RATINGS, ratings)
    model, names = MODEL("int_item_pairs"), "item_id other_item_id n_both n_next"
    rows = fetched(connection, model, names, part=0, n_parts=1)
    expect(
        [row for row in rows if row[:2] in [(10, 20), (10, 30), (20, 30)]],
        [(10, 20, 1, 0.05), (10, 30, 1, 0.0), (20, 30, 1, 1.0)],
    )


def test_the_parts_of_pairs_are_all_pairs(connection: Connection) -> None:
    ratings = [(user, item, item, 0) for user in (1, 2) for item in range(1, 8)]
    given(connection, "int_cooccurrence_ratings", RATINGS, ratings)
    model = MODEL("int_item_pairs")
    parts = [fetched(connection, model, part=part, n_parts=3) for part in range(3)]
    assert all(parts)
    expect(
        fetched(connection, model, part=0, n_parts=1),
        [row for part in parts for row in part],
    )


# --- voters ---------------------------------------------------------------------------


def test_voters_are_whole_users_in_the_order_of_their_ratings(
    connection: Connection,
) -> None:
    """As many as have at most so many ratings together, drawn by a hash."""
    ratings: list[Row] = [
        (user, item, 10 - item) for user in range(1, 21) for item in (3, 1, 2)
    ]
    names = "user_id item_id position"
    given(connection, "int_cooccurrence_ratings", names, ratings)
    warehouse.build(connection, "intermediate/int_voters", {"n_votes": 60})
    every = connection.table("int_voters").fetchall()
    assert every == [(user, item) for user in range(1, 21) for item in (3, 2, 1)]
    warehouse.build(connection, "intermediate/int_voters", {"n_votes": 32})
    some = connection.table("int_voters").fetchall()
    users = sorted({user for user, _ in some})
    assert some == [(user, item) for user in users for item in (3, 2, 1)]
    assert len(users) == 10
    assert users not in ([*range(1, 11)], [*range(11, 21)])


# --- the nearest ---------------------------------------------------------------------


def test_neighbours_are_compared_by_shrunk_cosines(connection: Connection) -> None:
    given(connection, "int_item_counts", COUNTS, [(1, 4), (2, 9), (3, 16)])
    one_way = [(1, 2, 3), (1, 3, 4), (2, 3, 6)]
    pairs = one_way + [(b, a, n) for a, b, n in one_way]
    given(connection, "int_item_pairs", f"{PAIR} n_both", pairs)
    expected: list[Row] = [
        (1, 2, 0.1875),  # 3 / (6 + 10)
        (1, 3, 0.222222),  # 4 / (8 + 10)
        (2, 3, 0.272727),  # 6 / (12 + 10)
    ]
    expect(
        fetched(connection, MODEL("int_item_neighbours")),
        expected + [(b, a, *values) for a, b, *values in expected],
    )


def test_neighbours_are_cut_by_item_where_they_tie(connection: Connection) -> None:
    """The nearest stay; among equals those of lower item_id."""
    n = constant(MODEL("int_item_neighbours"), r"<= (\d+)")
    others = range(2, n + 5)
    given(connection, "int_item_counts", COUNTS, [(item, 1) for item in (1, *others)])
    pairs = [(1, other, 1 + int(other == others[-1])) for other in reversed(others)]
    given(connection, "int_item_pairs", f"{PAIR} n_both", pairs)
    kept = fetched(connection, MODEL("int_item_neighbours"), PAIR)
    expect(kept, [(1, other) for other in (*others[: n - 1], others[-1])])


TIMES = ("n_next", "n_previous", "n_same_session")


def sequences(
    connection: Connection,
    counts: list[Row],
    pairs: list[Row],
    columns: str | None = None,
) -> list[Row]:
    """Compute the sequences of pairs, given with the columns of TIMES."""
    given(connection, "int_item_counts", "item_id n_sampled", counts)
    given(connection, "int_item_pairs", f"{PAIR} {' '.join(TIMES)}", pairs)
    return fetched(connection, MODEL("int_item_sequences"), columns)


def test_sequences_are_shares_and_shrunk_cosines(connection: Connection) -> None:
    """A pair that only shares a session is in, one far apart in time is not."""
    pairs: list[Row] = [
        (1, 2, 1.95, 0.5, 3),
        (2, 1, 0.5, 1.95, 3),
        (1, 3, 0.0, 0.0, 1),
        (3, 1, 0.0, 0.0, 1),
        (2, 3, 0.0, 0.0, 0),
    ]
    expect(
        sequences(connection, [(1, 4), (2, 9), (3, 16)], pairs),
        [
            # 1.95 / (4 + 2.5), 1.95 / (6 + 2.5), 0.5 / (6 + 2.5), 3 / (6 + 10)
            (1, 2, 0.3, 0.229412, 0.058824, 0.1875),
            # 0.5 / (9 + 2.5), 0.5 / (6 + 2.5), 1.95 / (6 + 2.5), 3 / (6 + 10)
            (2, 1, 0.043478, 0.058824, 0.229412, 0.1875),
            (1, 3, 0.0, 0.0, 0.0, 0.055556),  # 1 / (8 + 10)
            (3, 1, 0.0, 0.0, 0.0, 0.055556),
        ],
    )


@pytest.mark.parametrize("best_by", TIMES)
def test_sequences_are_cut_by_item_where_they_tie(
    connection: Connection, best_by: str
) -> None:
    """The closest by any measure stay; among equals those of lower item_id."""
    n = constant(MODEL("int_item_sequences"), r"<= (\d+)")
    others = range(2, n + 5)
    last = others[-1]
    pairs: list[Row] = [
        (1, other, *(1 + int(other == last and name == best_by) for name in TIMES))
        for other in reversed(others)
    ]
    kept = sequences(connection, [(item, 1) for item in (1, *others)], pairs, PAIR)
    expect(kept, [(1, other) for other in (*others[:n], last)])


def test_sequences_keep_popular_items_that_follow_often(connection: Connection) -> None:
    """They rank by share; the cosine alone would drop them."""
    n = constant(MODEL("int_item_sequences"), r"<= (\d+)")
    others = range(2, n + 3)
    last = others[-1]
    counts = [(other, 10_000 if other == last else 1) for other in others]
    pairs: list[Row] = [(1, other, 2 if other == last else 1, 1, 1) for other in others]
    kept = sequences(connection, [(1, 1), *counts], pairs, PAIR)
    expect(kept, [(1, other) for other in others])
