"""Generations in a real cluster of three nodes, and the lookup on it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import redis
from redis.cluster import RedisCluster

from batch.errors import BatchError
from batch.publishing import connections, encoding, lock, shared_keys
from batch.publishing.connections import Client
from batch.publishing.generations import locked
from batch.publishing.pipeline import Pipeline, Trip
from lookup.app import create_app
from lookup.settings import Settings
from lookup.store.store import Store
from tests import staged
from tests.batch.publishing.test_generations import ITEMS, META, POPULAR, ranking
from tests.cluster import Cluster, clustered
from tests.conftest import KEYS, wait_until
from tests.faults.batches import Clone
from tests.faults.lookups import lookup
from tests.lookup.programs import ask
from tests.movielens import write_world

USER_IDS = range(1, 301)
RANKINGS = [ranking(user_id, (50, 2.0), (73, -user_id)) for user_id in USER_IDS]


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    """A client of the cluster, given the URL of one node."""
    with connections.connect(cluster.url) as client:
        yield client


def publish_one(client: Client, generation: str) -> None:
    """Write a generation and make it current."""
    with locked(client) as held:
        staged.stage(client, generation, RANKINGS, POPULAR, ITEMS)
        shared_keys.write_meta(client, generation, META)
        held.make_current(generation, time.time())


def test_any_node_leads_to_all(client: Client, cluster: Cluster) -> None:
    """The keys are those of the contract, on the nodes of their slots."""
    publish_one(client, "g1")
    assert client.redis.get("recs:current") == "g1"
    assert not client.redis.exists(client.keys.lock)
    assert client.redis.lrange("recs:g1:user:7", 0, 4) == ["50:2.0000", "73:-7.0000"]
    for server in cluster.nodes:
        with redis.Redis.from_url(server.url) as node:
            assert len(node.keys("recs:g1:user:*")) > len(USER_IDS) / 6


def test_what_one_script_touches_is_on_one_node(client: Client) -> None:
    assert isinstance(client.redis, RedisCluster)
    keys = (KEYS.current, client.keys.lock, client.keys.generations)
    assert len({client.redis.keyslot(key) for key in keys}) == 1
    assert {KEYS.generation_of(key) for key in keys} == {None}


@pytest.mark.slow
def test_a_lock_outlives_what_a_cluster_says_amid_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not all that redis raises then is a RedisError: who renews it goes on."""
    monkeypatch.setattr(lock, "LOCK_SECONDS", 4)
    with clustered(tmp_path) as cluster, connections.connect(cluster.url) as client:
        with locked(client) as held:
            for node in cluster.nodes:
                node.kill()
            wait_until(lambda: caplog.text.count("could not renew") >= 2, 30)
            assert held._renewer.is_alive()
        assert "it expires by itself" in caplog.text


@pytest.mark.parametrize(("command", "answer"), [("RPUSH", 1), ("SET", "OK")])
def test_a_slot_that_moves_meanwhile_is_followed(
    client: Client, cluster: Cluster, command: str, answer: int | str
) -> None:
    """Where the client takes its node to be nothing is done, elsewhere it is once."""
    assert isinstance(client.redis, RedisCluster)
    key = KEYS.of("g1").user(7)
    home = client.redis.get_node_from_key(key).port
    (start, *_) = (s for s in cluster.nodes if s.port == home)
    (end, *_) = (s for s in cluster.nodes if s.port != home)
    cluster.move(client.redis.keyslot(key), end)
    try:
        pipeline = Pipeline(client.redis)
        pipeline.send(Trip([key], [encoding.command(command, key, "x")], [answer]))
        assert pipeline.receive()[1] == [answer]
        pipeline.close()
        with redis.Redis.from_url(end.url) as node:
            assert node.exists(key)
    finally:
        cluster.flush()
        cluster.move(client.redis.keyslot(key), start)


def test_a_database_other_than_the_first_is_refused(cluster: Cluster) -> None:
    """A cluster has none."""
    url = cluster.url.removesuffix("/0") + "/3"
    with (
        pytest.raises(BatchError, match="/3 failed: SELECT is not"),
        connections.connect(url),
    ):
        pass


