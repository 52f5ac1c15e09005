"""The real MovieLens-100K, which may not be part of this repository."""

import os
from pathlib import Path

import pytest

NAMED = os.environ.get("MOVIELENS_TEST_RAW")
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "ml-100k"


def ml_100k() -> Path:
    """Give its folder, or skip the test and say so.

    A MOVIELENS_TEST_RAW that leads nowhere is a failure: somebody wanted the test.
    """
    folder = Path(NAMED or BESIDE).resolve()
    if not (folder / "u.data").exists():
        if NAMED:
            pytest.fail(f"MOVIELENS_TEST_RAW={NAMED} has no u.data")
        pytest.skip(
            f"NOT TESTED ON REAL DATA: no u.data in {folder}; set MOVIELENS_TEST_RAW "
            "to the folder of MovieLens-100K"
        )
    return folder
