import pytest

from tests.sql.given import Connection, Row, expect, fetched, given, nearly

COUNTS = "item_id n_ratings"
NEIGHBOURS = "item_id other_item_id similarity"


FILMS = "item_id film_id is_eligible"


def films(connection: Connection) -> None:
    """Let 70 be another id of the film 10, and list all films but 60."""
    rows: list[Row] = [(item, item, item != 60) for item in range(10, 70, 10)]
    given(connection, "films", FILMS, [*rows, (70, 10, False)])


@pytest.mark.parametrize(
    ("merges", "expected"),
    [
        (
            True,
            [
                (1, 2, False),  # of 2 and 3, which have as many ratings
                (2, 2, True),
                (3, 2, False),
                (4, 5, False),  # 5 is not eligible, so the film is not
                (5, 5, False),
                (6, 6, True),  # of another year than 2
                (7, 7, True),  # 7 and 8 may be two films: their year is not known
                (8, 8, False),  # not listed
            ],
        ),
        (False, [(item, item, item not in (5, 8)) for item in range(1, 9)]),
    ],
)
def test_films(connection: Connection, merges: bool, expected: list[Row]) -> None:
    """Items of the same title and year are one, as the most rated id, then the lowest.

    It is eligible if all of them are.
    """
    years = {1: 1990, 2: 1990, 3: 1990, 4: 1995, 5: 1995, 6: 1991, 7: None, 8: None}
    items = [
        (i, "B" if i in (4, 5) else "A", year, i != 8) for i, year in years.items()
    ]
    given(connection, "stg_items", "item_id title release_year is_listed", items)
    counts = [(2, 3), (3, 3), (4, 1), (5, 2), (8, 9)]  # nobody rated the others
    given(connection, "int_item_counts", COUNTS, counts)
    eligible = [(i,) for i in years if i != 5]
    twice = [*eligible, *eligible, (None,)]  # as a join may give them
    given(connection, "eligible_items", "item_id", twice)
    expect(fetched(connection, "marts/films", merges_films=merges), expected)


WEEK, DAY_ONE = 604800, 28 * 31556952
"""In seconds, the latter since 1970: the year 1998 begins."""


def test_catalogue_lists(connection: Connection) -> None:
    """Of eligible films only, each once, and by item where scores are equal.

    A rating of two weeks before the newest counts half. Item 40 is of a year to come,
    20 was rated years after its release, 30 and 50 are not rated.
    """
    films(connection)
    items: list[Row] = [
        (10, None, ["War"]),
        (20, 1990, ["War", "a:b/é", "War"]),
        (30, 1998, ["War"]),
        (40, 2099, []),
        (50, None, []),
        (60, 1998, ["War"]),
        (70, None, ["War"]),
    ]
    given(connection, "stg_items", "item_id release_year genres", items)
    weeks = [(10, 0), (10, 0), (10, 0), (20, 0), (20, 2), (40, 4), (60, 4), (70, 0)]
    ratings = [(item_id, DAY_ONE + week * WEEK) for item_id, week in weeks]
    given(connection, "int_history", "item_id rated_at", ratings)
    now = 1998 + 4 * WEEK / 31556952
    popular = ([10, 20, 40], [3.0, 2.0, 1.0])
    trending = ([40, 10, 20], [1.0, 0.75, 0.75])
    expected: dict[tuple[str, str | None], tuple[list[int], list[float]]] = {
        ("popular", None): popular,
        ("trending", None): trending,
        ("new", None): ([30, 40, 10], [now, now, 1998.0]),
        ("popular", "War"): ([10, 20, 30], [3.0, 2.0, 0.0]),
        ("trending", "War"): ([10, 20, 30], [0.75, 0.75, 0.0]),
        ("new", "War"): ([30, 10, 20], [now, 1998.0, 1990.9999]),
        ("popular", "a:b/é"): ([20], [2.0]),
        ("trending", "a:b/é"): ([20], [0.75]),
        ("new", "a:b/é"): ([20], [1990.9999]),
    }
    rows = [
        (kind, genre, item_id, score, rank)
        for (kind, genre), pairs in expected.items()
        for rank, (item_id, score) in enumerate(zip(*pairs, strict=True), start=1)
    ]
    columns = "kind genre item_id score rank"
    found = fetched(connection, "marts/catalogue_lists", columns, top_n=3)
    for row, wanted in zip(found, sorted(rows, key=repr), strict=True):
        assert row == tuple(nearly(value, 1e-6) for value in wanted)


def test_similar_items(connection: Connection) -> None:
    """By similarity, then by item; of other eligible films only, to any item."""
    films(connection)
    rows = [
        (10, 60, 0.9),
        (60, 10, 0.1),
        (10, 40, 0.1),
        (10, 30, 0.5),
        (10, 20, 0.5),
        (10, 50, 0.05),
        (20, 10, 0.5),
        (20, 70, 0.9),
        (10, 70, 0.9),
        (70, 10, 0.9),
        (70, 20, 0.8),
    ]
    given(connection, "int_item_neighbours", NEIGHBOURS, rows)
    given(connection, "stg_items", "item_id", [])
    given(connection, "int_item_counts", COUNTS, [])
    expect(
        fetched(connection, "marts/similar_items", top_n=3),
        [
            (10, 20, 0.5, 1),
            (10, 30, 0.5, 2),
            (10, 40, 0.1, 3),
            (20, 10, 0.5, 1),
            (60, 10, 0.1, 1),
            (70, 20, 0.8, 1),
        ],
    )


