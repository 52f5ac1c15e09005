import numpy as np
import pytest

from batch.evaluation.history_length import by_history_length


def test_both_ends_of_a_bucket_are_in_it_and_empty_ones_are_left_out() -> None:
    n_history = np.array([1, 5, 6, 20, 51, 200, 201, 9000])
    ndcg = {"model": np.arange(8) / 10, "popularity": np.zeros(8)}
    found = by_history_length(n_history, ndcg)
    assert list(found) == ["1-5", "6-20", "51-100", "101-200", "201+"]
    assert [bucket["n_users"] for bucket in found.values()] == [2, 2, 1, 1, 2]
    means = [bucket["model"] for bucket in found.values()]
    assert means == pytest.approx([0.05, 0.25, 0.4, 0.5, 0.65])
    assert all(bucket["popularity"] == 0 for bucket in found.values())
