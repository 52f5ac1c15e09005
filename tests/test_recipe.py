"""The recipe for a new feature, followed to the letter in a fresh copy of the code."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.benchmarks.generate import generate
from tests.benchmarks.shapes import SHAPES
from tests.lookup.programs import environment

ROOT = Path(__file__).resolve().parents[1]

RECIPE = {
    "sql/marts/user_features.sql": [
        (
            "any_value(history.n_history) as n_ratings,",
            "avg(history.rating) as avg_rating,",
        )
    ],
    "sql/marts/item_features.sql": [
        (
            "avg(history.rating) as avg_rating,",
            "avg(history.rated_at) as avg_rated_at,",
        )
    ],
    "sql/marts/pair_features.sql": [
        (
            "users.n_ratings::float as user_n_ratings,",
            "users.avg_rating::float as user_avg_rating,",
        ),
        (
            "items.n_ratings::float as item_n_ratings,",
            "items.avg_rated_at::float as item_avg_rated_at,",
        ),
        (
            "sequences.next_share::float as next_share,",
            "(sequences.next_share * items.n_ratings)::float as popular_share,",
        ),
    ],
    "batch/features/columns.py": [
        ('"user_n_ratings",', '"user_avg_rating",'),
        ('"item_n_ratings",', '"item_avg_rated_at",'),
        ('"next_share",', '"popular_share",'),
    ],
}
"""File → pairs of a line and one to write after it."""

ADDED = {"user_avg_rating", "item_avg_rated_at", "popular_share"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Copy the code, as a clone has it, and write a small release."""
    for name in ("batch", "lookup", "sql"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    generate(SHAPES["ml-100k"], tmp_path / "data" / "raw", n_users=60)
    return tmp_path


def batch(clone: Path, *arguments: str) -> str:
    """Run a command of the copy to its end; return its stderr."""
    command = [sys.executable, "-m", "batch", *arguments]
    done = subprocess.run(
        command, cwd=clone, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def lists(clone: Path) -> list[dict[str, object]]:
    """Return the lists of the latest generation."""
    folder = clone / "data" / "processed" / "recommendations"
    latest = max(folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    rows: list[dict[str, object]] = pq.read_table(latest).to_pylist()
    return rows


@pytest.mark.slow
def test_features_of_users_items_and_pairs_are_added(clone: Path) -> None:
    """They are trained with, used, and served the same by both scorers."""
    batch(clone, "train", "--scorer", "xgboost")
    for name, lines in RECIPE.items():
        path = clone / name
        text = path.read_text()
        for line, added in lines:
            assert text.count(f" {line}\n") == 1
            text = text.replace(f" {line}\n", f" {line}\n        {added}\n")
        path.write_text(text)
    trained = batch(clone, "train")
    assert trained.count("ten times as slow") == 1
    assert "prod (version 1) cannot be measured: it was trained with" in trained
    batch(clone, "promote", "--version", "2")
    scored = batch(clone, "run", "--scorer", "compiled")
    (line,) = [line for line in scored.splitlines() if "ten times as slow" in line]
    assert "not been tested with this batch/features/columns.py" in line
    compiled = lists(clone)
    batch(clone, "run", "--force", "--scorer", "xgboost")
    assert len(compiled) == 60 * 100
    assert compiled == lists(clone)

    found = [
        {row["feature"]: float(row["total_gain"]) for row in csv.DictReader(file)}
        for path in (clone / "mlruns").rglob("importance.csv")
        for file in [path.open(newline="")]
    ]
    former, latest = sorted(found, key=len)
    assert latest.keys() - former.keys() == ADDED
    assert min(latest[name] for name in ADDED) > 0
