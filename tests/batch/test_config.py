"""The batch's settings."""

from pathlib import Path

import pytest

from batch.config import ML_100K_URL, Settings
from lookup.settings import SettingError


def test_the_defaults_are_the_contracts() -> None:
    assert Settings.read({}) == Settings(
        raw=Path("data/raw"),
        url=ML_100K_URL,
        redis_url=None,
        tracking_uri="sqlite:///mlruns/mlflow.db",
        top_n=100,
    )


def test_the_environment_is_read_and_flags_win() -> None:
    environ = {
        "MOVIELENS_RAW": "/ml",
        "MOVIELENS_URL": "http://localhost/x.zip",
        "REDIS_URL": "redis://localhost:1/2",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "TOP_N": "7",
    }
    read = Settings.read(environ)
    assert (read.raw, read.url, read.top_n) == (
        Path("/ml"),
        environ["MOVIELENS_URL"],
        7,
    )
    assert (read.redis_url, read.tracking_uri) == (
        "redis://localhost:1/2",
        "http://mlflow:5000",
    )
    flagged = Settings.read(environ, raw="other.zip", top_n="3")
    assert (flagged.raw, flagged.top_n) == (Path("other.zip"), 3)


def test_empty_variables_count_as_unset() -> None:
    names = ("MOVIELENS_RAW", "MOVIELENS_URL", "REDIS_URL", "TOP_N")
    assert Settings.read(dict.fromkeys(names, "")) == Settings.read({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOP_N", "0"),
        ("TOP_N", "ten"),
        ("TOP_N", "-1"),
        ("TOP_N", "1.5"),
        ("REDIS_URL", "localhost:6379"),
        ("MLFLOW_TRACKING_URI", "nonsense"),
        ("MLFLOW_TRACKING_URI", "./mlruns"),
        ("MOVIELENS_URL", "ml-100k.zip"),
        ("MOVIELENS_URL", "ftp://host/ml-100k.zip"),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"{name}.*{value}.*expected"):
        Settings.read({name: value})
