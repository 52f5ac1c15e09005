"""Ranking on a real Dask cluster: a scheduler and workers that are processes."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import xgboost
from distributed import Client, LocalCluster

from batch import warehouse
from batch.errors import BatchError
from batch.features import tables
from batch.model import train
from batch.scoring import dask_cluster, rank
from batch.scoring.compiled import Ranked
from batch.scoring.dask_cluster import Cluster
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.conftest import free_port
from tests.worlds import Connection

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Give a ragged world as of now."""
    with warehouse.connect(tmp_path_factory.mktemp("spill")) as connection:
        worlds.stage(connection, worlds.ragged())
        tables.build(connection, n_cuts=0)
        yield connection


@pytest.fixture(scope="module")
def booster(tmp_path_factory: pytest.TempPathFactory) -> xgboost.Booster:
    """Give a model that tells items apart."""
    pairs = worlds.ragged_pairs(tmp_path_factory.mktemp("spill"))
    return train.train([pairs], None, {"nthread": 1}, n_rounds=10).booster


@pytest.fixture
def workers() -> Iterator[LocalCluster]:
    """Run two workers, each a process of its own."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as workers:
        yield workers


def lists(rankings: Iterator[Ranking]) -> list[tuple[int, list[int], list[float]]]:
    """Make rankings comparable."""
    return [(r.user_id, r.item_ids.tolist(), r.scores.tolist()) for r in rankings]


def test_lists_are_those_of_one_machine(
    connection: Connection, booster: xgboost.Booster, workers: LocalCluster
) -> None:
    user_ids, address = warehouse.user_ids(connection), workers.scheduler_address
    own = lists(rank.score(connection, booster, user_ids, 10))
    theirs = rank.score(connection, booster, user_ids, 10, scheduler=address)
    assert lists(theirs) == own


def test_the_death_of_a_worker_changes_nothing(
    connection: Connection,
    booster: xgboost.Booster,
    workers: LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is killed in the middle of a task, which another one does again."""
    user_ids, address = warehouse.user_ids(connection), workers.scheduler_address
    own = lists(rank.score(connection, booster, user_ids, 10))
    monkeypatch.setattr(Cluster, "users_per_task", 2)
    real_work = dask_cluster.work

    def dawdling(packed: bytes, shared: bytes, name: str, top_n: int) -> Ranked:
        time.sleep(0.3)
        return real_work(packed, shared, name, top_n)

    monkeypatch.setattr(dask_cluster, "work", dawdling)
    pids = [int(worker.pid) for worker in workers.workers.values()]
    killer = threading.Timer(2.0, os.kill, (pids[0], signal.SIGKILL))
    start = time.monotonic()
    killer.start()
    theirs = lists(rank.score(connection, booster, user_ids, 10, scheduler=address))
    assert time.monotonic() - start > 2.0, "it was killed after the end"
    killer.join()
    assert theirs == own
    assert pids[0] not in [worker.pid for worker in workers.workers.values()]


def test_a_scheduler_that_is_not_there_is_named() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(BatchError, match=address):
        dask_cluster.connect(address)


def test_a_cluster_without_workers_says_how_to_start_some(
    connection: Connection,
    booster: xgboost.Booster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 1.0)
    with (
        LocalCluster(n_workers=0, processes=True, dashboard_address=None) as nobody,
        pytest.raises(BatchError, match="dask worker tcp://"),
    ):
        user_ids, address = warehouse.user_ids(connection), nobody.scheduler_address
        list(rank.score(connection, booster, user_ids, 10, scheduler=address))


def test_workers_with_other_code_are_refused(
    connection: Connection,
    booster: xgboost.Booster,
    workers: LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their lists might be others."""
    run = Client.run

    def run_other(client: Client, function: object) -> object:
        answers: dict[str, str] = run(client, function)
        return dict.fromkeys(answers, "other")

    monkeypatch.setattr(Client, "run", run_other)
    user_ids, address = warehouse.user_ids(connection), workers.scheduler_address
    with pytest.raises(BatchError, match="another version"):
        list(rank.score(connection, booster, user_ids, 10, scheduler=address))
