"""The commands in a small world: raw files, MLflow, Redis, Parquet and HTTP."""

import json
import math
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq
import pytest
import redis
from mlflow import MlflowClient

from batch.commands.train import SAMPLE
from batch.features.columns import FEATURES
from batch.model.train import PARAMETERS, STAGES
from tests.conftest import KEYS, RedisServer, answers, wait_until
from tests.faults.batches import Clone
from tests.faults.lookups import lookup
from tests.lookup.programs import ask, environment
from tests.movielens import (
    ml_100k,
    rated_items,
    read_ratings,
    split,
    write_first_80_percent,
    write_world,
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, server: RedisServer) -> Clone:
    """A clone with the small world, whose first run has been made."""
    folder = tmp_path_factory.mktemp("clone")
    write_world(folder / "world")
    clone = Clone(folder, {"REDIS_URL": server.url, "MOVIELENS_RAW": "world"})
    clone.run("run", "--quiet")
    return clone


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    """A client of that Redis."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client


def test_the_second_run_skips(clone: Clone, client: redis.Redis) -> None:
    done = python_m_batch(clone, "--quiet", "--json")
    assert done.stderr == ""
    result = json.loads(done.stdout)
    assert result["skipped"] is True
    assert result["promoted"] is False
    assert result["generation"] == client.get(KEYS.current)
    assert set(result["seconds"]) == {"features", "train", "score", "publish", "total"}
    assert (result["model_version"], result["top_n"]) == ("1", 100)
    assert (result["n_users"], result["n_items"]) == (40, 60)
    assert result["n_pairs"] == 40 * 60 - len(read_ratings(clone.folder / "world"))
    assert result["redis_url"] == clone.variables["REDIS_URL"]


def test_every_user_gets_every_unseen_item_and_nothing_seen(
    clone: Clone, client: redis.Redis
) -> None:
    for user_id, seen in rated_items(clone.folder / "world").items():
        entries = lists(client, current(client), user_id)
        pairs = [entry.split(":") for entry in entries]
        assert {int(item_id) for item_id, _ in pairs} == set(range(1, 61)) - seen
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
    paths = map(Path, clone.json("features")["files"])
    tables = {path.stem: pq.read_table(clone.folder / path) for path in paths}
    assert len(tables["user_features"]) == 40
    assert len(tables["item_features"]) == 60
    assert {"window", "user_id", "item_id", "label", "next_share", "genre_lift"} <= set(
        tables["training_pairs"].column_names
    )


def test_the_lookup_answers_what_redis_holds(clone: Clone, client: redis.Redis) -> None:
    """`redis-cli LRANGE recs:GEN:user:7 0 4` is `/recommend/7?k=5`."""
    generation, rated = current(client), rated_items(clone.folder / "world")
    for user_id, own in rated.items():
        reasons = client.lrange(f"recs:{generation}:because:{user_id}", 0, -1)
        assert len(reasons) == len(lists(client, generation, user_id))
        assert own >= {int(i) for text in reasons for i in str(text).split(",") if i}
    assert len(client.keys(f"recs:{generation}:history:*")) == len(rated)
    with lookup(clone.folder, **clone.variables) as served:
        answer = get(served.port, "/recommend/7?k=5&because=1")
        ready, user, about, similar = (
            get(served.port, path)
            for path in ("/ready", "/users/7", "/about", "/similar/1?k=3")
        )
        session = get(served.port, "/session?item_id=1&item_id=3&k=5&fallback=none")
    entries = lists(client, generation, 7, 5)
    assert entries == [f"{i['item_id']}:{i['score']:.4f}" for i in answer["items"]]
    assert (answer["generation"], answer["source"]) == (generation, "personal")
    assert answer["items"][0]["title"].startswith("Movie ")
    assert any(item["because"] for item in answer["items"])
    assert ready["generation"] == generation
    assert user["n_ratings"] == len(rated[7])
    assert {item["item_id"] for item in user["highest"]} <= rated[7]
    assert {item["item_id"] % 2 for item in similar["items"]} == {1}
    assert session["source"] == "session"
    assert {item["item_id"] % 2 for item in session["items"]} == {1}
    assert not {1, 3} & {item["item_id"] for item in session["items"]}
    assert (about["n_users"], about["n_items"]) == (40, 60)
    assert about["genres"] == ["Comedy", "Drama", "Romance"]
    assert set(about["metrics"]) == {"model", "popularity", "item_knn", "ease"}
    assert "held out" in about["protocol"]


def test_force_scores_again_the_same_lists_and_rollback_goes_back(
    clone: Clone, client: redis.Redis
) -> None:
    former = current(client)
    forced = clone.json("run", "--force")
    newer = forced["generation"]
    assert forced["skipped"] is False
    assert newer != former
    for user_id in (1, 7, 40):
        assert lists(client, former, user_id) == lists(client, newer, user_id)
    assert clone.json("status")["generations"] == [former, newer]
    assert clone.json("rollback") == {"generation": former, "former_generation": newer}
    assert current(client) == former
    assert "nothing to roll back to" in clone.failure("rollback")


def test_a_new_version_is_registered_promoted_and_scored_with(
    clone: Clone, client: redis.Redis
) -> None:
    """`train` never moves `prod`; the run after `promote` follows it.

    The same files make the same model, so that only its number changes.
    """
    trained = clone.json("train")
    assert trained["promoted"] is False
    assert trained["prod_version"] == "1"
    assert trained["prod"] == trained["model"]
    assert (trained["measured"], trained["prod_measured"]) == ("evaluated",) * 2
    assert trained["difference"] == trained["difference_liked"] == 0
    assert trained["difference_interval"] == [0, 0]
    version = trained["version"]
    assert clone.json("run")["skipped"] is True
    assert clone.json("promote", "--version", version) == {
        "prod_version": version,
        "former_version": "1",
    }
    status = clone.json("status")
    assert (status["model_version"], status["prod_version"]) == ("1", version)
    ran = clone.json("run")
    assert (ran["skipped"], ran["model_version"]) == (True, version)
    assert client.hget(KEYS.of(current(client)).meta, "model_version") == version
    status = clone.json("status")
    assert (status["model_version"], status["release"]) == (version, "ml-100k")
    assert (status["n_users"], status["n_items"]) == (40, 60)
    assert "no version 99" in clone.failure("promote", "--version", "99")


def test_a_training_run_logs_what_the_contract_names(clone: Clone) -> None:
    client = MlflowClient(f"sqlite:///{clone.folder}/mlruns/mlflow.db")
    version = client.get_model_version("MovieLensXGB", "1")
    assert version.run_id is not None
    run = client.get_run(version.run_id)
    assert run.data.params["max_depth"] == str(PARAMETERS["max_depth"])
    assert {name: run.data.params[name] for name in STAGES | SAMPLE} == {
        name: str(value) for name, value in (STAGES | SAMPLE).items()
    }
    assert run.data.params["features"].split(",") == list(FEATURES)
    assert len(run.data.tags["raw_fingerprint"]) == 64
    assert len(run.data.tags["sql_fingerprint"]) == 64
    for ranker in ("", "popularity_", "item_knn_", "ease_"):
        for metric in ("ndcg_at_10", "recall_at_10", "coverage_at_10"):
            assert f"{ranker}{metric}" in run.data.metrics
    pictures = {file.path for file in client.list_artifacts(version.run_id)}
    assert pictures >= {"metrics.png", "importance.png", "learning_curve.png"}
    assert pictures >= {"shap.png", "evaluation.html", "importance.csv"}
    assert run.data.metrics["ndcg_at_10_low"] < run.data.metrics["ndcg_at_10"]


def test_evaluate_compares_the_model_with_the_baselines(clone: Clone) -> None:
    result = clone.json("evaluate")
    names = {
        *("ndcg_at_10", "ndcg_at_10_liked", "recall_at_10"),
        *("hit_rate_at_10", "coverage_at_10"),
    }
    for ranker in ("model", "popularity", "item_knn", "ease"):
        assert set(result[ranker]) == names
    assert (result["n_users"], result["measured"]) == (40, "evaluated")
    assert result["model"]["ndcg_at_10"] > result["popularity"]["ndcg_at_10"]
    assert result["protocol"] == "fifth"
    assert "last 20 %" in result["split"]
    low, high = result["intervals"]["model"]["ndcg_at_10"]
    assert low < result["model"]["ndcg_at_10"] < high
    for ranker in ("item_knn", "ease", "model_minus_ease"):
        metrics = {"ndcg_at_10", "ndcg_at_10_liked", "hit_rate_at_10"}
        assert set(result["intervals"][ranker]) == metrics
    lengths = result["by_history_length"]
    assert list(lengths) == ["6-20"]
    assert lengths["6-20"]["n_users"] == 40
    assert 0 < result["popularity_bias"]["popularity"]["gini"] < 1
    assert result["report"] == "data/processed/evaluation.html"
    page = (clone.folder / result["report"]).read_text(encoding="utf-8")
    assert f"version {result['model_version']} on ml-100k" in page
    kept = list(clone.folder.glob("mlruns/**/evaluations/*.html"))
    assert [path.read_text(encoding="utf-8") for path in kept] == [page]


@pytest.mark.parametrize("protocol", ["fifth", "last"])
def test_the_hold_out_is_the_contracts(clone: Clone, protocol: str) -> None:
    """Popularity has the metrics that the raw file gives it, read and sorted here."""
    result = clone.json("evaluate", "--protocol", protocol)
    kept, held_out = split(read_ratings(clone.folder / "world"), protocol)
    counts = Counter(item_id for _, item_id, *_ in kept)
    best = sorted(counts, key=lambda item_id: (-counts[item_id], item_id))
    gains, hits = [], []
    for user_id, relevant in held_out.items():
        seen = {row[1] for row in kept if row[0] == user_id}
        unseen = [item_id for item_id in best if item_id not in seen]
        gains.append(ndcg_at_10(unseen, relevant))
        hits.append(not relevant.isdisjoint(unseen[:10]))
    assert (result["protocol"], result["n_users"]) == (protocol, len(held_out))
    popularity = result["popularity"]
    assert popularity["ndcg_at_10"] == pytest.approx(sum(gains) / len(gains))
    assert popularity["hit_rate_at_10"] == pytest.approx(sum(hits) / len(hits))
    if protocol == "last":
        assert result["model"]["recall_at_10"] == result["model"]["hit_rate_at_10"]
    low, high = result["intervals"]["model"]["hit_rate_at_10"]
    assert low <= result["model"]["hit_rate_at_10"] <= high
    assert f">{protocol}: " in (clone.folder / result["report"]).read_text("utf-8")


def test_another_batch_at_work_is_exit_code_75(
    clone: Clone, client: redis.Redis
) -> None:
    client.set(KEYS.lock, "elsewhere:1:x", ex=30)
    try:
        assert "holds recs:lock: elsewhere:1" in clone.failure("run", code=75)
    finally:
        client.delete(KEYS.lock)


def test_bad_input_changes_nothing(clone: Clone, client: redis.Redis) -> None:
    before = {key: client.dump(key) for key in client.keys("*")}
    path = write_world(clone.folder / "bad") / "u.data"
    lines = path.read_text().splitlines()
    lines[311] = lines[311].replace("\t", "\tnine", 1)
    path.write_text("\n".join(lines) + "\n")
    assert "u.data, line 312" in clone.failure("run", "--raw", "bad")
    assert "data/processed" in clone.failure("run", "--raw", "data/processed")
    bad = Clone(clone.folder, {**clone.variables, "TOP_N": "many"})
    assert "TOP_N='many': expected an integer" in bad.failure("run")
    assert {key: client.dump(key) for key in client.keys("*")} == before


@pytest.mark.parametrize("stage", ["reading", "building the features", "scoring"])
def test_an_interrupted_batch_releases_its_lock(
    clone: Clone, client: redis.Redis, stage: str
) -> None:
    """Also within a query of DuckDB, which has errors of its own."""
    served = current(client)
    batch = clone.start("run", "--force")
    wait_until(lambda: stage in batch.said, seconds=60)
    batch.signal(signal.SIGTERM)
    code = batch.wait()
    if stage != "scoring":  # the little that is left to do may have been done
        assert code == 130, batch.said
        assert current(client) == served
        assert "interrupted" in batch.said
        assert "Traceback" not in batch.said
    assert not client.exists(KEYS.lock)
    assert {key.split(":")[1] for key in map(str, client.keys("recs:*:*"))} == set(
        client.zrange(KEYS.generations, 0, -1)
    )


def test_the_embedded_redis_is_found_by_batch_and_lookup(
    tmp_path: Path, clone: Clone
) -> None:
    """Without REDIS_URL there is a private server, gone when its last user ends."""
    store = f"sqlite:///{clone.folder}/mlruns/mlflow.db"
    raw = str(clone.folder / "world")
    clone = Clone(tmp_path, {"MOVIELENS_RAW": raw, "MLFLOW_TRACKING_URI": store})
    first = clone.json("run")
    port = int(first["redis_url"].rpartition(":")[2].partition("/")[0])
    wait_until(lambda: not answers(port))
    assert clone.json("status")["generation"] == first["generation"]
    with lookup(tmp_path) as served:
        answer = get(served.port, "/recommend/7?k=3")
        assert clone.json("run")["skipped"] is True
    assert answer["generation"] == first["generation"]
    assert len(answer["items"]) == 3
    clone.run("status")  # the lookup was killed: the next user ends the server
    wait_until(lambda: not answers(port))


@pytest.mark.slow
def test_the_lists_of_ml_100k_beat_the_usual_libraries(tmp_path: Path) -> None:
    """The main job, as `make run` does it, with the embedded Redis and over HTTP.

    On the contract's protocol, with raw files that end where the hold-out begins.
    """
    held_out = write_first_80_percent(ml_100k(), tmp_path / "first80")
    rated = rated_items(tmp_path / "first80")
    clone = Clone(tmp_path, {"MOVIELENS_RAW": "first80"})
    result = json.loads(python_m_batch(clone, "run", "--json").stdout)
    assert (result["n_users"], result["n_items"]) == (943, 1682)
    film_of = films(ml_100k())
    seen = {(user, film_of[item]) for user, items in rated.items() for item in items}
    assert result["n_pairs"] == 943 * len(set(film_of.values())) - len(seen)
    assert (result["promoted"], result["skipped"]) == (True, False)
    with lookup(tmp_path) as served:
        stranger = get(served.port, "/recommend/100000?k=5")
        found = {
            user: get(served.port, f"/recommend/{user}?k=100")["items"]
            for user in rated
        }
    assert stranger["source"] == "popular"
    assert stranger["items"][0]["title"] == "Star Wars (1977)"
    lists = {user: [item["item_id"] for item in items] for user, items in found.items()}
    for user_id, item_ids in lists.items():
        assert len(item_ids) == 100
        assert not rated[user_id] & set(item_ids)
    gains = [ndcg_at_10(lists[user_id], items) for user_id, items in held_out.items()]
    assert sum(gains) / len(gains) >= 0.24  # EASE, the best of the usual ones: 0.2020


def films(raw: Path) -> dict[int, str]:
    """Return the title, with the year, of each item."""
    lines = (raw / "u.item").read_text("latin-1").splitlines()
    return {int(line.split("|")[0]): line.split("|")[1] for line in lines}


def python_m_batch(clone: Clone, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the program itself, in a process that has imported nothing."""
    return subprocess.run(
        [sys.executable, "-m", "batch", *words],
        cwd=clone.folder,
        env=environment(**clone.variables),
        capture_output=True,
        check=True,
        text=True,
        timeout=300,
    )


def get(port: int, path: str) -> dict[str, Any]:
    """Ask a lookup for JSON."""
    answer = ask(port, path)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def current(client: redis.Redis) -> str:
    """Return the generation that is served."""
    return cast("str", client.get(KEYS.current))


def lists(client: redis.Redis, generation: str, user_id: int, n: int = 0) -> list[str]:
    """Read a user's list, or its first n entries, as redis-cli would."""
    key = f"recs:{generation}:user:{user_id}"
    return cast("list[str]", client.lrange(key, 0, n - 1))


def ndcg_at_10(item_ids: list[int], relevant: set[int]) -> float:
    """Measure a list as the contract says."""
    discounts = [1 / math.log2(rank + 1) for rank in range(1, 11)]
    hits = (item_id in relevant for item_id in item_ids)
    gain = sum(d for d, hit in zip(discounts, hits, strict=False) if hit)
    return gain / sum(discounts[: len(relevant)])
