"""A real Redis cluster on loopback."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from tests.conftest import RedisServer, answers, free_port, running, wait_until

N_SLOTS = 16384
BUS = 10_000
"""How far above the port of a node the one is where nodes talk to each other."""
OPTIONS = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")


class Cluster:
    """Nodes that share the slots; a replica is of the first of them."""

    def __init__(self, nodes: list[RedisServer], replica: RedisServer | None) -> None:
        self.nodes = nodes
        self.replica = replica
        self.url = nodes[-1].url

    def flush(self) -> None:
        """Remove all keys."""
        for server in self.nodes:
            with redis.Redis.from_url(server.url) as client:
                client.flushall()

    def form(self) -> None:
        """Give each node its share of the slots, and make them know each other."""
        n_nodes = len(self.nodes)
        bounds = [N_SLOTS * i // n_nodes for i in range(n_nodes + 1)]
        servers = [*self.nodes, *([self.replica] if self.replica else [])]
        for server, (start, end) in zip(
            self.nodes, itertools.pairwise(bounds), strict=True
        ):
            with redis.Redis.from_url(server.url) as client:
                client.execute_command("CLUSTER ADDSLOTS", *range(start, end))
        with redis.Redis.from_url(self.nodes[0].url) as client:
            for server in servers[1:]:
                client.execute_command("CLUSTER MEET", "127.0.0.1", server.port)
        for server in servers:
            wait_until(lambda server=server: self.is_complete(server, len(servers)))
        if self.replica is not None:
            self._replicate(self.replica)

    def move(self, slot: int, server: RedisServer) -> None:
        """Give an empty slot to another node."""
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            name = client.execute_command("CLUSTER MYID")
        for node in (server, *self.nodes):
            with redis.Redis.from_url(node.url) as client:
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", name)

    def is_complete(self, server: RedisServer, n_known: int) -> bool:
        """Tell whether a node knows so many, and that all slots are served."""
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            told = client.execute_command("CLUSTER INFO")
        return (told["cluster_state"], told["cluster_known_nodes"]) == (
            "ok",
            str(n_known),
        )

    def _replicate(self, replica: RedisServer) -> None:
        with redis.Redis.from_url(self.nodes[0].url, decode_responses=True) as client:
            primary = client.execute_command("CLUSTER MYID")
        with redis.Redis.from_url(replica.url, decode_responses=True) as client:
            client.execute_command("CLUSTER REPLICATE", primary)
            wait_until(
                lambda: client.info("replication").get("master_link_status") == "up"
            )


@contextmanager
def clustered(folder: Path, *, with_replica: bool = False) -> Iterator[Cluster]:
    """Run a cluster of three nodes for the length of a block."""
    names = ("a", "b", "c", *(["replica"] if with_replica else []))
    with ExitStack() as stack:
        servers = []
        for name in names:
            (folder / name).mkdir()
            node = running(folder / name, *OPTIONS, port=free_port_of_node())
            servers.append(stack.enter_context(node))
        cluster = Cluster(servers[:3], servers[3] if with_replica else None)
        cluster.form()
        yield cluster


def free_port_of_node() -> int:
    """Find a port that is free, and so is the one where nodes talk to each other."""
    while True:
        port = free_port()
        if port + BUS < 2**16 and not answers(port + BUS):
            return port
