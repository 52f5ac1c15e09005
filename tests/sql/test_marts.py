import math

import pytest

from batch import warehouse
from batch.features import item_models
from batch.features.candidates import FEATURES
from tests.sql.given import (
    Connection,
    Row,
    constant,
    expect,
    fetched,
    given,
    nearly,
    opened,  # noqa: F401 - the fixture `connection`
)

WEEK = 604_800
ITEM_HISTORY = (
    "user_id item_id rating rated_at position n_history n_back position_share is_liked"
)


def test_item_features(connection: Connection) -> None:
    """Every item has a row; of one that was never rated all but its year is unknown.

    User 3 is in no users file and counts all the same.
    """
    given(
        connection,
        "stg_items",
        "item_id release_year",
        [(10, 1995), (20, None), (30, 1980)],
    )
    given(
        connection,
        "stg_users",
        "user_id age gender",
        [(1, 20, "F"), (2, 40, "M")],
    )
    given(
        connection,
        "int_history",
        ITEM_HISTORY,
        [
            (1, 10, 5.0, 100, 1, 2, 1, 0.5, True),
            (1, 20, 3.0, 200, 2, 2, 0, 1.0, False),
            (2, 10, 2.0, 300, 1, 1, 0, 1.0, False),
            (3, 10, 3.5, 50, 1, 11, 10, 0.09, False),
        ],
    )
    names = "item_id release_year n_ratings avg_rating stddev_rating liked_share "
    expect(
        fetched(connection, "marts/item_features", names + "female_share avg_age"),
        [
            # variance: (25 + 4 + 12.25) / 3 - 3.5²
            (10, 1995, 3, 3.5, math.sqrt(1.5), 1 / 3, 0.5, 30.0),
            (20, None, 1, 3.0, 0.0, 0.0, 1.0, 20.0),
            (30, 1980, 0, None, None, None, None, None),
        ],
    )
    names = "item_id avg_position avg_position_share avg_n_back avg_n_history "
    expect(
        fetched(
            connection, "marts/item_features", names + "last_ten_share last_rated_at"
        ),
        [
            (10, 1.0, 1.59 / 3, 11 / 3, 14 / 3, 2 / 3, 300),
            (20, 2.0, 1.0, 0.0, 2.0, 1.0, 200),
            (30, None, None, None, None, None, None),
        ],
    )


def test_item_features_without_demographics(connection: Connection) -> None:
    """Whom nothing is known of has no share of women and no age, and not NaN."""
    given(connection, "stg_items", "item_id", [(10,)])
    given(connection, "stg_users", "user_id", [(1,)])
    history = [(1, 10, 5.0, 100, 1, 1, 0, 1.0, True)]
    given(connection, "int_history", ITEM_HISTORY, history)
    names = "item_id n_ratings female_share avg_age"
    got = fetched(connection, "marts/item_features", names)
    assert got == [(10, 1, None, None)]


def test_user_features(connection: Connection) -> None:
    """The last ten ratings are told apart; one rating is enough for a row.

    User 2 is in no users file.
    """
    given(
        connection,
        "item_features",
        "item_id release_year n_ratings avg_position_share",
        [(10, 1990, 5, 0.4), (20, None, 3, 0.2), (30, 2000, 1, 0.6)],
    )
    given(
        connection,
        "stg_users",
        "user_id age gender occupation",
        [(1, 25, "F", "artist"), (3, 25, "F", "artist")],
    )
    given(
        connection,
        "int_history",
        "user_id item_id rating rated_at n_history n_back is_liked",
        [
            (1, 10, 4.0, 1000, 3, 10, True),
            (1, 20, 2.0, 2000, 3, 9, False),
            (1, 30, 3.0, 2500, 3, 0, False),
            (2, 30, 5.0, 700, 1, 0, True),
        ],
    )
    names = "user_id n_ratings stddev_rating liked_share last_rated_at "
    about = "history_seconds last_ten_seconds age age_audience occupation_audience"
    expect(
        fetched(connection, "marts/user_features", names + about),
        [
            # variance: (16 + 4 + 9) / 3 - 3²
            (1, 3, math.sqrt(2 / 3), 1 / 3, 2500, 1500, 500, 25, "F1", "artist"),
            (2, 1, 0.0, 1.0, 700, 0, 0, None, None, None),
        ],
    )
    names = "user_id avg_release_year last_ten_avg_release_year avg_n_item_ratings "
    last_ten = "last_ten_avg_n_item_ratings last_ten_avg_position_share"
    expect(
        fetched(connection, "marts/user_features", names + last_ten),
        [(1, 1995.0, 2000.0, 3.0, 2.0, 0.4), (2, 2000.0, 2000.0, 1.0, 1.0, 0.6)],
    )


