import math

import numpy as np
import numpy.typing as npt
import pytest

from batch import warehouse
from tests.sql.given import Connection, Row, expect, fetched, given

ITEM_HISTORY = (
    "user_id item_id rating rated_at position n_history n_back position_share is_liked"
)


def test_item_features(connection: Connection) -> None:
    """Every item has a row, also one that was never rated; user 3 is unknown."""
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
    """Unknown shares and ages are null, not NaN."""
    given(connection, "stg_items", "item_id", [(10,)])
    given(connection, "stg_users", "user_id", [(1,)])
    history = [(1, 10, 5.0, 100, 1, 1, 0, 1.0, True)]
    given(connection, "int_history", ITEM_HISTORY, history)
    names = "item_id n_ratings female_share avg_age"
    got = fetched(connection, "marts/item_features", names)
    assert got == [(10, 1, None, None)]


def test_user_features(connection: Connection) -> None:
    """One rating is enough for a row; nothing is known about user 2."""
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


def draw(seed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Draw 32 bits as the SQL does."""
    seed = seed % 2**32
    mix = 569_420_461 * (seed ^ seed >> 16) % 2**32
    return 1_935_289_751 * (mix ^ mix >> 15) % 2**32


def films(connection: Connection, *item_ids: int) -> None:
    """Let each item be a film of its own that may be recommended."""
    rows: list[Row] = [(item, item, True) for item in item_ids]
    given(connection, "films", "item_id film_id is_eligible", rows)


def test_candidates_are_the_unseen_items(connection: Connection) -> None:
    """Held-out items are labelled with their rating; user 2 has seen all items.

    Users 1 and 3 have seen the film 10, each under one of its ids.
    """
    films(connection, 10, 20, 30)
    connection.execute("insert into films values (11, 10, false)")
    history = [(1, 11), (2, 10), (2, 11), (2, 20), (2, 30), (3, 10)]
    given(connection, "int_history", "user_id item_id", history)
    future = [(1, 20, 3.5), (3, 30, 1.0)]
    given(connection, "int_future", "user_id item_id rating", future)

    def candidates(user_ids: list[int], share: float) -> list[Row]:
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
    """Fixed arithmetic on the pair decides which are kept, evenly."""
    films(connection, *range(1, 2001))
    given(connection, "int_history", "user_id item_id", [(1, 1), (2, 1)])
    given(connection, "int_future", "user_id item_id rating", [(1, 2, 4.0)])

    def kept(share: float, *user_ids: int) -> set[Row]:
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


@pytest.mark.parametrize("step", [1, 7, 65_536])
def test_negatives_are_drawn_evenly_by_fixed_arithmetic(
    connection: Connection, step: int
) -> None:
    """No user, item or neighbour has more or fewer than chance gives."""
    share, user_ids = 0.25, [1 + step * n for n in range(500)]
    films(connection, *range(1, 1001))
    given(connection, "int_history", "user_id item_id", [])
    given(connection, "int_future", "user_id item_id rating", [])
    parameters = {"user_ids": user_ids, "negative_share": share}
    table = warehouse.fetch(connection, "marts/candidate_pairs", parameters)
    rows = np.searchsorted(user_ids, table["user_id"].to_numpy())
    kept = np.zeros((len(user_ids), 1000))
    kept[rows, table["item_id"].to_numpy() - 1] = 1
    users, items = np.meshgrid(np.array(user_ids), np.arange(1, 1001), indexing="ij")
    drawn = draw(1_540_483_477 * users + 668_265_263 * items)
    assert np.array_equal(kept, drawn < share * 2**32)
    for axis, n in ((0, 500), (1, 1000)):
        spread = kept.sum(axis).var() / (n * share * (1 - share))
        assert 0.8 < spread < 1.2
    for one, other in ((kept[1:], kept[:-1]), (kept[:, 1:], kept[:, :-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01
