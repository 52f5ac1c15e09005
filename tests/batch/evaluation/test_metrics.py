import math
from dataclasses import astuple

import pytest

from batch.evaluation.metrics import measure, ndcg

SECOND = 1 / math.log2(3)
THIRD = 1 / math.log2(4)
TENTH = 1 / math.log2(11)


@pytest.mark.parametrize(
    ("hits", "n_relevant", "expected"),
    [
        ([True], 1, 1.0),
        ([False, True], 1, 0.6309297535714574),
        ([False, False, True], 1, 0.5),
        ([True, False, True], 2, (1 + THIRD) / (1 + SECOND)),
        ([True], 2, 1 / (1 + SECOND)),
        ([False] * 10, 3, 0.0),
        ([], 3, 0.0),
        # The ideal ranking is cut at ten.
        ([True] * 10, 25, 1.0),
        # The list is cut at ten.
        ([False] * 9 + [True], 1, TENTH),
        ([False] * 10 + [True], 1, 0.0),
    ],
)
def test_ndcg(hits: list[bool], n_relevant: int, expected: float) -> None:
    assert ndcg(hits, n_relevant) == pytest.approx(expected)


def test_metrics_of_three_users() -> None:
    """Means are over the users with a relevant item.

    User 1 has hits at ranks 1 and 3 and liked only the latter. User 2 misses with a
    short list and liked nothing. User 3 has no hold-out, user 4 no list.
    """
    lists = {1: [10, 20, 30], 2: [40], 3: [50]}
    held_out = {1: {10: 3.5, 30: 4.0}, 2: {10: 1.0}, 3: {}, 4: {10: 5.0}}
    measured = measure(lists, held_out, n_items=10)
    assert measured.ndcg_at_10 == pytest.approx((1 + THIRD) / (1 + SECOND) / 3)
    assert measured.recall_at_10 == pytest.approx((2 / 2 + 0 + 0) / 3)
    assert measured.hit_rate_at_10 == pytest.approx(1 / 3)
    assert measured.coverage_at_10 == 0.5
    assert measured.ndcg_at_10_liked == pytest.approx((THIRD + 0) / 2)


@pytest.mark.parametrize(
    ("held_out", "expected"),
    [
        # Items 10 and 11 are held out: the list is cut at ten.
        ({10: 1.0, 11: 1.0}, (TENTH / (1 + SECOND), 0.5, 1.0, 0.5, 0.0)),
        # Recall is of all held-out items, though NDCG could not be better.
        (dict.fromkeys(range(1, 21), 4.0), (1.0, 0.5, 1.0, 0.5, 1.0)),
        ({}, (0.0, 0.0, 0.0, 0.5, 0.0)),
    ],
)
def test_metrics_of_a_list_of_all_items(
    held_out: dict[int, float], expected: tuple[float, ...]
) -> None:
    found = measure({1: list(range(1, 21))}, {1: held_out}, n_items=20)
    assert astuple(found) == pytest.approx(expected)