def test_candidates_are_the_unseen_items(connection: Connection) -> None:
    """A held-out item is one, labelled with its rating; who saw all has none."""
    given(connection, "stg_items", "item_id", [(10,), (20,), (30,)])
    history = [(1, 10), (2, 10), (2, 20), (2, 30), (3, 10)]
    given(connection, "int_history", "user_id item_id", history)
    future = [(1, 20, 3.5), (3, 30, 1.0)]
    given(connection, "int_future", "user_id item_id rating", future)

    def candidates(user_ids: list[int], share: float) -> list[tuple[object, ...]]:
        return fetched(
            connection,
            "marts/candidate_pairs",
            user_ids=user_ids,
            negative_share=share,
        )

    expect(candidates([1, 2], 1.0), [(1, 20, 3.5), (1, 30, 0.0)])
    expect(candidates([1, 2], 0.0), [(1, 20, 3.5)])
    expect(candidates([3], 1.0), [(3, 20, 0.0), (3, 30, 1.0)])
    expect(candidates([], 1.0), [])


def test_a_smaller_sample_of_negatives_is_part_of_a_larger(
    connection: Connection,
) -> None:
    """Which are kept depends on the pair alone, and the share is as asked for."""
    given(connection, "stg_items", "item_id", [(i,) for i in range(1, 2001)])
    given(connection, "int_history", "user_id item_id", [(1, 1), (2, 1)])
    given(connection, "int_future", "user_id item_id rating", [(1, 2, 4.0)])

    def kept(share: float, *user_ids: int) -> set[tuple[object, ...]]:
        rows = fetched(
            connection,
            "marts/candidate_pairs",
            user_ids=list(user_ids),
            negative_share=share,
        )
        return set(rows)

    tenth, half = kept(0.1, 1, 2), kept(0.5, 1, 2)
    assert tenth < half
    assert 0.08 < len(tenth) / 4000 < 0.12
    assert 0.47 < len(half) / 4000 < 0.53
    first, second = kept(0.1, 1), kept(0.1, 2)
    assert first | second == tenth
    items = {item for _, item, _ in first}
    assert len(items & {item for _, item, _ in second}) < len(items) / 2
    assert (1, 2, 4.0) in tenth


