"""The lists of the real release, where DuckDB and XGBoost have much and little."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from lookup.shared import contract
from lookup.shared.keys import CATALOGUE
from tests.conftest import KEYS, running
from tests.movielens import ml_100k, rated_items, read_ratings

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


WHERE = {"PYTHONPATH": str(Path(__file__).parents[3]), "MLFLOW_TRACKING_URI": ""}
"""Each run has an MLflow of its own, also where an earlier test set another."""

Run = tuple[pa.Table, set[str], redis.Redis]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run with little, and give the lists, the digests of the models and a client."""
    folder, raw = tmp_path_factory.mktemp("little"), str(ml_100k())
    with (
        running(folder) as server,
        redis.Redis.from_url(server.url, decode_responses=True) as client,
    ):
        where = {**WHERE, "REDIS_URL": server.url, "MOVIELENS_RAW": raw}
        yield *first_run(folder / "run", **where, **LITTLE), client


@pytest.mark.slow
def test_lists_do_not_depend_on_memory_and_threads(
    run: Run, tmp_path: Path, redis_url: str
) -> None:
    """Neither do the models that are trained for them."""
    lists, models, _ = run
    where = {**WHERE, "REDIS_URL": redis_url, "MOVIELENS_RAW": str(ml_100k())}
    blas = {"OPENBLAS_NUM_THREADS": "4"}
    assert first_run(tmp_path / "much", **where, **MUCH, **blas) == (lists, models)
    assert (lists.num_rows, len(models)) == (943 * 100, 2)


def titles() -> dict[int, str]:
    """Return the title of each item, with the year."""
    text = (ml_100k() / "u.item").read_text(encoding="latin-1")
    rows = [line.split("|") for line in text.splitlines()]
    return {int(row[0]): row[1].strip() for row in rows}


@pytest.mark.slow
def test_a_film_with_two_ids_is_listed_once_and_by_the_more_rated_one(run: Run) -> None:
    """In no list of somebody who rated it under either id."""
    lists, _, client = run
    title_of, n_ratings = titles(), Counter(row[1] for row in read_ratings(ml_100k()))
    ids_of: dict[str, list[int]] = {}
    for item_id in sorted(title_of, key=lambda item_id: (-n_ratings[item_id], item_id)):
        ids_of.setdefault(title_of[item_id], []).append(item_id)
    others = {i: ids[0] for ids in ids_of.values() for i in ids[1:]}
    assert len(others) == 18
    keys = KEYS.of(str(client.get(KEYS.current)))
    items = {int(i): json.loads(text) for i, text in client.hgetall(keys.items).items()}
    same = {i: item["same_as"] for i, item in items.items() if "same_as" in item}
    assert same == others

    def listed(key: str) -> set[int]:
        entries = contract.decode(map(str, client.lrange(key, 0, -1)))
        return {int(item_id) for item_id, _ in entries}

    for user_id, seen in rated_items(ml_100k()).items():
        found = listed(keys.user(user_id))
        assert len(found) == 100
        assert found.isdisjoint(others.keys() | {others.get(i, i) for i in seen})
    for item_id in items:
        found = listed(keys.similar(item_id))
        assert found.isdisjoint(others.keys() | {others.get(item_id, item_id)})
    popular = listed(keys.popular)
    assert len(popular) == 100
    assert popular.isdisjoint(others)
    assert lists.num_rows == 943 * 100


@pytest.mark.slow
def test_each_genre_has_its_most_rated_trending_and_new_films(run: Run) -> None:
    """A hundred, or all there are, as counted here."""
    _, _, client = run
    keys = KEYS.of(str(client.get(KEYS.current)))
    items = {int(i): json.loads(text) for i, text in client.hgetall(keys.items).items()}
    times: dict[int, list[int]] = {item_id: [] for item_id in items}
    for _, item_id, _, rated_at in read_ratings(ml_100k()):
        times[item_id].append(rated_at)
    now, year, fortnight = max(map(max, times.values())), 31556952, 14 * 86400
    scores: dict[str, dict[int, float]] = {kind: {} for kind in CATALOGUE}
    for item_id, item in items.items():
        rated = times[item_id]
        assert item["n_ratings"] == len(rated)
        if "same_as" not in item:
            scores["popular"][item_id] = len(rated)
            halves = (0.5 ** ((now - rated_at) / fortnight) for rated_at in rated)
            scores["trending"][item_id] = sum(halves)
            released = [item["year"] + 0.9999] if item["year"] else []
            scores["new"][item_id] = min([1970 + min(rated) / year, *released])
    genres = {genre for item in items.values() for genre in item["genres"]}
    assert len(genres) == 18
    for genre in (None, *genres):
        for kind in CATALOGUE:
            texts = map(str, client.lrange(keys.catalogue(kind, genre), 0, -1))
            found = dict(contract.decode(texts))
            wanted = {
                item_id: score
                for item_id, score in scores[kind].items()
                if genre is None or genre in items[item_id]["genres"]
            }
            assert len(found) == min(100, len(wanted))
            best = sorted(wanted.values(), reverse=True)[:100]
            assert list(found.values()) == pytest.approx(best, abs=2e-3)
            assert found == pytest.approx({i: wanted[int(i)] for i in found}, abs=2e-3)
