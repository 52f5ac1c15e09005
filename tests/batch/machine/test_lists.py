"""The lists of the real release, where DuckDB and XGBoost have much and little."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from tests.movielens import ml_100k

LITTLE = {"DUCKDB_MEMORY": "200MiB", "DUCKDB_THREADS": "1", "OMP_NUM_THREADS": "1"}
MUCH = {"DUCKDB_MEMORY": "2GB", "DUCKDB_THREADS": "4", "OMP_NUM_THREADS": "4"}


def first_run(folder: Path, **variables: str) -> tuple[pa.Table, set[str]]:
    """Train, score and publish; return the lists and the digests of the models."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "batch", "run", "--quiet"],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (lists,) = folder.glob("data/processed/recommendations/*.parquet")
    models = {
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("mlruns/**/model.json")
    }
    return pq.read_table(lists), models


@pytest.mark.slow
def test_lists_do_not_depend_on_memory_and_threads(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    """Neither do the models that are trained for them."""
    where = {"REDIS_URL": redis_url, "MOVIELENS_RAW": str(ml_100k())}
    where["PYTHONPATH"] = str(Path(__file__).parents[3])
    lists, models = first_run(tmp_path / "little", **where, **LITTLE)
    redis_client.flushall()  # else the second run finds that nothing changed
    blas = {"OPENBLAS_NUM_THREADS": "4"}
    assert first_run(tmp_path / "much", **where, **MUCH, **blas) == (lists, models)
    assert (lists.num_rows, len(models)) == (943 * 100, 2)