USER = {
    "user_n_ratings": 2.0,
    "user_stddev_rating": 0.5,
    "user_liked_share": 0.25,
    "user_history_seconds": 1000.0,
    "user_last_ten_seconds": 500.0,
    "user_avg_release_year": 1990.0,
    "user_avg_n_item_ratings": 3.0,
    "user_last_ten_avg_n_item_ratings": 2.0,
    "user_last_ten_avg_position_share": 0.4,
}
KNOWN = USER | {
    "item_n_ratings": 8.0,
    "item_avg_rating": 3.5,
    "item_stddev_rating": 1.25,
    "item_liked_share": 0.75,
    "item_avg_position": 7.0,
    "item_avg_position_share": 0.7,
    "item_avg_n_back": 2.5,
    "item_last_ten_share": 0.125,
    "item_female_share": 0.375,
    "item_release_year": 2000.0,
    "item_n_until": 6.0,
    "item_n_last_weeks": 4.0,
    "seconds_since_rated": 900.0,
    "release_year_gap": 10.0,
    "last_ten_release_year_gap": 5.0,
    "position_share_gap": 0.3,
    "position_gap": 5.0,
    "n_history_gap": 10.0,
    "age_gap": 5.0,
    "age_audience_lift": 1.5,
    "occupation_audience_lift": 0.75,
    # of Action and Drama the user knows Action only
    "genre_share": 0.25,
    "max_genre_share": 0.5,
    "recent_genre_share": 0.02,
    "liked_genre_share": 0.125,
    "genre_liking": 0.1,
    "genre_lift": 1.0,
    # item 10 was liked one rating ago, item 20 disliked at last
    "similarity": 0.6,
    "slow_similarity": 0.5 * 0.98 + 0.1,
    "recent_similarity": 0.5 * 0.9 + 0.1,
    "max_similarity": 0.5,
    "liked_similarity": 0.25,
    "disliked_similarity": 0.1,
    "next_share": 0.2 * 0.9 + 0.3,
    "next_similarity": 0.1 * 0.8 + 0.2,
    "slow_next_similarity": 0.1 * 0.98 + 0.2,
    "max_next_similarity": 0.2,
    "previous_similarity": 0.05 * 0.8 + 0.15,
    "slow_previous_similarity": 0.05 * 0.98 + 0.15,
    "session_similarity": 0.4 * 0.9 + 0.1,
    "ease_score": 0.25,
    "slow_ease_score": 0.5,
    "recent_ease_score": 0.75,
    "liked_ease_score": -0.25,
    "near_score": 1.5,
    "far_score": 2.5,
    "soon_score": -3.5,
}
# by column: of the users 1 and 2
USERS: dict[str, tuple[object, object]] = {
    "user_id": (1, 2),
    "n_ratings": (2, 9),
    "stddev_rating": (0.5, 1.5),
    "liked_share": (0.25, 1.0),
    "last_rated_at": (10 * WEEK + 100, 9 * WEEK),
    "history_seconds": (1000, 0),
    "last_ten_seconds": (500, 0),
    "avg_release_year": (1990.0, 1900.0),
    "last_ten_avg_release_year": (1995.0, 1900.0),
    "avg_n_item_ratings": (3.0, 1.0),
    "last_ten_avg_n_item_ratings": (2.0, 1.0),
    "last_ten_avg_position_share": (0.4, 0.1),
    "age": (25, 99),
    "age_audience": ("F1", "M6"),
    "occupation_audience": ("artist", "writer"),
}
# by column: of the items 30 and 40
ITEMS: dict[str, tuple[object, object]] = {
    "item_id": (30, 40),
    "release_year": (2000, None),
    "n_ratings": (8, 0),
    "avg_rating": (3.5, None),
    "stddev_rating": (1.25, None),
    "liked_share": (0.75, None),
    "avg_position": (7.0, None),
    "avg_position_share": (0.7, None),
    "avg_n_back": (2.5, None),
    "avg_n_history": (12.0, None),
    "last_ten_share": (0.125, None),
    "last_rated_at": (10 * WEEK - 800, None),
    "female_share": (0.375, None),
    "avg_age": (30.0, None),
}
UNKNOWN = dict.fromkeys(FEATURES) | USER | {"item_n_ratings": 0.0}


@pytest.fixture
def described(connection: Connection) -> Connection:
    """Give what is known of user 1 and of item 30, and nothing of item 40."""
    given(
        connection, "user_features", " ".join(USERS), zip(*USERS.values(), strict=True)
    )
    given(
        connection, "item_features", " ".join(ITEMS), zip(*ITEMS.values(), strict=True)
    )
    items = [(10, ["War"]), (20, ["War"]), (30, ["Action", "Drama"]), (40, [])]
    given(connection, "stg_items", "item_id genres", items)
    given(
        connection,
        "int_history",
        "user_id item_id n_back slow_weight weight fast_weight is_liked is_disliked",
        [
            (1, 10, 1, 0.98, 0.9, 0.8, True, False),
            (1, 20, 0, 1.0, 1.0, 1.0, False, True),
            (2, 20, 0, 1.0, 1.0, 1.0, True, False),
        ],
    )
    given(
        connection,
        "int_item_neighbours",
        "item_id other_item_id similarity liked_similarity",
        [(10, 30, 0.5, 0.25), (20, 30, 0.1, 0.05), (30, 10, 0.9, 0.9)],
    )
    given(
        connection,
        "int_item_sequences",
        "item_id other_item_id next_share next_similarity previous_similarity "
        "session_similarity",
        [
            (10, 30, 0.2, 0.1, 0.05, 0.4),
            (20, 30, 0.3, 0.2, 0.15, 0.1),
            (30, 10, 0.9, 0.9, 0.9, 0.9),
        ],
    )
    given(
        connection,
        "int_user_genres",
        "user_id genre history_share recent_share liked_share avg_liking history_lift",
        [
            (1, "Action", 0.5, 0.04, 0.25, 0.1, 2.0),
            (1, "War", 0.9, 0.9, 0.9, 0.9, 9.0),
            (2, "Drama", 0.9, 0.9, 0.9, 0.9, 9.0),
        ],
    )
    given(
        connection,
        "int_item_weeks",
        "item_id week n_until n_last_weeks",
        [(30, 10, 6, 4), (30, 9, 5, 5), (30, 11, 8, 8)],
    )
    given(
        connection,
        "int_item_audiences",
        "item_id audience lift",
        [(30, "F1", 1.5), (30, "artist", 0.75), (30, "M1", 9.0), (10, "F1", 9.0)],
    )
    # of item 40 the linear models know nothing
    known: list[tuple[object, ...]] = [(2, 30, *[9.0] * 7), (1, 10, *[9.0] * 7)]
    known.append((1, 30, 0.25, 0.5, 0.75, -0.25, 1.5, 2.5, -3.5))
    names = " ".join(item_models.SCORES)
    given(connection, "linear_scores", f"user_id item_id {names}", known)
    return connection


