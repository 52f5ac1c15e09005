import pytest

from tests.sql.given import (
    Connection,
    constant,
    expect,
    fetched,
    given,
    opened,  # noqa: F401 - the fixture `connection`
)

MODEL = "intermediate/{}".format
WEEK = 604_800


def test_teachers_are_all_where_they_are_few(connection: Connection) -> None:
    """Of so few pairs of ratings none is too many; only the last thousand count."""
    moments = [(1, 3), (2, 4), (3, 5000)]
    given(connection, "int_cutoffs", "user_id n_history", moments)

    def teachers(n_cooccurrences: int) -> list[tuple[object, ...]]:
        return fetched(connection, MODEL("int_cooccurrence_users"), n_cooccurrences=n_cooccurrences)

    expect(teachers(1_000_025), [(1,), (2,), (3,)])
    assert len(teachers(1_000_024)) == 2
    assert teachers(8) == []


def test_teachers_are_drawn_evenly_and_stay(connection: Connection) -> None:
    """As many as their histories allow, whoever they are; fewer are some of more."""
    moments = [(user, 10) for user in range(1, 2001)]
    given(connection, "int_cutoffs", "user_id n_history", moments)
    drawn = []
    for n in (200, 1000):
        rows = fetched(connection, MODEL("int_cooccurrence_users"), n_cooccurrences=100 * n)
        drawn.append({user for (user,) in rows})
    few, many = drawn
    assert (len(few), len(many)) == (200, 1000)
    assert few < many
    assert 400 < len(many & set(range(1, 1001))) < 600


