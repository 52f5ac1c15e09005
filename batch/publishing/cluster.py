"""The differences between Redis Cluster and a single Redis server.

A cluster spreads keys over its nodes, a script may use keys of one node only, and a
client may be redirected to the node that a key has moved to.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import redis
from redis.cluster import RedisCluster
from redis.exceptions import AskError, ClusterError, RedisClusterException

Redis = redis.Redis | RedisCluster

ERRORS = (ClusterError, RedisClusterException)
"""redis-py's errors about a cluster; RedisClusterException is not a RedisError."""
Redirected = AskError
"""The key has moved to another node and the command was not executed."""


def is_cluster(client: Redis) -> bool:
    """Return whether keys are spread over several servers."""
    return isinstance(client, RedisCluster)


def is_node(client: redis.Redis) -> bool:
    """Return whether a server belongs to a cluster.

    Valkey has no `redis_mode`. Users of managed servers may not have the right to INFO.
    """
    try:
        return bool(client.info("cluster").get("cluster_enabled"))
    except redis.ResponseError:
        with suppress(redis.ResponseError):
            client.execute_command("CLUSTER INFO")
            return True
        return False


def open_client(url: str, options: Mapping[str, Any]) -> RedisCluster:
    """Connect to the cluster that a server is part of."""
    return RedisCluster.from_url(url, **options)


def disconnect(client: Redis) -> None:
    """Drop all connections, since an interrupted one may hold an unread answer."""
    if isinstance(client, RedisCluster):
        client.disconnect_connection_pools()
    else:
        client.connection_pool.disconnect()


def infos(client: Redis, section: str) -> list[dict[str, Any]]:
    """Return a section of INFO of each primary."""
    if not isinstance(client, RedisCluster):
        return [client.info(section)]
    primaries = RedisCluster.PRIMARIES
    answers = client.execute_command("INFO", section, target_nodes=primaries)
    several = all(isinstance(answer, dict) for answer in answers.values())
    return list(answers.values()) if several else [answers]


def servers(
    client: Redis, keys: Sequence[str]
) -> Mapping[str, tuple[redis.Redis, Sequence[int]]]:
    """Group the positions of keys by the name of the server that holds them."""
    if not isinstance(client, RedisCluster):
        return {"": (client, range(len(keys)))}
    found: dict[str, tuple[redis.Redis, list[int]]] = {}
    for i, key in enumerate(keys):
        node = client.get_node_from_key(key)
        if node.name not in found:
            found[node.name] = client.get_redis_connection(node), []
        found[node.name][1].append(i)
    return found
