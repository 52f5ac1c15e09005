from dataclasses import astuple

import numpy as np
import pytest

from batch.evaluation.popularity_bias import gini, measure


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([5, 5, 5, 5], 0.0),
        # one of n has all: (n - 1) / n
        ([0, 0, 0, 12], 0.75),
        # the pairs' differences sum to 1 · 6 + 2 · 4 + 3 · 2 = 20; 20 / (2 · 4² · 2.5)
        ([1, 2, 3, 4], 0.25),
        ([4, 1, 3, 2], 0.25),
        ([7], 0.0),
        ([0, 0], 0.0),
        ([], 0.0),
    ],
)
def test_gini(counts: list[int], expected: float) -> None:
    assert gini(np.array(counts, np.int64)) == pytest.approx(expected)


def test_measure() -> None:
    """Items 1, 1, 2 and 9 of four are recommended; item 9 has no ratings.

    The mean is (8 + 8 + 4 + 0) / 4. The counts 0, 1, 1, 2 differ by 12 in all ordered
    pairs: 12 / (2 · 4² · 1).
    """
    found = measure([[1, 2], [1], [9], []], {1: 8, 2: 4, 3: 1}, n_items=4)
    assert astuple(found) == pytest.approx((5.0, 12 / 32))