def test_counts_of_an_item(connection: Connection) -> None:
    """Ratings of 4 are liked, those of 2 are disliked; an unrated item has no row.

    User 3 is no teacher, and counts where all do. The most rated item ranks first, and
    of equals the one with the lower item_id.
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
        [(10, 3, 3, 0, 2, 2, 1), (20, 1, 0, 1, 1, 0, 2), (30, 1, 0, 0, 0, 0, 3)],
    )


LESSONS = "user_id item_id position rated_at is_liked"


def test_pairs_of_items_are_counted_both_ways(connection: Connection) -> None:
    """A session is shorter than five minutes; what follows at once counts most."""
    given(
        connection,
        "int_cooccurrence_ratings",
        LESSONS,
        [
            (1, 10, 1, 0, True),
            (1, 20, 2, 299, False),
            (1, 30, 3, 599, True),
            (2, 10, 1, 0, True),
            (2, 30, 2, 0, True),
            (3, 40, 1, 0, True),
        ],
    )
    expect(
        fetched(connection, MODEL("int_item_pairs"), part=0, n_parts=1),
        [
            (10, 20, 1, 0, 1, 1.0, 0.0),
            (20, 10, 1, 0, 1, 0.0, 1.0),
            (20, 30, 1, 0, 0, 1.0, 0.0),
            (30, 20, 1, 0, 0, 0.0, 1.0),
            # two ratings later and one rating later: (19 + 20) / 20
            (10, 30, 2, 2, 1, 1.95, 0.0),
            (30, 10, 2, 2, 1, 0.0, 1.95),
        ],
    )


def test_twenty_ratings_later_is_still_next(connection: Connection) -> None:
    """A rating twenty places on counts a twentieth, one after that nothing."""
    given(
        connection,
        "int_cooccurrence_ratings",
        LESSONS,
        [(1, 10, 1, 0, True), (1, 20, 21, 0, True), (1, 30, 22, 0, True)],
    )
    expect(
        fetched(
            connection,
            MODEL("int_item_pairs"),
            "item_id other_item_id n_both n_next n_previous",
            part=0,
            n_parts=1,
        ),
        [
            (10, 20, 1, 0.05, 0.0),
            (20, 10, 1, 0.0, 0.05),
            (10, 30, 1, 0.0, 0.0),
            (30, 10, 1, 0.0, 0.0),
            (20, 30, 1, 1.0, 0.0),
            (30, 20, 1, 0.0, 1.0),
        ],
    )


def test_pairs_are_counted_in_parts(connection: Connection) -> None:
    """Each part has what another has not, and all of them everything."""
    ratings = [(user, item, item, 0, True) for user in (1, 2) for item in range(1, 8)]
    given(connection, "int_cooccurrence_ratings", LESSONS, ratings)
    model = MODEL("int_item_pairs")
    parts = [fetched(connection, model, part=part, n_parts=3) for part in range(3)]
    assert all(parts)
    expect(
        fetched(connection, model, part=0, n_parts=1),
        [row for part in parts for row in part],
    )


def test_lessons_are_of_teachers_and_of_what_is_compared(
    connection: Connection,
) -> None:
    """The last thousand ratings of each; whoever rated all must not cost its square."""
    given(connection, "int_cooccurrence_users", "user_id", [(1,)])
    counts = [(10, 1), (20, 2), (30, 3)]
    given(connection, "int_item_counts", "item_id popularity_rank", counts)
    given(
        connection,
        "int_history",
        "user_id item_id position rated_at n_back is_liked",
        [
            (1, 10, 1, 5, 1000, True),
            (1, 20, 2, 6, 999, True),
            (1, 10, 3, 7, 998, False),
            (1, 30, 4, 8, 0, True),
            (2, 10, 1, 9, 0, True),
        ],
    )
    expect(
        fetched(connection, MODEL("int_cooccurrence_ratings"), n_compared=2),
        [(1, 20, 2, 6, True), (1, 10, 3, 7, False)],
    )


def test_linear_models_know_what_five_users_rated(connection: Connection) -> None:
    """Four teachers are too few to go by; who they are does not matter."""
    counts = [(30, 5, 3), (10, 900, 1), (20, 4, 4), (40, 6, 2)]
    given(connection, "int_item_counts", "item_id n_sampled popularity_rank", counts)
    expect(fetched(connection, MODEL("int_modelled_items")), [(10, 900), (30, 5), (40, 6)])


def test_linear_models_know_only_so_many_items(connection: Connection) -> None:
    """The most rated ones, whichever they are."""
    n = constant(MODEL("int_modelled_items"), r"popularity_rank <= (\d+)")
    counts = [(item, 5, n + 3 - item) for item in range(1, n + 3)]
    given(connection, "int_item_counts", "item_id n_sampled popularity_rank", counts)
    known = fetched(connection, MODEL("int_modelled_items"), "item_id")
    assert {item for (item,) in known} == set(range(3, n + 3))


SEQUELS = "user_id item_id position"
KNOWN = [(10, 5), (20, 5), (30, 5)]


def test_sequels_fade_with_the_distance(connection: Connection) -> None:
    """What one rating adds at a distance, by hand, for each of the three decays.

    `next` two ratings later: the sum, over the state that ends at the first rating and
    that which ends at the one between, of far ** (before) * near ** (after).
    """
    given(connection, "int_modelled_items", "item_id n_ratings", KNOWN)
    given(
        connection,
        "int_cooccurrence_ratings",
        SEQUELS,
        [(1, 10, 1), (1, 20, 2), (1, 30, 3), (2, 10, 1), (2, 20, 2)],
    )
    one = (0.9, 0.5, 0.97, 0.03, 0.5, 0.7)
    two = (
        0.81,
        0.5 * (0.9 + 0.5),
        0.9409,
        0.03 * (0.97 + 0.97),
        0.25,
        0.7 * (0.5 + 0.3),
    )
    expect(
        fetched(connection, MODEL("int_item_transitions"), part=0, n_parts=1),
        [
            (10, 20, *(2 * value for value in one)),  # of two users
            (20, 30, *one),
            (10, 30, *two),
        ],
    )


def test_sequels_come_within_a_hundred_ratings(connection: Connection) -> None:
    """Of known items alone; one in between that is unknown keeps its distance."""
    given(connection, "int_modelled_items", "item_id n_ratings", KNOWN)
    given(
        connection,
        "int_cooccurrence_ratings",
        SEQUELS,
        [(1, 10, 1), (1, 99, 2), (1, 20, 101), (1, 30, 102)],
    )
    names = "item_id other_item_id near_together"
    expect(
        fetched(connection, MODEL("int_item_transitions"), names, part=0, n_parts=1),
        # decimals of eight places
        [(10, 20, 0.00002656), (20, 30, 0.9)],
    )


def test_sequels_are_summed_in_parts(connection: Connection) -> None:
    """Each part has the items whose id leaves it, across every hundred of ratings."""
    known = [(item, 5) for item in range(1, 251)]
    given(connection, "int_modelled_items", "item_id n_ratings", known)
    ratings = [(1, item, item) for item in range(1, 251)]
    given(connection, "int_cooccurrence_ratings", SEQUELS, ratings)
    model, names = MODEL("int_item_transitions"), "item_id other_item_id"
    parts = [
        fetched(connection, model, names, part=part, n_parts=2) for part in range(2)
    ]
    for part, rows in enumerate(parts):
        expect(
            rows,
            [
                (item, other)
                for item in range(1, 251)
                if item % 2 == part
                for other in range(item + 1, min(item + 100, 250) + 1)
            ],
        )


def test_neighbours_are_compared_by_shrunk_cosines(connection: Connection) -> None:
    """An item that nobody liked has likeness by taste 0, and no division fails."""
    given(
        connection,
        "int_item_counts",
        "item_id n_sampled n_sampled_liked",
        [(1, 4, 0), (2, 9, 4), (3, 16, 9)],
    )
    given(
        connection,
        "int_item_pairs",
        "item_id other_item_id n_both n_both_liked",
        [
            (1, 2, 3, 0),
            (2, 1, 3, 0),
            (1, 3, 4, 0),
            (3, 1, 4, 0),
            (2, 3, 6, 2),
            (3, 2, 6, 2),
        ],
    )
    expect(
        fetched(connection, MODEL("int_item_neighbours")),
        [
            (1, 2, 0.1875, 0.0),  # 3 / (6 + 10)
            (2, 1, 0.1875, 0.0),
            (1, 3, 0.222222, 0.0),  # 4 / (8 + 10)
            (3, 1, 0.222222, 0.0),
            (2, 3, 0.272727, 0.125),  # 6 / (12 + 10), 2 / (6 + 10)
            (3, 2, 0.272727, 0.125),
        ],
    )


def test_neighbours_are_cut_by_item_where_they_tie(connection: Connection) -> None:
    """The nearest by either likeness stay; of equals those with the lower item_id."""
    n = constant(MODEL("int_item_neighbours"), r"<= (\d+)")
    others = range(2, n + 5)
    given(
        connection,
        "int_item_counts",
        "item_id n_sampled n_sampled_liked",
        [(item, 1, 1) for item in (1, *others)],
    )
    given(
        connection,
        "int_item_pairs",
        "item_id other_item_id n_both n_both_liked",
        [(1, other, 1, int(other == others[-1])) for other in reversed(others)],
    )
    kept = fetched(connection, MODEL("int_item_neighbours"), "item_id other_item_id")
    expect(kept, [(1, other) for other in (*others[:n], others[-1])])


def test_sequences_are_shares_and_shrunk_cosines(connection: Connection) -> None:
    """A pair that only shares a session is in, one far apart in time is not."""
    given(connection, "int_item_counts", "item_id n_sampled", [(1, 4), (2, 9), (3, 16)])
    given(
        connection,
        "int_item_pairs",
        "item_id other_item_id n_same_session n_next n_previous",
        [
            (1, 2, 3, 1.95, 0.5),
            (2, 1, 3, 0.5, 1.95),
            (1, 3, 1, 0.0, 0.0),
            (3, 1, 1, 0.0, 0.0),
            (2, 3, 0, 0.0, 0.0),
            (3, 2, 0, 0.0, 0.0),
        ],
    )
    expect(
        fetched(connection, MODEL("int_item_sequences")),
        [
            # 1.95 / (4 + 2.5), 1.95 / (6 + 2.5), 0.5 / (6 + 2.5), 3 / (6 + 10)
            (1, 2, 0.3, 0.229412, 0.058824, 0.1875),
            # 0.5 / (9 + 2.5), 0.5 / (6 + 2.5), 1.95 / (6 + 2.5), 3 / (6 + 10)
            (2, 1, 0.043478, 0.058824, 0.229412, 0.1875),
            (1, 3, 0.0, 0.0, 0.0, 0.055556),  # 1 / (8 + 10)
            (3, 1, 0.0, 0.0, 0.0, 0.055556),
        ],
    )


@pytest.mark.parametrize("best_by", ["n_next", "n_previous", "n_same_session"])
def test_sequences_are_cut_by_item_where_they_tie(
    connection: Connection, best_by: str
) -> None:
    """The closest by any measure stay; of equals those with the lower item_id."""
    n = constant(MODEL("int_item_sequences"), r"<= (\d+)")
    others = range(2, n + 5)
    last = others[-1]
    given(
        connection,
        "int_item_counts",
        "item_id n_sampled",
        [(item, 1) for item in (1, *others)],
    )
    names = ("n_next", "n_previous", "n_same_session")
    given(
        connection,
        "int_item_pairs",
        f"item_id other_item_id {' '.join(names)}",
        [
            (1, other, *(1 + int(other == last and name == best_by) for name in names))
            for other in reversed(others)
        ],
    )
    kept = fetched(connection, MODEL("int_item_sequences"), "item_id other_item_id")
    expect(kept, [(1, other) for other in (*others[:n], last)])


def test_sequences_keep_what_follows_often_though_it_is_popular(
    connection: Connection,
) -> None:
    """The share that follows ranks too: the cosine alone would drop popular items."""
    n = constant(MODEL("int_item_sequences"), r"<= (\d+)")
    others = range(2, n + 3)
    last = others[-1]
    given(
        connection,
        "int_item_counts",
        "item_id n_sampled",
        [(1, 1), *((other, 10_000 if other == last else 1) for other in others)],
    )
    given(
        connection,
        "int_item_pairs",
        "item_id other_item_id n_next n_previous n_same_session",
        [(1, other, 2 if other == last else 1, 1, 1) for other in others],
    )
    kept = fetched(connection, MODEL("int_item_sequences"), "item_id other_item_id")
    expect(kept, [(1, other) for other in others])


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
    """Ages go by fifteen years; what is unknown of a user makes no audience."""
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
    """Releases that say nothing of their users have none."""
    given(connection, "stg_users", "user_id", [(1,), (2,), (3,)])
    given(connection, "int_history", "user_id item_id", AUDIENCE_HISTORY)
    assert fetched(connection, MODEL("int_item_audiences")) == []


def test_weeks_of_an_item(connection: Connection) -> None:
    """Only weeks that end a history are kept; a rating is recent for five of them.

    Item 40 is not among those that are compared.
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
