"""Runs in one process, with a small model that is prod already."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from distributed import LocalCluster
from mlflow import MlflowClient

from batch.commands import Result, admin
from batch.commands import run as command
from batch.commands.train import train as train_command
from batch.errors import BatchError, NothingToLearn
from batch.publishing import shared_keys
from batch.publishing.connections import Client
from batch.publishing.generations import Meta
from batch.settings import Settings
from lookup.shared.keys import Keys
from lookup.store.store import Store, lrange
from tests.conftest import KEYS, free_port
from tests.lookup.programs import ROOT
from tests.movielens import rated_items, write_world

N_USERS = 40


def run(settings: Settings) -> Result:
    """Run as the command does."""
    return command.run(settings, force=False, accept_changes=False)


def lists(client: redis.Redis) -> dict[int, list[str]]:
    """Read every user's list of the generation that is served."""
    current = str(client.get(KEYS.current))
    keys = {i: KEYS.of(current).user(i) for i in range(1, N_USERS + 1)}
    return {i: [str(e) for e in client.lrange(key, 0, -1)] for i, key in keys.items()}


@pytest.mark.parametrize("n_users", [1, 3])
def test_data_too_small_to_learn_from_are_served_by_popularity(
    settings: Settings,
    empty_store: Path,
    redis_client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    n_users: int,
) -> None:
    """No user has both a past and a future, so there is no model, and that is said."""
    own = Path("own")
    own.mkdir()
    users = "".join(f"u{u},{'ab'[u > 1]},160000000{u}\n" for u in range(1, n_users + 1))
    (own / "interactions.csv").write_text(f"user_id,item_id,timestamp\n{users}")
    Path("mlflow.db").write_bytes(empty_store.read_bytes())
    small = replace(settings, raw=own, tracking_uri=f"sqlite:///{Path.cwd()}/mlflow.db")
    first = run(small)
    assert (first["source"], first["model_version"]) == ("popular", "")
    assert (first["skipped"], first["promoted"]) == (False, False)
    assert "until there is more, items rank by popularity" in caplog.text
    generation = KEYS.of(str(first["generation"]))
    expected = {1: [""], 3: ["b:2.0000"]}[n_users]
    assert redis_client.lrange(generation.user("u1"), 0, -1) == expected
    assert run(small)["skipped"]
    assert admin.status(small)["prod_version"] is None
    with pytest.raises(NothingToLearn, match="a user needs at least 2 ratings"):
        train_command(small, promote=False)
    client = MlflowClient(small.tracking_uri)
    assert (
        client.search_runs([one.experiment_id for one in client.search_experiments()])
        == []
    )
    # more data make a model
    more = "".join(
        f"v{u},{'cdefghijkl'[(u + i) % 10]},160000{1000 + i}\n"
        for u in range(40)
        for i in range(6)
    )
    (own / "interactions.csv").write_text(f"user_id,item_id,timestamp\n{users}{more}")
    later = run(small)
    assert (later["source"], later["model_version"]) == ("personal", "1")


@pytest.mark.slow
def test_a_cluster_of_workers_gives_the_lists_of_one_machine(
    settings: Settings, redis_client: redis.Redis
) -> None:
    """`run --scheduler`."""
    run(settings)
    whole = lists(redis_client)
    redis_client.flushall()
    with LocalCluster(n_workers=1, processes=True, dashboard_address=None) as workers:
        run(replace(settings, scheduler=workers.scheduler_address))
    assert lists(redis_client) == whole
    assert len(whole[1]) > 0