def test_items_that_share_no_user_are_similar_by_genres_and_year(
    connection: Connection,
) -> None:
    """Three quarters for genres in common, one for the same year; then the most rated.

    Item 60 may not be listed, 70 says nothing of itself, 80 is rated with 10.
    """
    items: list[Row] = [
        (10, ["Drama", "War"], 1990),
        (20, ["Drama"], 1990),
        (30, ["Drama"], 1990),
        (40, ["War"], 2000),
        (50, [], 1990),
        (60, ["Drama"], 1990),
        (70, [], None),
        (80, ["Comedy"], None),
    ]
    given(connection, "stg_items", "item_id genres release_year", items)
    given(connection, "films", FILMS, [(row[0], row[0], row[0] != 60) for row in items])
    given(connection, "int_item_counts", COUNTS, [(30, 5), (10, 2), (80, 2)])
    given(connection, "int_item_neighbours", NEIGHBOURS, [(10, 80, 0.3), (80, 10, 0.3)])
    found = fetched(connection, "marts/similar_items", top_n=3)
    expect(
        [row for row in found if row[0] != 30],
        [
            (10, 80, 0.3, 1),
            (20, 30, 1.0, 1),
            (20, 10, 0.625, 2),
            (20, 50, 0.25, 3),
            (40, 10, 0.5, 1),
            (50, 30, 0.25, 1),
            (50, 10, 0.25, 2),
            (50, 20, 0.25, 3),
            (60, 30, 1.0, 1),
            (60, 20, 1.0, 2),
            (60, 10, 0.625, 3),
            (80, 10, 0.3, 1),
        ],
    )


def test_popular_rankings(connection: Connection) -> None:
    """What a user has not rated, by the number of ratings, unrated items last."""
    films = [(i, i, True) for i in (10, 20, 30, 40)]
    given(connection, "films", FILMS, [*films, (60, 40, False)])
    counts = [(40, 1), (30, 3), (10, 3), (60, 9)]
    given(connection, "int_item_counts", COUNTS, counts)
    history = [(1, 10), (2, 10), (2, 20), (2, 30), (2, 40), (3, 60), (4, 30)]
    given(connection, "int_history", "user_id item_id", history)
    expect(
        fetched(connection, "marts/popular_rankings", user_ids=[1, 2, 3], top_n=3),
        [
            (1, 30, 3, 1),
            (1, 40, 1, 2),
            (1, 20, 0, 3),
            (3, 10, 3, 1),
            (3, 30, 3, 2),
            (3, 20, 0, 3),  # 40 was rated as 60
        ],
    )


def test_user_highlights(connection: Connection) -> None:
    """The two highest, among equals the newer, and the two last."""
    history = [
        (1, 10, 5.0, 4, 3),
        (1, 20, 5.0, 4, 2),
        (1, 30, 1.0, 4, 1),
        (1, 40, 4.5, 4, 0),
        (2, 10, 3.0, 1, 0),
        (3, 10, 3.0, 1, 0),
    ]
    columns = "user_id item_id rating n_history n_back"
    given(connection, "int_history", columns, history)
    expect(
        fetched(connection, "marts/user_highlights", user_ids=[1, 2], n=2),
        [
            (1, 10, 5.0, 4, 2, 4),
            (1, 20, 5.0, 4, 1, 3),
            (1, 30, 1.0, 4, 4, 2),
            (1, 40, 4.5, 4, 3, 1),
            (2, 10, 3.0, 1, 1, 1),
        ],
    )


# --- explanations --------------------------------------------------------------------


def explanations(
    connection: Connection, history: list[Row], near: list[Row], ranked: list[Row]
) -> list[Row]:
    """Explain rows of (user_id, rank, item_id)."""
    columns = "user_id item_id slow_weight is_liked is_disliked n_back"
    given(connection, "int_history", columns, history)
    films(connection)
    given(connection, "int_item_neighbours", NEIGHBOURS, near)
    given(connection, "ranked_items", "user_id rank item_id", ranked)
    return fetched(connection, "marts/explanations")


def test_explanations_speak_for_their_item(connection: Connection) -> None:
    """Similarity and weight count, and the share that an item has of its kin.

    10 and 20 are as like 50 as 30 is, but 10 is like 60 too, and 20 was not liked.
    """
    history: list[Row] = [
        (1, 10, 1.0, True, False, 0),
        (1, 20, 1.0, False, False, 1),
        (1, 30, 0.9, True, False, 2),
        (2, 40, 1.0, True, False, 0),
    ]
    near: list[Row] = [(item, 50, 0.3) for item in (10, 20, 30, 40)]
    near.append((10, 60, 0.4))
    expect(
        explanations(connection, history, near, [(1, 1, 60), (1, 2, 50), (2, 1, 50)]),
        [(1, 1, "10"), (1, 2, "30,10,20"), (2, 1, "40")],
    )


