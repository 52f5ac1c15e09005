"""Generations that are scored in parts, by several, with interruptions."""

import signal
import subprocess
import sys
import threading
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from distributed import LocalCluster

import batch.publishing.part
from batch import __main__, warehouse
from batch.__main__ import Result
from batch.errors import BatchError, LockHeld
from batch.features import candidates, tables
from batch.ingest import load, release
from batch.model import train
from batch.model.registry import Record, Registry
from batch.publishing import generations, pending
from batch.publishing.part import Part, n_parts, parse
from batch.publishing.pending import Pending
from batch.settings import Settings
from lookup.shared import contract
from tests.conftest import free_port
from tests.test_end_to_end import ROOT, write_world

N_USERS = 40


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> tuple[Path, str]:
    """Make a world, and a store in which a small model is prod."""
    folder = tmp_path_factory.mktemp("parts")
    write_world(folder / "world")
    raw = release.find(folder / "world", folder / "unpacked")
    with warehouse.connect(folder / "spill") as connection:
        load.read(connection, raw)
        tables.build(connection, n_cuts=1)
        pairs = candidates.pairs(connection, warehouse.user_ids(connection))
    booster = train.train([pairs], None, {"nthread": 1}, n_rounds=10).booster
    (folder / "mlruns").mkdir()
    store = folder / "mlruns" / "mlflow.db"
    store.write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{store}"
    registry = Registry(uri)
    record = Record({}, {}, {}, {}, {})
    registry.promote(
        registry.register(booster, booster, pairs.values.slice(0, 5), record)
    )
    return folder, uri


