"""The batch's settings."""

import re
from pathlib import Path

import pytest

from batch.settings import ML_100K_URL, RatingScale, Settings, mlflow_credentials
from lookup.shared.env import SettingError


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
        "MAX_SHRINK": ".5",
        "REDIS_PREFIX": "shop",
        "KEEP_GENERATIONS": "5",
        "MODEL_NAME": "Shop 2.0",
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
    assert (read.is_raw_named, read.max_shrink) == (True, 0.5)
    assert (read.redis_prefix, read.keep_generations) == ("shop", 5)
    assert read.model_name == "Shop 2.0"
    flagged = Settings.read(environ, raw="other.zip", top_n="3")
    assert (flagged.raw, flagged.top_n) == (Path("other.zip"), 3)


def test_scales_are_read() -> None:
    environ = {"RATING_SCALE": "0-10", "LIKED_FROM": "3.5", "DISLIKED_TO": "1"}
    assert Settings.read(environ).scale == RatingScale(0, 10, 3.5, 1)


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("1GB", 10**9),
        ("900MiB", 900 * 2**20),
        ("1.5 gib", 1536 * 2**20),
        ("2TB", 2 * 10**12),
    ],
)
def test_the_memory_and_threads_of_duckdb_are_read(text: str, n_bytes: int) -> None:
    read = Settings.read({"DUCKDB_MEMORY": text, "DUCKDB_THREADS": "3"})
    assert (read.duckdb_memory, read.duckdb_threads) == (n_bytes, 3)


def test_empty_variables_count_as_unset() -> None:
    names = ["MOVIELENS_RAW", "MOVIELENS_URL", "REDIS_URL", "TOP_N", "MAX_SHRINK"]
    names += ["DUCKDB_MEMORY", "DUCKDB_THREADS", "REDIS_PREFIX", "KEEP_GENERATIONS"]
    names += ["MODEL_NAME"]
    assert Settings.read(dict.fromkeys(names, "")) == Settings.read({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL_NAME", "a/b"),
        ("MODEL_NAME", "it's"),
        ("MODEL_NAME", " "),
        ("MODEL_NAME", "x" * 101),
        ("RATING_SCALE", "5"),
        ("RATING_SCALE", "5-0.5"),
        ("RATING_SCALE", "-1-5"),
        ("LIKED_FROM", "5.5"),
        ("LIKED_FROM", "four"),
        ("DISLIKED_TO", "4"),
        ("TOP_N", "0"),
        ("TOP_N", "ten"),
        ("TOP_N", "-1"),
        ("TOP_N", "1.5"),
        ("DUCKDB_MEMORY", "80%"),
        ("DUCKDB_MEMORY", "1000"),
        ("DUCKDB_MEMORY", "-1GB"),
        ("DUCKDB_MEMORY", "1MB"),
        ("DUCKDB_THREADS", "0"),
        ("DUCKDB_THREADS", "two"),
        ("DUCKDB_THREADS", "100000"),
        ("KEEP_GENERATIONS", "1"),
        ("KEEP_GENERATIONS", "x"),
        ("REDIS_PREFIX", "a*"),
        ("REDIS_URL", "localhost:6379"),
        ("MLFLOW_TRACKING_URI", "nonsense"),
        ("MLFLOW_TRACKING_URI", "./mlruns"),
        *(("MAX_SHRINK", value) for value in ("-0.1", "1.1", "20%", "nan", "1e-1")),
        ("MOVIELENS_URL", "ml-100k.zip"),
        ("MOVIELENS_URL", "ftp://host/ml-100k.zip"),
        ("MOVIELENS_URL", "http://[host/ml-100k.zip"),
        ("MOVIELENS_URL", "http://host:port/ml-100k.zip"),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"{name}.*{re.escape(value)}.*expected"):
        Settings.read({name: value})


@pytest.mark.parametrize(
    "url", ["http://u:secret@h/x.zip", "http://u:sec/ret@h/x.zip", "u:secret@h"]
)
def test_a_password_for_the_download_is_refused_unseen(url: str) -> None:
    with pytest.raises(SettingError, match="without user and password") as caught:
        Settings.read({"MOVIELENS_URL": url})
    assert "sec" not in str(caught.value)


def test_secrets_may_be_in_files(tmp_path: Path) -> None:
    texts = {
        "REDIS_URL": "redis://:p@h:1",
        "MLFLOW_TRACKING_URI": "postgresql://u:p@h/mlflow",
        "MLFLOW_TRACKING_PASSWORD": "p",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(f"{text}\n")
    environ = {f"{name}_FILE": str(tmp_path / name) for name in texts}
    read = Settings.read(environ)
    assert read.redis_url == texts["REDIS_URL"]
    assert read.tracking_uri == texts["MLFLOW_TRACKING_URI"]
    # MLflow reads these from the environment, where they are put as they are there
    assert mlflow_credentials(environ | {"MLFLOW_TRACKING_USERNAME": "u"}) == {
        "MLFLOW_TRACKING_USERNAME": "u",
        "MLFLOW_TRACKING_PASSWORD": "p",
    }
    with pytest.raises(SettingError, match="MLFLOW_TRACKING_PASSWORD_FILE are both"):
        mlflow_credentials(environ | {"MLFLOW_TRACKING_PASSWORD": "p"})


def test_the_password_of_a_bad_address_is_not_shown() -> None:
    with pytest.raises(SettingError, match="MLFLOW_TRACKING_URI=") as caught:
        Settings.read({"MLFLOW_TRACKING_URI": "htp://user:hidden@host"})
    assert "hidden" not in str(caught.value)