def test_pair_features(described: Connection) -> None:
    """All that is known of a pair is in its row, and the unknown is null."""
    pairs = [(1, 30, 4.0), (1, 40, 0.0)]
    given(described, "candidate_pairs", "user_id item_id label", pairs)
    rows = warehouse.fetch(described, "marts/pair_features", {}).to_pylist()
    by_item = {row.pop("item_id"): row for row in rows}
    assert list(by_item[30]) == ["user_id", "label", *FEATURES]
    for item_id, label, values in ((30, 4.0, KNOWN), (40, 0.0, UNKNOWN)):
        wanted = {"user_id": 1, "label": label} | values
        assert by_item[item_id] == {n: nearly(v, 1e-6) for n, v in wanted.items()}


def test_pair_features_are_of_the_candidates_alone(described: Connection) -> None:
    """Users and items that are no candidate's make no row, and none makes two."""
    given(described, "candidate_pairs", "user_id item_id label", [(2, 30, 0.0)])
    names = "user_id item_id label similarity genre_lift"
    rows = fetched(described, "marts/pair_features", names)
    assert rows == [(2, 30, 0.0, pytest.approx(0.1), pytest.approx(4.5))]


def test_sequences_reach_back_only_so_far(described: Connection) -> None:
    """A rating too long ago has no say in what comes next, but in what is similar."""
    n = constant("marts/pair_features", r"history\.n_back < (\d+)")
    given(
        described,
        "int_history",
        "user_id item_id n_back slow_weight weight fast_weight is_liked is_disliked",
        [
            (1, 10, n, 0.5, 0.5, 0.5, True, False),
            (1, 20, n - 1, 0.5, 0.5, 0.5, True, False),
        ],
    )
    given(described, "candidate_pairs", "user_id item_id label", [(1, 30, 0.0)])
    rows = fetched(described, "marts/pair_features", "similarity next_share")
    assert rows == [(pytest.approx(0.6), pytest.approx(0.15))]


def test_states_are_of_what_linear_models_know(connection: Connection) -> None:
    """In ten-thousandths: all alike, fading, and what was liked alone, fading too."""
    given(connection, "int_modelled_items", "item_id n_ratings", [(10, 5), (20, 5)])
    given(
        connection,
        "int_history",
        "user_id item_id slow_weight weight soon_weight is_liked",
        [
            (1, 10, 0.9604, 0.81, 0.25, True),
            (1, 30, 0.98, 0.9, 0.5, True),
            (1, 20, 1.0, 1.0, 1.0, False),
            (2, 20, 0.0001, 0.0, 0.0, True),
            (3, 20, 1.0, 1.0, 1.0, True),
        ],
    )
    expect(
        fetched(connection, "marts/user_states", user_ids=[2, 1]),
        [
            # whole, slow, recent, soon, liked
            (1, 10, 10_000, 9604, 8100, 2500, 9604),
            (1, 20, 10_000, 10_000, 10_000, 10_000, 0),
            (2, 20, 10_000, 1, 0, 0, 1),
        ],
    )
    assert fetched(connection, "marts/user_states", user_ids=[]) == []


def test_popular_items(connection: Connection) -> None:
    """The most rated come first, of equals the lower item_id."""
    counts = [(40, 1), (30, 3), (20, 5), (10, 3)]
    given(connection, "int_item_counts", "item_id n_ratings", counts)
    popular = fetched(connection, "marts/popular_items", top_n=3)
    expect(popular, [(20, 5, 1), (10, 3, 2), (30, 3, 3)])