@pytest.fixture
def settings(
    made: tuple[Path, str],
    tmp_path: Path,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """Give that world's settings, with a Redis and a data folder of this test's own."""
    folder, uri = made
    monkeypatch.chdir(tmp_path)
    return Settings.read(
        {
            "MOVIELENS_RAW": str(folder / "world"),
            "MLFLOW_TRACKING_URI": uri,
            "REDIS_URL": redis_url,
        }
    )


def run(settings: Settings, shard: str | None = None, *, force: bool = False) -> Result:
    """Run, or run a part."""
    part = parse(shard) if shard else None
    return __main__.run(Namespace(shard=part, force=force, scheduler=None), settings)


def environ(settings: Settings) -> dict[str, str]:
    """Say the same to a process of its own."""
    return {
        "MOVIELENS_RAW": str(settings.raw),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "REDIS_URL": str(settings.redis_url),
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
    }


def lists(client: redis.Redis) -> dict[int, list[str]]:
    """Read every user's list of the generation that is served."""
    current = str(client.get(contract.CURRENT))
    keys = {i: contract.user_key(current, i) for i in range(1, N_USERS + 1)}
    return {i: [str(e) for e in client.lrange(key, 0, -1)] for i, key in keys.items()}


def rows(settings: Settings, generation: str) -> pa.Table:
    """Read the file of a generation's lists."""
    return pq.read_table(settings.recommendations / f"{generation}.parquet")


@pytest.fixture
def whole(settings: Settings, redis_client: redis.Redis) -> dict[int, list[str]]:
    """Make the lists of one run, and leave nothing of it."""
    run(settings)
    found = lists(redis_client)
    redis_client.flushall()
    return found


def test_parts_are_all_users_once() -> None:
    user_ids = list(range(100, 143))
    for n in (1, 2, 7, 43, 50):
        parts = [Part(number, n).of(user_ids) for number in range(1, n + 1)]
        assert [user_id for part in parts for user_id in part] == user_ids


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected I/N"):
        parse(text)


def test_the_last_part_serves_them_all(
    settings: Settings, redis_client: redis.Redis, whole: dict[int, list[str]]
) -> None:
    """In any order, with the lists of one run; nothing is served before."""
    for i, shard in enumerate(("2/3", "3/3", "1/3"), start=1):
        told = run(settings, shard)
        assert (told["shard"], told["n_parts_written"]) == (shard, i)
        assert (redis_client.get(contract.CURRENT) is None) == (i < 3)
    assert lists(redis_client) == whole
    assert told["n_users"] == N_USERS
    generation = str(told["generation"])
    assert redis_client.hget(contract.meta_key(generation), "n_users") == str(N_USERS)
    assert rows(settings, generation)["user_id"].to_pylist() == sorted(
        user_id for user_id, entries in whole.items() for _ in entries
    )
    assert len(list(settings.recommendations.iterdir())) == 1
    assert pending.read(redis_client) == {}
    assert run(settings, "1/3")["skipped"] is True
    assert run(settings)["skipped"] is True


def test_a_part_that_is_there_is_not_scored_again(
    settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings, "1/2")
    scored: list[int] = []
    monkeypatch.setattr(__main__, "score_part", lambda *_: scored.append(1))
    assert run(settings, "1/2")["n_parts_written"] == 1
    assert scored == []


def test_a_run_goes_on_with_the_parts_of_others(
    settings: Settings, redis_client: redis.Redis, whole: dict[int, list[str]]
) -> None:
    begun = run(settings, "2/2")
    assert __main__.status(Namespace(), settings)["pending"] == [
        {"generation": begun["generation"], "n_parts": 2, "n_written": 1}
    ]
    told = run(settings)
    assert told["generation"] == begun["generation"]
    assert __main__.status(Namespace(), settings)["pending"] == []
    assert lists(redis_client) == whole


def test_another_split_begins_anew(
    settings: Settings, redis_client: redis.Redis, whole: dict[int, list[str]]
) -> None:
    """What was there of the former is removed."""
    former = run(settings, "1/2")["generation"]
    run(settings, "1/3")
    names = [str(name) for name in redis_client.scan_iter(f"recs:{former}:*")]
    assert names == []
    assert run(settings)["generation"] != former
    assert lists(redis_client) == whole


def test_other_inputs_begin_anew(settings: Settings, redis_client: redis.Redis) -> None:
    """Parts of one generation are made of the same files, model and settings."""
    former = run(settings, "1/2")["generation"]
    other = replace(settings, top_n=7)
    assert run(other, "2/2")["generation"] != former
    assert run(other, "1/2")["top_n"] == 7
    assert max(len(entries) for entries in lists(redis_client).values()) == 7


def test_who_is_at_it_is_not_disturbed(
    settings: Settings, redis_client: redis.Redis
) -> None:
    """Neither by a run, nor by the same part, nor by parts of other inputs."""
    told = run(settings, "1/2")
    key = contract.part_lock_key(str(told["generation"]), 2)
    with generations.Lock(redis_client, key):
        for shard, top_n in ((None, 100), ("2/2", 100), ("1/2", 7)):
            with pytest.raises(LockHeld):
                run(replace(settings, top_n=top_n), shard)
    run(settings, "2/2")
    assert redis_client.get(contract.CURRENT) == told["generation"]


@pytest.mark.slow
def test_parts_at_once(
    settings: Settings, redis_client: redis.Redis, whole: dict[int, list[str]]
) -> None:
    """Each by a process of its own, as on several machines with one Redis."""
    words = ["-m", "batch", "run", "--quiet", "--shard"]
    processes = [
        subprocess.Popen([sys.executable, *words, f"{i}/3"], env=environ(settings))
        for i in (1, 2, 3)
    ]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert lists(redis_client) == whole
    assert len(list(settings.recommendations.iterdir())) == 1


@pytest.mark.slow
def test_a_cluster_of_workers_gives_the_lists_of_one_machine(
    settings: Settings, redis_client: redis.Redis, whole: dict[int, list[str]]
) -> None:
    """`run --scheduler`, as a whole and in parts."""
    with LocalCluster(n_workers=1, processes=True, dashboard_address=None) as workers:
        there = replace(settings, scheduler=workers.scheduler_address)
        run(there)
        assert lists(redis_client) == whole
        redis_client.flushall()
        run(there, "2/2")
        run(there, "1/2")
    assert lists(redis_client) == whole


@pytest.mark.slow
def test_a_scheduler_on_the_command_line_is_asked(settings: Settings) -> None:
    """One that is not there ends the run: no other machine scores in its place."""
    address = f"tcp://127.0.0.1:{free_port()}"
    words = ["-m", "batch", "run", "--scheduler", address]
    ended = subprocess.run(
        [sys.executable, *words],
        env=environ(settings),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error: ")
    assert address in ended.stderr


def test_who_slept_does_not_serve_what_was_followed(
    settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others took its part, served all of them, and then what came after."""
    begun = run(settings, "1/2")["generation"]
    build_now = __main__.build_now
    monkeypatch.setattr(
        generations, "LOCK_SECONDS", 1000
    )  # it is not renewed in its sleep

    def asleep(*arguments: object) -> None:
        monkeypatch.setattr(__main__, "build_now", build_now)
        redis_client.delete(contract.part_lock_key(str(begun), 2))
        assert run(settings, "2/2")["generation"] == begun
        after.append(run(settings, force=True)["generation"])
        build_now(*arguments)  # type: ignore[arg-type]

    after: list[object] = []
    monkeypatch.setattr(__main__, "build_now", asleep)
    with pytest.raises(BatchError, match=f"another batch has finished {begun}"):
        run(settings, "2/2")
    assert redis_client.get(contract.CURRENT) == after[0]
    assert generations.generations(redis_client) == [begun, *after]


def test_two_who_end_at_once_serve_it_once(
    settings: Settings, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the generation before stays, for `rollback`."""
    former = run(settings)["generation"]
    finish = __main__.finish

    def twice(job: __main__.Job, made: Pending, user_ids: list[int]) -> __main__.Served:
        first = finish(job, made, user_ids)
        assert finish(job, made, user_ids) == first
        return first

    monkeypatch.setattr(__main__, "finish", twice)
    other = replace(settings, top_n=7)
    run(other, "1/2")
    served = run(other, "2/2")["generation"]
    assert generations.generations(redis_client) == [former, served]
    assert __main__.rollback(Namespace(), settings)["generation"] == former


def test_a_generation_that_lost_how_it_was_made_is_made_anew(
    settings: Settings, redis_client: redis.Redis
) -> None:
    former = run(settings)["generation"]
    redis_client.hdel(contract.meta_key(str(former)), "model_version", "scored_at")
    told = __main__.status(Namespace(), settings)
    assert (told["generation"], told["model_version"]) == (former, None)
    assert run(settings)["skipped"] is False


@pytest.fixture
def in_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs score three parts."""
    monkeypatch.setattr(batch.publishing.part, "USERS_PER_PART", 15)
    assert n_parts(N_USERS) == 3


def test_an_interrupted_run_goes_on(
    in_three: None,
    settings: Settings,
    redis_client: redis.Redis,
    whole: dict[int, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the parts that are done, and the lists of one run."""
    scored: list[int] = []
    score_part = __main__.score_part

    def interrupted(
        job: __main__.Job, made: Pending, part: Part, user_ids: list[int]
    ) -> int:
        n_entries = score_part(job, made, part, user_ids)
        scored.append(part.number)
        if scored == [1, 2]:
            raise KeyboardInterrupt
        return n_entries

    monkeypatch.setattr(__main__, "score_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings)
    assert redis_client.get(contract.CURRENT) is None
    run(settings)
    assert scored == [1, 2, 3]
    assert lists(redis_client) == whole


KILLED = """
import os, signal, sys
import batch.publishing.part
from batch import __main__
from batch.publishing import explanations, generations, parquet
batch.publishing.part.USERS_PER_PART = 15
publish.LISTS_PER_TRIP = beside.USERS_PER_QUERY = 1
written = exports.written
def dying(file, rankings):
    for ranking in written(file, rankings):
        yield ranking
        if ranking.user_id == 20:
            os.kill(os.getpid(), signal.SIGKILL)
exports.written = dying
sys.exit(__main__.main(["run", "--quiet"]))
"""


@pytest.mark.slow
def test_a_run_that_was_killed_in_a_part_does_that_part_again(
    in_three: None,
    settings: Settings,
    redis_client: redis.Redis,
    whole: dict[int, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its lists are there by half; they are removed and written anew."""
    script = KILLED.replace(
        "written, n =",
        "from batch import publish\npublish.LISTS_PER_TRIP = 1\nwritten, n =",
    )
    died = subprocess.run(
        [sys.executable, "-c", script], env=environ(settings), timeout=120
    )
    assert died.returncode == -signal.SIGKILL
    (made,) = pending.read(redis_client).values()
    assert list(pending.done(redis_client, made)) == [1]
    assert redis_client.exists(contract.user_key(made.generation, 16))
    redis_client.delete(contract.LOCK)  # or one would wait until it expires
    assert run(settings)["generation"] == made.generation
    assert lists(redis_client) == whole
    assert len(list(settings.recommendations.iterdir())) == 1


def test_lists_that_were_written_twice_are_not_served(
    in_three: None, settings: Settings, redis_client: redis.Redis
) -> None:
    """As by a batch that slept past its lock; nothing of them is left."""

    def double() -> None:
        for made in pending.read(redis_client).values():
            redis_client.rpush(contract.user_key(made.generation, 1), "9:9.0000")

    complete = generations.complete

    def doubled(*arguments: object) -> None:
        double()
        complete(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generations, "complete", doubled)
        with pytest.raises(BatchError, match="did two batches write it"):
            run(settings)
    assert redis_client.get(contract.CURRENT) is None
    assert [str(name) for name in redis_client.scan_iter("recs:2*")] == []
    assert pending.read(redis_client) == {}


def test_a_part_whose_generation_was_given_up_says_so(
    redis_client: redis.Redis,
) -> None:
    made = Pending("g1", 2)
    with pytest.raises(BatchError, match="given"):
        pending.record(redis_client, made, Part(1, 2), 5)


def test_without_a_model_there_is_nothing_to_part(
    settings: Settings, empty_store: Path, tmp_path: Path
) -> None:
    """Two that bootstrap would score with two models."""
    store = tmp_path / "empty.db"
    store.write_bytes(empty_store.read_bytes())
    with pytest.raises(BatchError, match="python -m batch train"):
        run(replace(settings, tracking_uri=f"sqlite:///{store}"), "1/2")


def test_who_waits_for_the_lock_gets_it(redis_client: redis.Redis) -> None:
    """Parts begin and end one at a time."""
    with generations.Lock(redis_client):
        held = threading.Event()

        def wait() -> None:
            with generations.Lock(redis_client, patience=20):
                held.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not held.wait(0.3)
    assert held.wait(20)
    waiting.join()
