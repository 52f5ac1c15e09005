"""How many users a second are published, beside what Redis takes at most.

    python -m tests.benchmarks.publish [--users N] [--json]

Both write the same lists into the same redis-server, in turns; medians are shown. Raw
pipelining has the bytes ready and writes 64 commands at a time to a socket, as
`redis-benchmark -P 64` does. Ours makes them of arrays, checks the answers, counts what
is there and flips. A cluster of three nodes on the same cores shows what routing costs;
`redis-benchmark` gives its own figure where it is on the PATH.
"""

import argparse
import csv
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from batch.publishing import connections, encoding, pipeline, shared_keys
from batch.publishing.connections import Client
from batch.publishing.external_ids import Ids
from batch.publishing.generations import Meta, locked
from batch.publishing.shared_keys import Item
from batch.publishing.writers import list_writer
from batch.scoring.ranking import Ranking
from lookup.shared import contract
from tests import staged
from tests.benchmarks import frame
from tests.cluster import clustered
from tests.conftest import KEYS, RedisServer, running

TOP_N = 100
N_ITEMS, N_ITEMS_LONG = 1682, 209_171
"""The highest ids of ml-100k and of ml-25m."""
LISTS_A_TRIP = 64
N_ROUNDS = 7
GENERATION = "20261124T160406Z-a9e443"
META = Meta("MovieLensXGB", "1", "2026-11-24T16:04:06Z", 1, 1, 1, 1, TOP_N, "", "f")
POPULAR = [(50, 1.0)]
ITEMS = [Item(50, "Star Wars (1977)", ["Action"], 1977)]


def main() -> None:
    """Print tables, and with `--json` one JSON line after them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = measure(Path(scratch), arguments.users)
    frame.finish(arguments, results)


def measure(scratch: Path, n_users: int) -> dict[str, object]:
    """Measure speed and size, and print them."""
    rankings = make_rankings(n_users, N_ITEMS)
    (scratch / "cluster").mkdir()
    with running(scratch) as server, connections.connect(server.url) as client:
        told = client.redis.info()
        print(f"redis-server {told['redis_version']}, {told['mem_allocator']}\n")
        ours, raw = race(client, server, rankings)
        own = benchmark(server, rankings[0], n_users)
        sizes = [size(client, n_users, n_items) for n_items in (N_ITEMS, N_ITEMS_LONG)]
    with (
        clustered(scratch / "cluster") as cluster,
        connections.connect(cluster.url) as client,
    ):
        ids = staged.ids_of(rankings)
        spread = median(seconds_of_ours(client, rankings, ids) for _ in range(N_ROUNDS))
    results: dict[str, object] = {
        "n_users": n_users,
        "top_n": TOP_N,
        "redis_version": told["redis_version"],
        "users_per_second": round(n_users / ours),
        "raw_users_per_second": round(n_users / raw),
        "redis_benchmark_users_per_second": own and round(own),
        "ratio": round(ours / raw, 3),
        "cluster_users_per_second": round(n_users / spread),
        "bytes_per_entry": round(sizes[0][0], 2),
        "used_memory_per_entry": round(sizes[0][1], 2),
        "bytes_per_entry_of_long_ids": round(sizes[1][0], 2),
        "used_memory_per_entry_of_long_ids": round(sizes[1][1], 2),
    }
    show(results)
    return results


def show(results: dict[str, object]) -> None:
    """Print the tables."""
    frame.header(f"lists of {TOP_N}", "users a second")
    for name, key in (
        ("ours: encoded, written, counted, flipped", "users_per_second"),
        (f"raw pipelining, {LISTS_A_TRIP} a trip", "raw_users_per_second"),
        ("`redis-benchmark -c 1 -P 64`", "redis_benchmark_users_per_second"),
        ("ours, a cluster of three", "cluster_users_per_second"),
    ):
        frame.row(name, str(results[key] or "not here"))
    frame.row("raw / ours", str(results["ratio"]))
    print()
    frame.header("bytes an entry", "MEMORY USAGE", "used_memory")
    for n_items, ending in ((N_ITEMS, ""), (N_ITEMS_LONG, "_of_long_ids")):
        keys = ("bytes_per_entry", "used_memory_per_entry")
        cells = [str(results[key + ending]) for key in keys]
        frame.row(f"ids up to {n_items}", *cells)


def make_rankings(n_users: int, n_items: int) -> list[Ranking]:
    """Make lists, the same each time."""
    random = np.random.default_rng(7)
    return [
        Ranking(
            user_id,
            (random.choice(n_items, TOP_N, replace=False) + 1).astype(np.int32),
            np.sort(random.uniform(-1, 3.5, TOP_N).astype(np.float32))[::-1],
        )
        for user_id in range(1, n_users + 1)
    ]


def race(
    client: Client, server: RedisServer, rankings: Sequence[Ranking]
) -> tuple[float, float]:
    """Return the medians of seconds, ours and raw, which take turns."""
    keys, ids = KEYS.of(GENERATION), staged.ids_of(rankings)
    commands = encoding.pushes(
        [keys.user(r.user_id) for r in rankings], rankings, ids.items
    )
    trips = [
        commands[i : i + LISTS_A_TRIP] for i in range(0, len(commands), LISTS_A_TRIP)
    ]
    payloads = [(b"".join(trip), len(trip)) for trip in trips]
    ours, raw = [], []
    for _ in range(N_ROUNDS):
        ours.append(seconds_of_ours(client, rankings, ids))
        client.redis.flushall()
        raw.append(seconds_of_raw(server.port, payloads))
    return median(ours), median(raw)


def seconds_of_ours(client: Client, rankings: Sequence[Ranking], ids: Ids) -> float:
    """Publish, and say how long it took."""
    client.redis.flushall()
    start = time.perf_counter()
    with locked(client) as lock:
        staged.stage(client, GENERATION, rankings, POPULAR, ITEMS, ids)
        keys = [KEYS.of(GENERATION).user(r.user_id) for r in rankings]
        assert pipeline.total(client.redis, "EXISTS", keys) == len(keys)
        shared_keys.write_meta(client, GENERATION, META)
        lock.make_current(GENERATION, time.time())
    return time.perf_counter() - start


def seconds_of_raw(port: int, payloads: Sequence[tuple[bytes, int]]) -> float:
    """Write bytes to a socket and wait for as many answers as there are commands."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        start = time.perf_counter()
        for payload, n_commands in payloads:
            connection.sendall(payload)
            n_answers = 0
            while n_answers < n_commands:
                n_answers += connection.recv(65536).count(b"\n")
        return time.perf_counter() - start


