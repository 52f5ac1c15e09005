"""Servers that lack commands, and keys of types that are not ours."""

from pathlib import Path

import pytest
import redis
from redis.cluster import RedisCluster

from batch.errors import BatchError
from batch.publishing import connections, generations
from batch.publishing.connections import Client
from batch.publishing.generations import locked
from lookup.store.store import Store, lrange
from tests.batch.publishing.test_generations import publish
from tests.cluster import Cluster
from tests.conftest import RedisServer, running
from tests.faults.proxy import proxy

MANAGED = ("HELLO", "CLIENT", "CONFIG", "INFO", "COMMAND", "SCRIPT", "PING", "DEBUG")


@pytest.mark.anyio
@pytest.mark.parametrize("lacking", [("HELLO",), ("INFO",), MANAGED])
async def test_servers_that_lack_commands_work(
    tmp_path: Path, lacking: tuple[str, ...]
) -> None:
    """Such as Redis 5, and managed servers: the batch and the lookup speak RESP2."""
    options = [part for name in lacking for part in ("--rename-command", name, "")]
    with running(tmp_path, *options) as server:
        with connections.connect(server.url) as client:
            connections.check_writable(client, server.url)
            publish(client, "g1", "g2")
            assert generations.previous(client) == "g1"
        store = Store(server.url)
        generation, (texts,) = await store.read(lambda own: [lrange(own.keys.user(1))])
        await store.close()
        assert (generation.name, texts) == ("g2", ["50:3.1416", "73:-0.5000"])


def test_a_cluster_of_valkey_is_recognised(cluster: Cluster) -> None:
    """INFO of Valkey has no `redis_mode`."""
    with proxy(cluster.nodes[0].port) as line:
        line.rewrites[b"redis_mode:"] = b"value_mode:"
        url = f"redis://127.0.0.1:{line.port}"
        with redis.Redis.from_url(url) as node:
            assert "redis_mode" not in node.info("server")
        with connections.connect(url) as client:
            assert isinstance(client.redis, RedisCluster)
            publish(client, "g1")


def test_a_cluster_is_recognised_without_info(cluster: Cluster) -> None:
    for server in cluster.nodes:
        with redis.Redis.from_url(server.url) as node:
            rights = ("on", ">secret", "~*", "+@all", "-info")
            node.execute_command("ACL SETUSER", "worker", *rights)
    url = cluster.url.replace("//", "//worker:secret@")
    with connections.connect(url) as client:
        assert isinstance(client.redis, RedisCluster)
        connections.check_writable(client, url)
        publish(client, "g1")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        *(("current", "string"), ("generations", "zset"), ("lock", "string")),
        ("meta", "hash"),
    ],
)
def test_a_key_of_another_type_is_named(
    client: Client, url: str, key: str, kind: str
) -> None:
    publish(client, "g1")
    name = client.keys.of("g1").meta if key == "meta" else getattr(client.keys, key)
    client.redis.delete(name)
    client.redis.sadd(name, "x")
    with (
        pytest.raises(BatchError, match="remove it, or choose another") as raised,
        connections.connect(url) as other,
        locked(other) as held,
    ):
        generations.remove_leftovers(other, held, 3)
        generations.current(other)
    assert f"{name} is a set, expected a {kind}: another" in str(raised.value)
    assert client.redis.exists(name)


def test_a_type_within_a_script_is_named(own_server: RedisServer) -> None:
    """Older servers wrap the error of a command within a script."""
    with (
        pytest.raises(BatchError, match="recs:generations is a list, expected a zset"),
        connections.connect(own_server.url) as client,
        locked(client) as held,
    ):
        client.redis.rpush("recs:generations", "x")
        held.remove(["g1"])
