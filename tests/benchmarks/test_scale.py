from pathlib import Path

import pytest

from tests.benchmarks import scale


def test_a_million_pairs_are_what_is_compared() -> None:
    """By hand: two million pairs in three seconds with 400 MB."""
    seconds = dict.fromkeys(scale.STAGES, 3.0)
    result = {"n_users": 2, "n_items": 3, "n_pairs": 2_000_000, "seconds": seconds}
    measured = scale.summary(result | {"top_n": 9}, peak_bytes=400_000_000)
    assert measured["score_seconds_per_million_pairs"] == 1.5
    assert measured["peak_bytes_per_million_pairs"] == 200_000_000
    assert scale.columns(measured)[-3:] == ("400", "1.50", "200000")


def test_a_batch_that_fails_is_no_measurement(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "ratings.csv").write_text("")
    with pytest.raises(RuntimeError, match="ended with 1"):
        scale.run(tmp_path / "raw", tmp_path)
