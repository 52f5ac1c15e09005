"""The names of the features, by family, in the order in which the model takes them.

`sql/marts/pair_features.sql` computes them.
"""

from collections.abc import Sequence

from batch.errors import BatchError

USER = (
    "user_n_ratings",
    "user_stddev_rating",
    "user_liked_share",
    "user_history_seconds",
    "user_last_ten_seconds",
    "user_avg_release_year",
    "user_avg_n_item_ratings",
    "user_last_ten_avg_n_item_ratings",
    "user_last_ten_avg_position_share",
)
ITEM = (
    "item_n_ratings",
    "item_avg_rating",
    "item_stddev_rating",
    "item_liked_share",
    "item_avg_position",
    "item_avg_position_share",
    "item_avg_n_back",
    "item_last_ten_share",
    "item_female_share",
    "item_release_year",
)
TREND = ("item_n_until", "item_n_last_weeks", "seconds_since_rated")
FIT = (
    "release_year_gap",
    "last_ten_release_year_gap",
    "position_share_gap",
    "position_gap",
    "n_history_gap",
)
AUDIENCE = ("age_gap", "age_audience_lift", "occupation_audience_lift")
GENRE = (
    "genre_share",
    "max_genre_share",
    "recent_genre_share",
    "liked_genre_share",
    "genre_liking",
    "genre_lift",
)
SEQUENCE = (
    "next_share",
    "next_similarity",
    "slow_next_similarity",
    "max_next_similarity",
    "previous_similarity",
    "slow_previous_similarity",
    "session_similarity",
)
FEATURES = USER + ITEM + TREND + FIT + AUDIENCE + GENRE + SEQUENCE

ORDER = (
    "user_history_seconds",
    "user_last_ten_seconds",
    "user_last_ten_avg_n_item_ratings",
    "user_last_ten_avg_position_share",
    "item_avg_position",
    "item_avg_position_share",
    "item_avg_n_back",
    "item_last_ten_share",
    "last_ten_release_year_gap",
    "position_share_gap",
    "position_gap",
    "recent_genre_share",
    *SEQUENCE,
)
"""Features that depend on the order of a user's ratings. Where times do not give it, a
hash does: its order is similar for all users, and a model would learn it."""

UNORDERED = tuple(name for name in FEATURES if name not in ORDER)


def require(names: Sequence[str], available: Sequence[str] = FEATURES) -> None:
    """Raise an error unless all features of a model are available, in any order.

    Raises:
        BatchError: names the missing features.
    """
    missing = [name for name in names if name not in available]
    if missing:
        raise BatchError(
            f"sql/marts/pair_features.sql gives no {', '.join(missing)}, which the "
            "model was trained on"
        )