def test_an_item_is_seldom_repeated_within_twenty_entries(
    connection: Connection,
) -> None:
    """10 is more like all of them, so that it speaks first where it is named anew."""
    history: list[Row] = [(1, 10, 1.0, True, False, 0), (1, 20, 1.0, True, False, 1)]
    near: list[Row] = [(10, item, 0.3) for item in range(100, 121)]
    near += [(20, item, 0.2) for item in range(105, 121)]
    ranked: list[Row] = [(1, 1 + i, 100 + i) for i in range(21)]
    found = explanations(connection, history, near, ranked)
    reasons = {rank: why for _, rank, why in found}
    expected = ["10"] * 5 + ["20,10"] * 15 + ["10,20"]
    assert reasons == dict(enumerate(expected, start=1))


def test_an_item_without_an_explanation_has_a_row(connection: Connection) -> None:
    """The user rated no neighbour of it, or long ago, or disliked it."""
    history: list[Row] = [
        (1, 10, 0.1, True, False, 100),
        (1, 20, 1.0, False, True, 0),
        (1, 30, 1.0, True, False, 1),
    ]
    near: list[Row] = [(10, 50, 0.3), (20, 50, 0.3), (30, 60, 0.0)]
    expect(
        explanations(connection, history, near, [(1, 1, 50), (1, 2, 60), (1, 3, 70)]),
        [(1, 1, ""), (1, 2, ""), (1, 3, "")],
    )


def test_a_film_that_was_rated_twice_is_one_reason(connection: Connection) -> None:
    """As the id that stands for it, or else the other one."""
    history: list[Row] = [
        (1, 70, 1.0, True, False, 0),
        (1, 10, 0.5, True, False, 1),
        (1, 20, 0.1, True, False, 2),
        (2, 10, 1.0, False, True, 0),
        (2, 70, 0.9, True, False, 1),
    ]
    near: list[Row] = [(10, 50, 0.3), (20, 50, 0.3), (70, 50, 0.3)]
    expect(
        explanations(connection, history, near, [(1, 1, 50), (2, 1, 50)]),
        [(1, 1, "10,20"), (2, 1, "70")],
    )


# --- baselines -----------------------------------------------------------------------


def lists(connection: Connection, *user_ids: int) -> list[tuple[object, ...]]:
    """Return the baselines' lists, as (baseline, user_id, item_id, rank)."""
    rows = [(item, item, item != 60) for item in range(150)]
    given(connection, "films", FILMS, rows)
    return fetched(connection, "marts/baseline_lists", user_ids=list(user_ids))


def test_baselines_list_unseen_items(connection: Connection) -> None:
    """Popularity ranks by the number of ratings, item-kNN by summed similarities."""
    history = [(1, 10), (2, 20), (2, 30), (3, 10)]
    given(connection, "int_history", "user_id item_id", history)
    counts = [(10, 4), (20, 4), (30, 1), (40, 9), (50, 1), (60, 99)]
    given(connection, "int_item_counts", COUNTS, counts)
    near = {
        (10, 20): 0.4,
        (10, 30): 0.2,
        (20, 30): 0.1,
        (20, 40): 0.3,
        (30, 50): 0.1,
        (10, 60): 0.9,
    }
    pairs = [(a, b, n) for (a, b), n in near.items()]
    pairs += [(b, a, n) for (a, b), n in near.items()]
    given(connection, "int_item_neighbours", NEIGHBOURS, pairs)
    expect(
        lists(connection, 1, 2),
        [
            ("popularity", 1, 40, 1),
            ("popularity", 1, 20, 2),
            ("popularity", 1, 30, 3),
            ("popularity", 1, 50, 4),
            ("popularity", 2, 40, 1),
            ("popularity", 2, 10, 2),
            ("popularity", 2, 50, 3),
            ("item_knn", 1, 20, 1),
            ("item_knn", 1, 30, 2),
            ("item_knn", 2, 10, 1),  # 0.4 + 0.2
            ("item_knn", 2, 40, 2),
            ("item_knn", 2, 50, 3),
        ],
    )


def test_baselines_list_ten_and_break_ties_by_item(connection: Connection) -> None:
    items = range(2, 14)
    given(connection, "int_history", "user_id item_id", [(1, 1)])
    counts = [(item, 1) for item in (1, *items)]
    given(connection, "int_item_counts", COUNTS, counts)
    pairs = [(item, 1, 0.5) for item in reversed(items)]
    given(connection, "int_item_neighbours", NEIGHBOURS, pairs)
    expect(
        lists(connection, 1),
        [
            (name, 1, item, item - 1)
            for name in ("popularity", "item_knn")
            for item in range(2, 12)
        ],
    )