@asynccontextmanager
async def looking_up(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the API."""
    store = Store(cluster.url)
    transport = httpx.ASGITransport(create_app(store, Settings(cache_mb=0)))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as api:
        yield api
    await store.close()


@pytest.mark.anyio
async def test_the_lookup_serves_from_all_nodes(
    client: Client, cluster: Cluster
) -> None:
    async with looking_up(cluster) as api:
        assert (await api.get("/ready")).status_code == 503
        publish_one(client, "g1")
        for user_id in USER_IDS:
            answer = (await api.get(f"/recommend/{user_id}")).json()
            assert answer["source"] == "personal"
            scores = [item["score"] for item in answer["items"]]
            assert scores == [2.0, -user_id]
        assert (await api.get("/recommend/999")).json()["source"] == "popular"
        publish_one(client, "g2")
        assert (await api.get("/recommend/7")).json()["generation"] == "g2"


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_node_that_dies_and_comes_back(tmp_path: Path) -> None:
    """Until then 503, right answers at once after it, with no restart."""
    with clustered(tmp_path) as cluster:
        with connections.connect(cluster.url) as client:
            publish_one(client, "g1")
            assert isinstance(client.redis, RedisCluster)
            port = client.redis.get_node_from_key(KEYS.of("g1").user(7)).port
        (node,) = (server for server in cluster.nodes if server.port == port)
        with redis.Redis.from_url(node.url) as its:
            its.save()
        async with looking_up(cluster) as api:
            assert (await api.get("/recommend/7")).status_code == 200
            node.kill()
            answer = await api.get("/recommend/7")
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            node.start()
            for server in cluster.nodes:
                wait_until(lambda server=server: cluster.is_complete(server, 3))
            answer = await api.get("/recommend/7")
            assert answer.status_code == 200, answer.text
            assert answer.json()["items"][1]["score"] == -7


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_replica_takes_over(tmp_path: Path, how: str) -> None:
    """Of a node that ended, and of one that takes connections and never answers."""
    with clustered(tmp_path, with_replica=True) as cluster:
        with connections.connect(cluster.url) as client:
            publish_one(client, "g1")
        first, second = cluster.nodes[0], cluster.replica
        assert second is not None
        with redis.Redis.from_url(first.url) as node:
            names = [name.decode() for name in node.keys("recs:g1:user:*")]
            assert node.wait(1, 5000) == 1
        user_id = int(names[0].rpartition(":")[2])
        async with looking_up(cluster) as api:
            assert (await api.get(f"/recommend/{user_id}")).status_code == 200
            getattr(first, how)()
            assert (await api.get(f"/recommend/{user_id}")).status_code == 503
            with redis.Redis.from_url(second.url) as node:
                wait_until(lambda: node.info("replication")["role"] == "master", 20)
            # each of the others has to hear of it, and may wonder on a busy machine
            give_up_at = time.monotonic() + 30
            answer = await api.get(f"/recommend/{user_id}")
            while answer.status_code == 503 and time.monotonic() < give_up_at:
                await asyncio.sleep(0.1)
                answer = await api.get(f"/recommend/{user_id}")
            assert answer.status_code == 200, answer.text
            assert answer.json()["items"][1]["score"] == -user_id


@pytest.mark.slow
def test_the_commands(tmp_path: Path, cluster: Cluster) -> None:
    """As on one server: run, skip, status, rollback, and the API."""
    write_world(tmp_path / "world")
    clone = Clone(tmp_path, {"REDIS_URL": cluster.url, "MOVIELENS_RAW": "world"})
    first = clone.json("run")
    assert (first["skipped"], first["n_users"]) == (False, 40)
    assert clone.json("run")["skipped"] is True
    second = clone.json("run", "--force")["generation"]
    assert clone.json("status")["generations"] == [first["generation"], second]
    assert clone.json("rollback")["generation"] == first["generation"]
    with lookup(tmp_path, REDIS_URL=cluster.url) as served:
        answer = ask(served.port, "/recommend/7?k=3").json()
    assert answer["generation"] == first["generation"]
    assert len(answer["items"]) == 3