def benchmark(server: RedisServer, ranking: Ranking, n_users: int) -> float | None:
    """Ask redis-benchmark for users a second; None where it is not installed."""
    program = shutil.which("redis-benchmark")
    if program is None:
        return None
    pairs = zip(ranking.item_ids.tolist(), ranking.scores.tolist(), strict=True)
    options = ["-c", "1", "-P", str(LISTS_A_TRIP), "-n", str(n_users), "--csv"]
    key = KEYS.of(GENERATION).user(0) + "__rand_int__"
    command = ["RPUSH", key, *contract.encode(pairs)]
    told = subprocess.run(
        [program, "-p", str(server.port), *options, "-r", str(10**9), *command],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return float(list(csv.reader(told.splitlines()))[-1][1])


def size(client: Client, n_users: int, n_items: int) -> tuple[float, float]:
    """Return the bytes of an entry by MEMORY USAGE and by used_memory, keys and all."""
    client.redis.flushall()
    rankings = make_rankings(n_users, n_items)
    before = int(client.redis.info("memory")["used_memory"])
    ids, key_of = staged.ids_of(rankings), KEYS.of(GENERATION).user
    with list_writer(client, key_of, ids.users, ids.items) as lists:
        lists.write(rankings)
    time.sleep(0.2)  # what its connection had for a buffer is given back
    after = int(client.redis.info("memory")["used_memory"])
    keys = [KEYS.of(GENERATION).user(r.user_id) for r in rankings[::20]]
    told = [int(client.redis.memory_usage(key, samples=0) or 0) for key in keys]
    return sum(told) / len(keys) / TOP_N, (after - before) / n_users / TOP_N


if __name__ == "__main__":
    main()
