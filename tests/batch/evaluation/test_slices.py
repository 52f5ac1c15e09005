import pytest

from batch.evaluation import slices

LISTS = {
    "model": {1: [10, 20], 2: [30], 3: []},
    "popularity": {1: [*range(100, 110), 10], 2: [10, 40], 3: [10]},
}
HELD_OUT = {1: {10: 5.0, 30: 3.0}, 2: {30: 4.0, 40: 1.0}, 3: {10: 2.0}}


def test_recall_by_popularity_of_the_item() -> None:
    """10 has half of the ratings, 20 and 30 a quarter each, and 40 none."""
    hits = slices.Hits(LISTS, HELD_OUT)
    found = slices.by_popularity(hits, {40: 0, 30: 2, 20: 2, 10: 4})
    assert found == {
        # in the list of user 1; not those of 3, and the eleventh does not count
        "1-1": {"n_held_out": 2, "model": 0.5, "popularity": 0.5},
        "2-2": {"n_held_out": 0, "model": 0, "popularity": 0},
        "3-3": {"n_held_out": 2, "model": 0.5, "popularity": 0},
    }


def test_recall_by_genre() -> None:
    """The genre with the most held-out ratings comes first, the others by name."""
    genres = {"Rare": [7], "Also rare": [8], "Drama": [30, 40], "Comedy": [10]}
    found = slices.by_genre(slices.Hits(LISTS, HELD_OUT), genres)
    assert list(found) == ["Drama", "Comedy", "Also rare", "Rare"]
    assert found["Drama"]["n_held_out"] == 3
    assert found["Drama"]["model"] == pytest.approx(1 / 3)
    assert found["Drama"]["popularity"] == pytest.approx(1 / 3)


def test_nothing_held_out() -> None:
    assert slices.by_popularity(slices.Hits({"model": {}}, {}), {}) == {}
