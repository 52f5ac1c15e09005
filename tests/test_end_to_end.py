"""The commands, as a user types them: real files, MLflow, Redis and HTTP."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
import xgboost
from mlflow import MlflowClient

from batch.features.columns import FEATURES
from batch.model.registry import Record, Registry
from batch.model.train import PARAMETERS
from tests.conftest import RedisServer, answers, free_port, running, wait_until
from tests.movielens import ml_100k
from tests.sql import raw

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 300


@dataclass(frozen=True)
class Clone:
    """A working folder of its own, and an environment that nobody else set."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the commands."""
        names = ("PATH", "HOME", "LANG", "TMPDIR")
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        return inherited | {"PYTHONPATH": str(ROOT)} | self.variables

    def start(self, module: str, *words: str) -> "subprocess.Popen[str]":
        """Start `python -m module words`."""
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def batch(self, *words: str, code: int = 0) -> tuple[str, str]:
        """Run a batch command to its end; return its stdout and stderr."""
        process = self.start("batch", *words)
        out, err = process.communicate(timeout=TIMEOUT)
        assert process.returncode == code, err
        return out, err

    def told(self, *words: str) -> dict[str, Any]:
        """Run a batch command with `--json` and return what it tells."""
        out, _ = self.batch(*words, "--json")
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
        return result

    def failure(self, *words: str, code: int = 1) -> str:
        """Run a batch command that must fail; return its one line of error."""
        out, err = self.batch(*words, "--quiet", code=code)
        assert out == ""
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, err
        return lines[0]


