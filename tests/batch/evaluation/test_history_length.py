import numpy as np
import pytest

from batch.evaluation.history_length import by_history_length


def test_users_are_put_where_their_history_ends() -> None:
    """Both ends of a bucket are in it; one without users is left out."""
    n_history = np.array([1, 5, 6, 20, 51, 200, 201, 9000])
    ndcg = {"model": np.arange(8) / 10, "popularity": np.zeros(8)}
    found = by_history_length(n_history, ndcg)
    assert {name: bucket["n_users"] for name, bucket in found.items()} == {
        "1-5": 2,
        "6-20": 2,
        "51-100": 1,
        "101-200": 1,
        "201+": 2,
    }
    assert list(found) == ["1-5", "6-20", "51-100", "101-200", "201+"]
    assert [bucket["model"] for bucket in found.values()] == pytest.approx(
        [0.05, 0.25, 0.4, 0.5, 0.65]
    )
    assert all(bucket["popularity"] == 0 for bucket in found.values())


def test_no_users_fill_no_buckets() -> None:
    assert by_history_length(np.array([], np.int64), {"model": np.array([])}) == {}