def test_a_film_with_two_ids_is_published_once(
    settings: Settings, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """As the one with more ratings; the other one says so."""
    folder = tmp_path / "alike"
    shutil.copytree(settings.raw, folder)
    text, ids = (folder / "u.item").read_text(), (1, 3)
    assert "Movie 3 (1943)" in text
    (folder / "u.item").write_text(text.replace("Movie 3 (1943)", "Movie 1 (1941)"))
    rated = rated_items(folder)
    counts = {i: sum(i in seen for seen in rated.values()) for i in ids}
    film, other = sorted(ids, key=lambda i: (-counts[i], i))
    run(replace(settings, raw=folder, is_raw_named=True))
    own = KEYS.of(str(redis_client.get(KEYS.current)))
    items = {i: json.loads(str(redis_client.hget(own.items, str(i)))) for i in ids}
    assert (items[other]["same_as"], "same_as" in items[film]) == (film, False)
    for user_id, texts in lists(redis_client).items():
        listed = {int(text.partition(":")[0]) for text in texts}
        assert other not in listed
        assert (film in listed) == rated[user_id].isdisjoint(ids)
        assert len(listed | rated[user_id] | {*ids}) == 60


def started(settings: Settings, *words: str) -> "subprocess.Popen[str]":
    """Start a batch on a machine that has compiled nothing yet."""
    return subprocess.Popen(
        [sys.executable, "-m", "batch", *words],
        env={
            "MOVIELENS_RAW": str(settings.raw),
            "MLFLOW_TRACKING_URI": settings.tracking_uri,
            "REDIS_URL": str(settings.redis_url),
            "NUMBA_CACHE_DIR": str(Path.cwd() / "numba"),
            "PYTHONPATH": str(ROOT),
            "PATH": "/usr/bin:/bin",
        },
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("words", [("run", "--raw", "bad"), ("features",)])
def test_a_command_that_does_not_score_compiles_nothing(
    settings: Settings, words: tuple[str, ...]
) -> None:
    path = write_world(Path.cwd() / "bad") / "u.data"
    path.write_text(path.read_text().replace("\t", "\tnine", 1))
    with started(settings, *words) as batch:
        _, said = batch.communicate(timeout=60)
    assert batch.returncode == (1 if "--raw" in words else 0), said
    assert list(Path.cwd().glob("numba/**/kernels.*")) == []


def test_the_compiler_is_not_waited_for_on_the_way_out(
    settings: Settings, redis_client: redis.Redis
) -> None:
    """It is named where scoring waits for it, and leaves nothing broken."""
    with started(settings, "run") as batch:
        assert batch.stderr is not None
        assert any("compiling the scorer" in line for line in batch.stderr)
        batch.send_signal(signal.SIGTERM)
        _, said = batch.communicate(timeout=60)
    assert batch.returncode == 130, said
    assert said.startswith("error: interrupted")
    assert list(redis_client.scan_iter("recs:*")) == []
    assert list(Path.cwd().glob("numba/**/kernels.rank-*.nbc")) == []


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_ends_the_run(settings: Settings) -> None:
    """This machine does not score in its place."""
    address = f"tcp://127.0.0.1:{free_port()}"
    ended = subprocess.run(
        [sys.executable, "-m", "batch", "run", "--scheduler", address],
        env={
            "MOVIELENS_RAW": str(settings.raw),
            "MLFLOW_TRACKING_URI": settings.tracking_uri,
            "REDIS_URL": str(settings.redis_url),
            "PYTHONPATH": str(ROOT),
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error: ")
    assert address in ended.stderr


def test_a_generation_that_lost_a_field_of_its_meta_is_replaced(
    settings: Settings, redis_client: redis.Redis
) -> None:
    former = run(settings)["generation"]
    assert run(settings)["skipped"] is True
    redis_client.hdel(KEYS.of(str(former)).meta, "model_version", "scored_at")
    status = admin.status(settings)
    assert (status["generation"], status["model_version"]) == (former, None)
    assert status["prod_version"] == "1"
    assert run(settings)["skipped"] is False


def test_a_status_without_anything_makes_nothing(settings: Settings) -> None:
    """And one whose MLflow does not answer is a status all the same."""
    uri = f"sqlite:///{Path.cwd()}/none.db"
    for store in (uri, f"http://127.0.0.1:{free_port()}"):
        status = admin.status(replace(settings, tracking_uri=store))
        assert (status["prod_version"], status["generations"]) == (None, [])
    assert list(Path.cwd().iterdir()) == []


def test_as_many_generations_are_held_as_the_settings_say(
    settings: Settings, redis_client: redis.Redis
) -> None:
    """Lists and files; one rolls back among them, and the next run drops the newer."""
    settings = replace(settings, keep_generations=3)
    names = [forced(settings) for _ in range(4)]
    check_held(settings, redis_client, names[1:])
    for name in (names[2], names[1]):
        assert admin.rollback(settings)["generation"] == name
        check_held(settings, redis_client, names[1:])
    with pytest.raises(BatchError, match="nothing to roll back to"):
        admin.rollback(settings)
    assert run(settings)["skipped"] is True
    check_held(settings, redis_client, names[1:])
    names = [names[1], forced(settings), forced(settings)]
    check_held(settings, redis_client, names)
    run(replace(settings, keep_generations=2))
    check_held(settings, redis_client, names[1:])


def forced(settings: Settings) -> str:
    """Score, and return the generation."""
    return str(command.run(settings, force=True, accept_changes=False)["generation"])


def check_held(
    settings: Settings,
    client: redis.Redis,
    names: list[str],
    others: Sequence[str] = (),
) -> None:
    """Check which generations are held: in the set, as keys and as files.

    Others are those of another installation in the same folder.
    """
    keys = Keys(settings.redis_prefix)
    assert client.zrange(keys.generations, 0, -1) == names
    found = {keys.generation_of(str(key)) for key in client.scan_iter("*", count=1000)}
    assert found - {None} == set(names)
    assert {path.stem for path in settings.recommendations.iterdir()} == {
        *names,
        *others,
    }


@pytest.mark.anyio
async def test_two_installations_share_one_redis(
    settings: Settings, redis_client: redis.Redis
) -> None:
    """Neither sees, locks, removes or serves what the other has, nor a third's."""
    shop = replace(settings, redis_prefix="recs:shop")
    redis_client.set("recs:cache:home", "stays")
    redis_client.set(KEYS.lock, "elsewhere:1:x")
    names = [forced(shop) for _ in range(4)]
    redis_client.delete(KEYS.lock)
    mine = [forced(settings) for _ in range(4)]
    check_held(shop, redis_client, names[1:], mine[1:])
    check_held(settings, redis_client, mine[1:], names[1:])
    assert admin.rollback(shop)["generation"] == names[2]
    for one, name in ((shop, names[2]), (settings, mine[3])):
        assert one.redis_url is not None
        assert admin.status(one)["generation"] == name
        assert run(one)["skipped"] is True
        store = Store(one.redis_url, one.redis_prefix)
        generation, (texts,) = await store.read(lambda own: [lrange(own.keys.user(7))])
        await store.close()
        assert generation.name == name
        assert texts
    assert redis_client.get("recs:cache:home") == "stays"
    with pytest.raises(BatchError, match="read and write recs:shop:") as raised:
        redis_client.execute_command("ACL SETUSER worker on >secret ~recs:x:* +@all")
        url = str(settings.redis_url).replace("//", "//worker:secret@")
        run(replace(shop, redis_url=url))
    redis_client.execute_command("ACL DELUSER worker")
    assert "\n" not in str(raised.value)


def test_nothing_is_left_of_a_generation_that_fails(
    settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losing(client: Client, generation: str, meta: Meta) -> None:
        client.redis.delete(KEYS.of(generation).user(7))

    monkeypatch.setattr(shared_keys, "write_meta", losing)
    with pytest.raises(BatchError, match="is not whole: .* did Redis restart"):
        run(settings)
    assert list(redis_client.scan_iter("recs:*")) == []
    assert list(settings.recommendations.iterdir()) == []