def write_world(folder: Path) -> Path:
    """Write a small release: two tastes, each watched in its own order."""
    n_items, n_users = 60, 40
    ratings: list[tuple[object, ...]] = []
    for user_id in range(1, n_users + 1):
        taste, n_ratings = user_id % 2, 10 + user_id % 7
        for step in range(n_ratings):
            item_id = 1 + taste + 2 * ((user_id + step) % (n_items // 2))
            rating = 1 + (user_id * 7 + step * 3) % 5
            ratings.append(
                (user_id, item_id, rating, 880000000 + 1000 * step + user_id)
            )
    genres = (["Comedy"], ["Drama", "Romance"])
    items = [
        (item_id, f"Movie {item_id} (19{40 + item_id % 50})", genres[item_id % 2])
        for item_id in range(1, n_items + 1)
    ]
    users = [
        (user_id, 20 + user_id % 40, "FM"[user_id % 2], "artist")
        for user_id in range(1, n_users + 1)
    ]
    folder.mkdir(parents=True)
    raw.tab(folder, ratings, items, users)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that the tests of this file go through in their order."""
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, server: RedisServer) -> Clone:
    """A clone with raw files of a small world, whose first run has been made."""
    folder = tmp_path_factory.mktemp("clone")
    write_world(folder / "world")
    clone = Clone(folder, {"REDIS_URL": server.url, "MOVIELENS_RAW": "world"})
    clone.batch("run", "--quiet")
    return clone


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    """A client of that Redis."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client


def test_the_first_run_publishes_and_the_second_skips(
    clone: Clone, client: redis.Redis
) -> None:
    told = clone.told()
    assert told["skipped"] is True
    assert told["promoted"] is False
    assert told["generation"] == client.get("recs:current")
    assert set(told["seconds"]) == {"features", "train", "score", "publish", "total"}
    assert (told["model_version"], told["n_users"], told["n_items"]) == ("1", 40, 60)
    assert told["n_pairs"] == 40 * 60 - len(ratings_of(clone))
    assert told["top_n"] == 100
    assert told["redis_url"] == clone.variables["REDIS_URL"]


def test_every_user_gets_every_unseen_item_and_nothing_seen(
    clone: Clone, client: redis.Redis
) -> None:
    generation = current(client)
    seen: dict[int, set[int]] = {}
    for user_id, item_id, *_ in ratings_of(clone):
        seen.setdefault(user_id, set()).add(item_id)
    for user_id, items in seen.items():
        entries = lists(client, generation, user_id)
        pairs = [entry.split(":") for entry in entries]
        assert {int(item_id) for item_id, _ in pairs} == set(range(1, 61)) - items
        scores = [float(score) for _, score in pairs]
        assert scores == sorted(scores, reverse=True)


def test_the_parquet_file_holds_the_same_lists(
    clone: Clone, client: redis.Redis
) -> None:
    generation = current(client)
    folder = clone.folder / "data" / "processed" / "recommendations"
    rows = pq.read_table(folder / f"{generation}.parquet").to_pylist()
    mine = [row for row in rows if row["user_id"] == 7]
    assert [row["rank"] for row in mine] == list(range(1, len(mine) + 1))
    entries = lists(client, generation, 7)
    assert entries == [f"{row['item_id']}:{row['score']:.4f}" for row in mine]


def test_features_are_exported(clone: Clone) -> None:
    told = clone.told("features")
    tables = {
        Path(path).stem: pq.read_table(clone.folder / path) for path in told["files"]
    }
    assert len(tables["user_features"]) == 40
    assert len(tables["item_features"]) == 60
    assert {"window", "user_id", "item_id", "label", "next_share", "far_score"} <= set(
        tables["training_pairs"].column_names
    )


def test_the_lookup_answers_what_redis_holds(clone: Clone, client: redis.Redis) -> None:
    """`redis-cli LRANGE recs:GEN:user:7 0 4` is `/recommend/7?k=5`."""
    generation = current(client)
    with serving(clone) as url:
        answer = get(f"{url}/recommend/7?k=5")
        ready = get(f"{url}/ready")
    entries = lists(client, generation, 7, 5)
    assert entries == [f"{i['item_id']}:{i['score']:.4f}" for i in answer["items"]]
    assert (answer["generation"], answer["source"]) == (generation, "personal")
    assert answer["items"][0]["title"].startswith("Movie ")
    assert ready["generation"] == generation


def test_every_user_is_told_why_and_every_item_what_is_like_it(
    clone: Clone, client: redis.Redis
) -> None:
    """Beside each list, with the metrics that MLflow has of the version."""
    generation = current(client)
    rated: dict[int, set[int]] = {}
    for user_id, item_id, *_ in ratings_of(clone):
        rated.setdefault(user_id, set()).add(item_id)
    for user_id, own in rated.items():
        reasons = client.lrange(f"recs:{generation}:because:{user_id}", 0, -1)
        assert len(reasons) == len(lists(client, generation, user_id))
        assert own >= {int(i) for text in reasons for i in str(text).split(",") if i}
    assert len(client.keys(f"recs:{generation}:history:*")) == len(rated)
    with serving(clone) as url:
        answer = get(f"{url}/recommend/7?k=5&because=1")
        user, about = get(f"{url}/users/7"), get(f"{url}/about")
        similar = get(f"{url}/similar/1?k=3")
    assert any(item["because"] for item in answer["items"])
    assert user["n_ratings"] == len(rated[7])
    assert {item["item_id"] for item in user["highest"]} <= rated[7]
    assert {item["item_id"] % 2 for item in similar["items"]} == {1}
    assert (about["n_users"], about["n_items"]) == (40, 60)
    assert about["genres"] == ["Comedy", "Drama", "Romance"]
    assert set(about["metrics"]) == {"model", "popularity", "item_knn"}
    assert "held out" in about["protocol"]


def test_force_scores_again_the_same_lists_and_rollback_goes_back(
    clone: Clone, client: redis.Redis
) -> None:
    former = current(client)
    told = clone.told("run", "--force")
    assert told["skipped"] is False
    assert told["generation"] != former
    for user_id in (1, 7, 40):
        assert lists(client, former, user_id) == lists(
            client, told["generation"], user_id
        )
    assert clone.told("status")["generations"] == [former, told["generation"]]
    assert clone.told("rollback") == {
        "generation": former,
        "former_generation": told["generation"],
    }
    assert client.get("recs:current") == former
    assert "nothing to roll back to" in clone.failure("rollback")


def test_a_new_version_is_registered_promoted_and_scored_with(
    clone: Clone, client: redis.Redis
) -> None:
    """`train` never moves `prod`; the run after `promote` scores with what it says."""
    trained = clone.told("train")
    assert trained["promoted"] is False
    assert trained["prod_version"] == "1"
    # the same files make the same model; what is reported is what would be decided by
    assert trained["prod"] == trained["model"]
    assert (trained["measured"], trained["prod_measured"]) == ("evaluated",) * 2
    assert trained["difference"] == trained["difference_liked"] == 0
    assert trained["difference_interval"] == [0, 0]
    version = trained["version"]
    assert clone.told("run")["skipped"] is True
    assert clone.told("promote", "--version", version) == {
        "prod_version": version,
        "former_version": "1",
    }
    told = clone.told("run")
    assert (told["skipped"], told["model_version"]) == (False, version)
    assert "no version 99" in clone.failure("promote", "--version", "99")


def test_a_training_run_logs_what_the_contract_names(clone: Clone) -> None:
    """Whoever opens MLflow sees what a version was made of and how good it is."""
    client = MlflowClient(f"sqlite:///{clone.folder}/mlruns/mlflow.db")
    version = client.get_model_version("MovieLensXGB", "1")
    assert version.run_id is not None
    run = client.get_run(version.run_id)
    assert run.data.params["max_depth"] == str(PARAMETERS["max_depth"])
    assert run.data.params["features"].split(",") == list(FEATURES)
    assert len(run.data.tags["raw_fingerprint"]) == 64
    assert len(run.data.tags["sql_fingerprint"]) == 64
    for ranker in ("", "popularity_", "item_knn_"):
        for metric in ("ndcg_at_10", "recall_at_10", "coverage_at_10"):
            assert f"{ranker}{metric}" in run.data.metrics
    pictures = {file.path for file in client.list_artifacts(version.run_id)}
    assert pictures >= {"metrics.png", "importance.png", "learning_curve.png"}
    assert pictures >= {"shap.png", "evaluation.html"}
    assert run.data.metrics["ndcg_at_10_low"] < run.data.metrics["ndcg_at_10"]


@pytest.mark.slow
def test_train_promote_moves_prod_if_the_new_version_is_no_worse(clone: Clone) -> None:
    """Trained on the same files it is the same model: no worse, by exactly 0."""
    told = clone.told("train", "--promote")
    assert told["difference"] == 0
    assert told["promoted"] is True
    assert told["difference_interval"] == [0, 0]
    assert told["prod_version"] == told["version"]
    assert told["prod"] == told["model"]


def test_evaluate_tells_the_model_beside_the_baselines(clone: Clone) -> None:
    told = clone.told("evaluate")
    names = {
        "ndcg_at_10",
        "recall_at_10",
        "hit_rate_at_10",
        "coverage_at_10",
        "ndcg_at_10_liked",
    }
    for ranker in ("model", "popularity", "item_knn"):
        assert set(told[ranker]) == names
    assert told["n_users"] == 40
    assert told["model"]["ndcg_at_10"] > told["popularity"]["ndcg_at_10"]
    assert "last 20 %" in told["protocol"]
    assert told["measured"] == "evaluated"
    low, high = told["intervals"]["model"]["ndcg_at_10"]
    assert low < told["model"]["ndcg_at_10"] < high
    assert set(told["intervals"]["model_minus_item_knn"]) == {
        "ndcg_at_10",
        "ndcg_at_10_liked",
    }
    lengths = told["by_history_length"]
    assert list(lengths) == ["6-20"]
    assert lengths["6-20"]["n_users"] == 40
    assert 0 < told["popularity_bias"]["popularity"]["gini"] < 1
    page = (clone.folder / told["report"]).read_text(encoding="utf-8")
    assert told["report"] == "data/processed/evaluation.html"
    assert f"version {told['model_version']} on ml-100k" in page
    assert "10 users" in page
    kept = list(clone.folder.glob("mlruns/**/evaluations/*.html"))
    assert [path.read_text(encoding="utf-8") for path in kept] == [page]


def test_another_batch_at_work_is_exit_code_75(
    clone: Clone, client: redis.Redis
) -> None:
    client.set("recs:lock", "elsewhere:1:x", ex=30)
    try:
        assert "holds recs:lock: elsewhere:1" in clone.failure("run", code=75)
    finally:
        client.delete("recs:lock")


def test_bad_raw_files_change_nothing(clone: Clone, client: redis.Redis) -> None:
    before = dump(client)
    world = write_world(clone.folder / "bad")
    lines = (world / "u.data").read_text().splitlines()
    lines[311] = lines[311].replace("\t", "\tnine", 1)
    (world / "u.data").write_text("\n".join(lines) + "\n")
    message = clone.failure("run", "--raw", "bad")
    assert "u.data, line 312" in message
    assert "data/processed" in clone.failure("run", "--raw", "data/processed")
    assert dump(client) == before


def test_a_bad_setting_is_named(clone: Clone) -> None:
    bad = Clone(clone.folder, clone.variables | {"TOP_N": "many"})
    assert "TOP_N='many': expected an integer" in bad.failure("status")


def test_a_redis_that_is_away_is_named(clone: Clone) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    alone = Clone(clone.folder, clone.variables | {"REDIS_URL": away})
    assert away in alone.failure("run")


def test_a_batch_killed_on_its_way_changes_nothing_and_the_next_cleans_up(
    clone: Clone, client: redis.Redis
) -> None:
    served = client.get("recs:current")
    client.hset("recs:died:meta", "n_users", "1")
    folder = clone.folder / "data/processed/recommendations"
    partial = folder / "died.parquet.0badcafe.partial"
    partial.touch()
    process = clone.start("batch", "run", "--force")
    wait_until(lambda: client.exists("recs:lock"), seconds=30)
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert client.get("recs:current") == served
    client.delete("recs:lock")  # it would expire by itself
    clone.batch("run", "--force")
    held = {str(name) for name in client.zrange("recs:generations", 0, -1)}
    assert len(held) == 2
    assert {key.split(":")[1] for key in map(str, client.keys("recs:*:*"))} == held
    assert {path.stem for path in partial.parent.iterdir()} == held


@pytest.mark.parametrize("stage", ["reading", "building the features", "scoring"])
def test_an_interrupted_batch_releases_its_lock(
    clone: Clone, client: redis.Redis, stage: str
) -> None:
    """Whatever it is in, such as a query of DuckDB, which has errors of its own."""
    served = current(client)
    process = clone.start("batch", "run", "--force")
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any(stage in line for line in lines)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    if stage != "scoring":  # the little that is left to do may have been done
        assert process.returncode == 130
        assert current(client) == served
        assert "interrupted" in err
    assert "Traceback" not in err
    assert not client.exists("recs:lock")
    assert {key.split(":")[1] for key in map(str, client.keys("recs:*:*"))} == {
        str(name) for name in client.zrange("recs:generations", 0, -1)
    }


@pytest.mark.slow
def test_a_prod_that_wants_a_feature_that_is_gone(
    clone: Clone, client: redis.Redis
) -> None:
    """Nothing is served of it, and the way out is said."""
    served, former = current(client), clone.told("status")["model_version"]
    registry = Registry(f"sqlite:///{clone.folder}/mlruns/mlflow.db")
    values = pa.table({"moon_phase": pa.array([0.0, 1.0], pa.float32())})
    booster = xgboost.train({}, xgboost.QuantileDMatrix(values, [0, 1]), 1)
    record = Record({}, {}, {}, {}, {})
    version = registry.register(booster, booster, values, record)
    clone.batch("promote", "--version", version)
    assert "gives no moon_phase" in clone.failure("run")
    assert current(client) == served
    message = clone.failure("train", "--promote")
    newest = int(version) + 1
    assert f"version {newest} is registered, but prod (version {version})" in message
    assert f"python -m batch promote --version {newest}" in message
    clone.batch("promote", "--version", former)
    assert clone.told("run")["skipped"] is True


@pytest.mark.slow
def test_the_embedded_redis_is_found_by_batch_and_lookup(tmp_path: Path) -> None:
    """Without REDIS_URL there is a private server, gone when its last user ends."""
    clone = Clone(tmp_path, {"MOVIELENS_RAW": str(write_world(tmp_path / "world"))})
    told = clone.told("run")
    port = int(told["redis_url"].rpartition(":")[2].partition("/")[0])
    wait_until(lambda: not answers(port))
    assert clone.told("status")["generation"] == told["generation"]
    with serving(clone) as url:
        answer = get(f"{url}/recommend/7?k=3")
        assert clone.told("run")["skipped"] is True
    assert answer["generation"] == told["generation"]
    assert len(answer["items"]) == 3
    wait_until(lambda: not answers(port))


@pytest.mark.slow
def test_the_lists_of_ml_100k_beat_the_usual_libraries(tmp_path: Path) -> None:
    """The main job, as `make run` does it, with the embedded Redis and over HTTP.

    On the contract's protocol, with raw files that end where the hold-out begins.
    """
    source = ml_100k()
    held_out = write_first_80_percent(source, tmp_path / "first80")
    clone = Clone(tmp_path, {"MOVIELENS_RAW": "first80"})
    told = clone.told("run")
    rated: dict[int, set[int]] = {}
    for user_id, item_id, *_ in read_tab(tmp_path / "first80" / "u.data"):
        rated.setdefault(user_id, set()).add(item_id)
    assert (told["n_users"], told["n_items"]) == (943, 1682)
    assert told["n_pairs"] == 943 * 1682 - sum(map(len, rated.values()))
    assert (told["promoted"], told["skipped"]) == (True, False)
    with serving(clone) as url:
        stranger = get(f"{url}/recommend/100000?k=5")
        lists = {
            user_id: ids(get(f"{url}/recommend/{user_id}?k=100")) for user_id in rated
        }
    assert stranger["source"] == "popular"
    assert stranger["items"][0]["title"] == "Star Wars (1977)"
    for user_id, item_ids in lists.items():
        assert len(item_ids) == 100
        assert not rated[user_id] & set(item_ids)
    gains = [ndcg_at_10(lists[user_id], items) for user_id, items in held_out.items()]
    assert sum(gains) / len(gains) >= 0.24  # EASE, the best of the usual ones: 0.1916


class serving:  # noqa: N801
    """`python -m lookup` for the length of a block; gives its address."""

    def __init__(self, clone: Clone) -> None:
        self._clone = clone
        self._port = free_port()

    def __enter__(self) -> str:
        self._process = self._clone.start("lookup", "--port", str(self._port))
        wait_until(lambda: answers(self._port), seconds=20)
        return f"http://127.0.0.1:{self._port}"

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=20)


def get(url: str) -> dict[str, Any]:
    """Fetch some JSON."""
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310
        body: dict[str, Any] = json.load(response)
        return body


def ids(answer: dict[str, Any]) -> list[int]:
    """Give the items of an answer, best first."""
    return [item["item_id"] for item in answer["items"]]


def ndcg_at_10(item_ids: list[int], relevant: set[int]) -> float:
    """Measure a list as the contract says."""
    discounts = [1 / math.log2(rank + 1) for rank in range(1, 11)]
    hits = (item_id in relevant for item_id in item_ids)
    gain = sum(d for d, hit in zip(discounts, hits, strict=False) if hit)
    return gain / sum(discounts[: len(relevant)])


def current(client: redis.Redis) -> str:
    """Tell which generation is served."""
    return cast("str", client.get("recs:current"))


def lists(client: redis.Redis, generation: str, user_id: int, n: int = 0) -> list[str]:
    """Read a user's list, or its first n entries, as redis-cli would."""
    key = f"recs:{generation}:user:{user_id}"
    return cast("list[str]", client.lrange(key, 0, n - 1))


def dump(client: redis.Redis) -> dict[str, str]:
    """Copy all that Redis holds."""
    return {str(key): str(client.dump(key)) for key in client.keys("*")}


def read_tab(path: Path) -> list[list[int]]:
    """Read u.data."""
    with path.open(newline="") as file:
        return [[int(cell) for cell in row] for row in csv.reader(file, delimiter="\t")]


def ratings_of(clone: Clone) -> list[list[int]]:
    """Read the world's ratings."""
    return read_tab(clone.folder / "world" / "u.data")


def write_first_80_percent(source: Path, folder: Path) -> dict[int, set[int]]:
    """Write a release without its hold-out; return that as user_id → item_ids."""
    by_user: dict[int, list[list[int]]] = {}
    for row in read_tab(source / "u.data"):
        by_user.setdefault(row[0], []).append(row)
    kept, held_out = [], {}
    for user_id, rows in by_user.items():
        rows.sort(key=lambda row: (row[3], row[1]))
        cut = math.ceil(0.8 * len(rows))
        kept += rows[:cut]
        held_out[user_id] = {row[1] for row in rows[cut:]}
    folder.mkdir()
    for name in ("u.item", "u.user"):
        (folder / name).write_bytes((source / name).read_bytes())
    lines = ("\t".join(map(str, row)) for row in kept)
    (folder / "u.data").write_text("\n".join(lines) + "\n")
    return held_out
