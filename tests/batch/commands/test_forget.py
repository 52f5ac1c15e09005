"""`forget` after real runs: no key, no file and no artifact names the user."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis

import batch.model.train
from batch.commands import admin, resources
from batch.commands import run as command
from batch.commands.evaluate import evaluate
from batch.commands.forget import forget
from batch.commands.train import train
from batch.errors import BatchError, LockHeld
from batch.publishing import generations
from batch.settings import Settings
from tests.conftest import KEYS, RedisServer
from tests.movielens import write_world

Kept = dict[str, set[str]]


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, server: RedisServer
) -> Iterator[Settings]:
    """Publish two generations of a world, and make all pages."""
    folder = tmp_path_factory.mktemp("forget")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_world(folder / "world")
        (folder / "mlruns").mkdir()
        shutil.copy(empty_store, "mlruns/mlflow.db")
        few = partial(batch.model.train.train, parameters={"nthread": 1}, n_rounds=10)
        patch.setattr(batch.model.train, "train", few)
        settings = Settings.read(
            {
                "MOVIELENS_RAW": "world",
                "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlruns/mlflow.db",
                "REDIS_URL": server.url,
            }
        )
        run(settings)
        run(settings)
        train(settings, promote=False)
        for protocol in ("fifth", "last"):
            evaluate(settings, protocol=protocol)
        yield settings


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client


def run(settings: Settings) -> None:
    command.run(settings, force=True, accept_changes=False)


def kept(client: Any) -> Kept:
    """Find every place that names users, and the users that it names."""
    found: Kept = {}
    for key in client.scan_iter("recs:*"):
        if match := re.fullmatch(r"(recs:[^:]+):(user|because|history):(.+)", key):
            found.setdefault(f"{match[1]}:{match[2]}", set()).add(match[3])
        elif key.endswith(":about"):
            found[key] = set(map(str, json.loads(client.get(key))["examples"]))
    for path in Path("data").rglob("*.parquet"):
        if "user_id" in (names := pq.read_schema(path).names):
            column = pq.read_table(path, columns=[names[names.index("user_id")]])
            found[str(path)] = set(map(str, column["user_id"].to_pylist()))
    for folder in ("data", "mlruns"):
        for path in Path(folder).rglob("*.html"):
            found[str(path)] = set(re.findall("User ([^:<]+)", path.read_text()))
    return found


def lists(client: Any) -> dict[str, list[str]]:
    return {key: client.lrange(key, 0, -1) for key in client.scan_iter("recs:*:user:*")}


def test_no_key_no_file_and_no_artifact_names_the_user_and_others_stay(
    settings: Settings, client: Any
) -> None:
    before, before_lists = kept(client), lists(client)
    kinds = ("user", "about", "_features.parquet", "training_pairs.parquet")
    pages = ("processed/evaluation.html", "evaluations/", "evaluation.html")
    for kind in kinds + pages:
        assert any(kind in place for place in before), kind
    assert all(before.values())
    names = client.zrange(KEYS.generations, 0, -1)
    assert len(names) == 2
    n_users = len(before[f"recs:{names[0]}:user"])
    everywhere = set.intersection(*before.values())
    gone = {min(everywhere, key=int), next(iter(before[f"recs:{names[0]}:about"]))}
    for user in sorted(gone):
        result = forget(settings, user=user)
        of_user = [place for place, users in before.items() if user in users]
        assert result["keys"] == 2 * 3
        assert result["pages"] == sum("html" in place for place in of_user)
        assert int(str(result["rows"])) > 2 * 10
        assert "raw files" in str(result["note"])
    after = kept(client)
    assert after == {place: users - gone for place, users in before.items()}
    for name in names:
        assert client.hget(KEYS.of(name).meta, "n_users") == str(n_users - len(gone))
        about = json.loads(client.get(KEYS.of(name).about))
        assert about["n_users"] == n_users - len(gone)
    others = {k: v for k, v in before_lists.items() if k.split(":")[-1] not in gone}
    assert lists(client) == others
    assert admin.status(settings)["n_users"] == n_users - len(gone)


def test_somebody_unknown_is_no_failure(settings: Settings, client: Any) -> None:
    before = kept(client)
    result = forget(settings, user="999999")
    assert [result[name] for name in ("keys", "rows", "pages")] == [0, 0, 0]
    assert result["note"] == "nothing was kept of this user"
    assert kept(client) == before


def test_what_interrupted_batches_left_goes_too(
    settings: Settings, client: Any
) -> None:
    orphan = KEYS.of("20200101T000000Z-abcdef").user(2)
    client.rpush(orphan, "50:1.0")
    client.rpush("recs:cart:2", "50")  # another program's
    partial_file = settings.recommendations / "x.parquet.12345678.partial"
    partial_file.touch()
    settings.unpacked.mkdir()
    forget(settings, user="2")
    assert not client.exists(orphan)
    assert client.exists("recs:cart:2")
    assert not partial_file.exists() and not settings.unpacked.exists()


def test_while_another_batch_holds_the_lock_nothing_is_removed(
    settings: Settings, client: Any
) -> None:
    before = kept(client)
    with (
        resources.open_redis(settings) as (_url, held),
        generations.locked(held),
        pytest.raises(LockHeld),
    ):
        forget(settings, user="3")
    assert kept(client) == before


def test_a_store_that_does_not_answer_is_named_and_the_rest_is_removed(
    settings: Settings, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = replace(settings, tracking_uri="http://127.0.0.1:1")
    with pytest.raises(BatchError, match=r"MLflow.*6 keys and .*run it again"):
        forget(away, user="4")
    assert not client.keys("recs:*:user:4")
    forget(settings, user="4")
    assert not any("4" in users for users in kept(client).values())


def test_raw_files_bring_the_user_back(settings: Settings, client: Any) -> None:
    forget(settings, user="5")
    result = command.run(settings, force=False, accept_changes=False)
    assert result["skipped"]
    assert not client.keys("recs:*:user:5")
    run(settings)
    assert client.keys("recs:*:user:5")