NEIGHBOURS = "item_id other_item_id similarity"


def test_similar_items(connection: Connection) -> None:
    """The most alike come first, of equals the lower item_id; each has its own list."""
    rows = [(10, 40, 0.1), (10, 30, 0.5), (10, 20, 0.5), (10, 50, 0.05), (20, 10, 0.5)]
    given(connection, "int_item_neighbours", NEIGHBOURS, rows)
    expect(
        fetched(connection, "marts/similar_items", top_n=3),
        [(10, 20, 0.5, 1), (10, 30, 0.5, 2), (10, 40, 0.1, 3), (20, 10, 0.5, 1)],
    )


def test_user_highlights(connection: Connection) -> None:
    """The two highest, of equals the newer, and the two last; others' are left out."""
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


def reasons(connection: Connection, *places: tuple[int, int, int]) -> list[Row]:
    """Explain places of lists, given as (user_id, rank, item_id)."""
    given(connection, "ranked_items", "user_id rank item_id", places)
    return fetched(connection, "marts/explanations")


REASONED = "user_id item_id weight is_disliked"


def test_reasons_are_the_greatest_terms_of_recent_similarity(
    connection: Connection,
) -> None:
    """Similarity times weight: 0.3 × 1 before 0.32 × 0.9; of equals the lower id."""
    history = [
        (1, 10, 1.0, False),
        (1, 20, 0.9, False),
        (1, 30, 0.5, False),
        (1, 40, 0.5, False),
        (2, 40, 1.0, False),
    ]
    given(connection, "int_history", REASONED, history)
    near = [(10, 50, 0.3), (20, 50, 0.32), (30, 50, 0.4), (40, 50, 0.4), (10, 60, 0.1)]
    given(connection, "int_item_neighbours", NEIGHBOURS, near)
    expect(
        reasons(connection, (1, 1, 60), (1, 2, 50), (2, 1, 50)),
        [(1, 1, "10"), (1, 2, "10,20,30"), (2, 1, "40")],
    )


def test_what_has_no_reason_has_a_place_all_the_same(connection: Connection) -> None:
    """Nothing near it was rated, or it is forgotten, or was disliked."""
    history = [(1, 10, 0.0, False), (1, 20, 1.0, True), (1, 30, 1.0, False)]
    given(connection, "int_history", REASONED, history)
    near = [(10, 50, 0.3), (20, 50, 0.3), (30, 60, 0.0)]
    given(connection, "int_item_neighbours", NEIGHBOURS, near)
    expect(
        reasons(connection, (1, 1, 50), (1, 2, 60), (1, 3, 70)),
        [(1, 1, ""), (1, 2, ""), (1, 3, "")],
    )


COUNTS = "item_id n_ratings"
NEIGHBOURS = "item_id other_item_id similarity"


def lists(connection: Connection, *user_ids: int) -> list[tuple[object, ...]]:
    """Return the baselines' lists, as (baseline, user_id, item_id, rank)."""
    return fetched(connection, "marts/baseline_lists", user_ids=list(user_ids))


def test_baselines_list_unseen_items(connection: Connection) -> None:
    """Popularity by the number of ratings, item-kNN by the sum of similarities."""
    history = [(1, 10), (2, 20), (2, 30), (3, 10)]
    given(connection, "int_history", "user_id item_id", history)
    counts = [(10, 4), (20, 4), (30, 1), (40, 9), (50, 1)]
    given(connection, "int_item_counts", COUNTS, counts)
    near = {(10, 20): 0.4, (10, 30): 0.2, (20, 30): 0.1, (20, 40): 0.3, (30, 50): 0.1}
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
    """Of twelve equal items the ten with the lowest item_id are listed, in order."""
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


def test_item_knn_counts_the_nearest_hundred(connection: Connection) -> None:
    """Of 101 equal neighbours of an item the one with the highest id has no say."""
    given(connection, "int_history", "user_id item_id", [(1, 101), (2, 102)])
    counts = [(item, 1) for item in range(1, 103)]
    given(connection, "int_item_counts", COUNTS, counts)
    pairs = [(1, item, 0.5) for item in range(2, 103)]
    given(connection, "int_item_neighbours", NEIGHBOURS, pairs)
    by_knn = [row for row in lists(connection, 1, 2) if row[0] == "item_knn"]
    expect(by_knn, [("item_knn", 1, 1, 1)])
