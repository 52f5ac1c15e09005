"""Ranking on a real Dask cluster: a scheduler and workers that are processes."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import xgboost
from distributed import Client, LocalCluster

from batch.errors import BatchError
from batch.scoring import dask_cluster
from batch.scoring.compiled import Ranked
from batch.scoring.dask_cluster import Cluster
from tests.batch.scoring.conftest import lists
from tests.conftest import free_port
from tests.worlds import Connection

pytestmark = pytest.mark.slow


@pytest.fixture
def workers() -> Iterator[LocalCluster]:
    """Run two workers, each a process of its own."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as workers:
        yield workers


def test_lists_are_those_of_one_machine(
    ragged: Connection, booster: xgboost.Booster, workers: LocalCluster
) -> None:
    own = lists(ragged, booster, 10)
    assert lists(ragged, booster, 10, scheduler=workers.scheduler_address) == own


def test_the_death_of_a_worker_changes_nothing(
    ragged: Connection,
    booster: xgboost.Booster,
    workers: LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is killed in the middle of a task, which Dask repeats on another one."""
    own = lists(ragged, booster, 10)
    monkeypatch.setattr(Cluster, "users_per_task", 2)
    real_work = dask_cluster.work

    def slow_work(packed: bytes, shared: bytes, name: str, top_n: int) -> Ranked:
        time.sleep(0.3)
        return real_work(packed, shared, name, top_n)

    monkeypatch.setattr(dask_cluster, "work", slow_work)
    pids = [int(worker.pid) for worker in workers.workers.values()]
    killer = threading.Timer(2.0, os.kill, (pids[0], signal.SIGKILL))
    start = time.monotonic()
    killer.start()
    theirs = lists(ragged, booster, 10, scheduler=workers.scheduler_address)
    assert time.monotonic() - start > 2.0, "it was killed after the end"
    killer.join()
    assert theirs == own
    assert pids[0] not in [worker.pid for worker in workers.workers.values()]


def test_a_scheduler_that_is_not_there_is_named() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(BatchError, match=address):
        dask_cluster.connect(address)


def test_a_cluster_without_workers_says_how_to_start_some(
    ragged: Connection,
    booster: xgboost.Booster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 1.0)
    with (
        LocalCluster(n_workers=0, processes=True, dashboard_address=None) as empty,
        pytest.raises(BatchError, match="dask worker tcp://"),
    ):
        lists(ragged, booster, 10, scheduler=empty.scheduler_address)


def test_workers_with_other_code_are_refused(
    ragged: Connection,
    booster: xgboost.Booster,
    workers: LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Client.run

    def run_other(client: Client, function: object) -> object:
        answers: dict[str, str] = run(client, function)
        return dict.fromkeys(answers, "other")

    monkeypatch.setattr(Client, "run", run_other)
    with pytest.raises(BatchError, match="another version"):
        lists(ragged, booster, 10, scheduler=workers.scheduler_address)
