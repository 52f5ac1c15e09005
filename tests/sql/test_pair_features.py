import pytest

from batch import warehouse
from batch.features.columns import FEATURES
from tests.sql.given import Connection, constant, fetched, given, nearly

WEEK = 604_800
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
    # of Action and Drama the user has rated Action only
    "genre_share": 0.25,
    "max_genre_share": 0.5,
    "recent_genre_share": 0.02,
    "liked_genre_share": 0.125,
    "genre_liking": 0.1,
    "genre_lift": 1.0,
    # item 10 came one rating before item 20, the last
    "next_share": 0.2 * 0.9 + 0.3,
    "next_similarity": 0.1 * 0.8 + 0.2,
    "slow_next_similarity": 0.1 * 0.98 + 0.2,
    "max_next_similarity": 0.2,
    "previous_similarity": 0.05 * 0.8 + 0.15,
    "slow_previous_similarity": 0.05 * 0.98 + 0.15,
    "session_similarity": 0.4 * 0.9 + 0.1,
}
# column → the values of the users 1 and 2
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
# column → the values of the items 30 and 40
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
    """Give features of user 1 and item 30; nothing is known about item 40."""
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
        "user_id item_id n_back slow_weight weight fast_weight",
        [
            (1, 10, 1, 0.98, 0.9, 0.8),
            (1, 20, 0, 1.0, 1.0, 1.0),
            (2, 20, 0, 1.0, 1.0, 1.0),
        ],
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
    return connection


def test_pair_features(described: Connection) -> None:
    """What is unknown is null."""
    pairs = [(1, 30, 4.0), (1, 40, 0.0)]
    given(described, "candidate_pairs", "user_id item_id label", pairs)
    rows = warehouse.fetch(described, "marts/pair_features", {}).to_pylist()
    by_item = {row.pop("item_id"): row for row in rows}
    assert list(by_item[30]) == ["user_id", "label", *FEATURES]
    for item_id, label, values in ((30, 4.0, KNOWN), (40, 0.0, UNKNOWN)):
        wanted = {"user_id": 1, "label": label} | values
        assert by_item[item_id] == {n: nearly(v, 1e-6) for n, v in wanted.items()}


def test_pair_features_are_of_the_candidates_alone(described: Connection) -> None:
    given(described, "candidate_pairs", "user_id item_id label", [(2, 30, 0.0)])
    names = "user_id item_id label next_share genre_lift"
    rows = fetched(described, "marts/pair_features", names)
    assert rows == [(2, 30, 0.0, pytest.approx(0.3), pytest.approx(4.5))]


def test_sequences_reach_back_only_so_far(described: Connection) -> None:
    n = constant("marts/pair_features", r"history\.n_back < (\d+)")
    given(
        described,
        "int_history",
        "user_id item_id n_back slow_weight weight fast_weight",
        [
            (1, 10, n, 0.5, 0.5, 0.5),
            (1, 20, n - 1, 0.5, 0.5, 0.5),
        ],
    )
    given(described, "candidate_pairs", "user_id item_id label", [(1, 30, 0.0)])
    rows = fetched(described, "marts/pair_features", "next_share")
    assert rows == [(pytest.approx(0.15),)]
