"""The quality and the speed of `/session`, from answers over HTTP.

    python -m tests.benchmarks.session [--raw DIR_OR_ZIP] [--json]

A generation is made of the training part alone. Quality is NDCG@10 on the hold-out: the
last items of each user's training part are the session, and the rest is excluded, as no
ranker may recommend it. Blends begin with lists of the model as of some items earlier.
Speed is that of random sessions of five items, of a worker that caches no answers and
relative to a route that does nothing; it needs `wrk`.
"""

import http.client
import json
import os
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from statistics import median

import duckdb

from batch import warehouse
from batch.evaluation import baselines
from batch.evaluation.evaluation import read_held_out
from batch.evaluation.metrics import K, Lists, mean_ndcg
from batch.features import tables
from batch.publishing import connections, shared_keys
from batch.publishing.external_ids import Ids
from batch.publishing.generations import Meta
from batch.publishing.writers import list_writer
from batch.scoring import rank
from batch.scoring.ranking import Ranking
from tests.benchmarks import frame
from tests.benchmarks.load import Server, find_wrk, load, megabytes, served
from tests.conftest import running

LENGTHS = (1, 2, 3, 5, 10, 20, 50, 100)
N_SINCE = (1, 5, 20)
N_SESSIONS = 5_000
N_ITEMS = 5
TOP_N = 100

Histories = Mapping[int, Sequence[int]]
"""user_id → the items of the training part, newest last."""


def main() -> None:
    """Print tables, and with `--json` one JSON line after them."""
    arguments = frame.parsed(__doc__, {"turns": 5, "seconds": 3.0})
    find_wrk()
    results: dict[str, float] = {}
    with frame.staged(arguments.raw) as (name, connection):
        booster = frame.trained(connection).booster
        user_ids = warehouse.user_ids(connection)
        held_out = read_held_out(connection, user_ids)
        histories = read_histories(connection)
        frame.header(name, "NDCG@10")
        for ranker, lists in baselines.read(connection, user_ids).items():
            results[ranker] = mean_ndcg(lists, held_out)
            frame.row(baselines.LABELS[ranker], results[ranker])
        with serving(connection, []) as (environ, server):
            for n in LENGTHS:
                answers = answered(server, histories, n)
                results[f"session_{n}"] = mean_ndcg(answers, held_out)
                frame.row(f"last {n}", results[f"session_{n}"])
            results |= speed(environ, arguments.turns, arguments.seconds)
        print()
        frame.header("items since the batch", "stored list", "session", "blend")
        for n in N_SINCE:
            tables.build(connection, n_cuts=1, n_next=n)
            blocks = rank.rank_users(
                connection, booster, warehouse.user_ids(connection), TOP_N
            )
            with serving(connection, [*chain.from_iterable(blocks)]) as (_, server):
                ways = {
                    "stored": answered(server, histories, 0, "/recommend/{}"),
                    "session": answered(server, histories, n),
                    "blend": answered(server, histories, n, "/recommend/{}"),
                }
            found = {way: mean_ndcg(lists, held_out) for way, lists in ways.items()}
            results |= {f"{way}_since_{n}": value for way, value in found.items()}
            frame.row(str(n), *found.values())
    frame.finish(arguments, results)


def read_histories(connection: duckdb.DuckDBPyConnection) -> Histories:
    """Return each user's items before the hold-out."""
    query = "select user_id, item_id from int_history order by user_id, position"
    histories: dict[int, list[int]] = {}
    for user_id, item_id in connection.sql(query).fetchall():
        histories.setdefault(user_id, []).append(item_id)
    return histories


@contextmanager
def serving(
    connection: duckdb.DuckDBPyConnection, rankings: Sequence[Ranking]
) -> Iterator[tuple[Mapping[str, str], Server]]:
    """Publish a generation of a cutoff and serve it, with no cache of answers."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder)) as redis,
        connections.connect(redis.url) as client,
    ):
        ids, user_ids = Ids.read(connection), warehouse.user_ids(connection)
        keys = client.keys.of("g")
        with list_writer(client, keys.user, ids.users, ids.items) as writer:
            if rankings:
                writer.write(rankings)
        about = shared_keys.read_about(connection, user_ids, None, {}, ids.users)
        meta = Meta("", "1", "2026-01-01T00:00:00Z", 0, 0, 0, 0, TOP_N, "", "")
        shared_keys.write(client, "g", connection, about, meta, ids)
        client.redis.set(client.keys.current, "g")
        environ = {**os.environ, "REDIS_URL": redis.url, "LOOKUP_CACHE_MB": "0"}
        with served("lookup", "--port", "PORT", environ=environ) as server:
            yield environ, server


def answered(
    server: Server, histories: Histories, n: int, route: str = "/session"
) -> Lists:
    """Request a list for the last `n` items of each user, without the history."""
    client = http.client.HTTPConnection("127.0.0.1", server.port)
    lists = {}
    for user_id, items in histories.items():
        session = "".join(f"&item_id={item_id}" for item_id in items[-n:] if n)
        query = f"k={K}&exclude={','.join(map(str, items))}{session}"
        client.request("GET", f"{route.format(user_id)}?{query}")
        body = json.loads(client.getresponse().read())
        lists[user_id] = [item["item_id"] for item in body["items"]]
    return lists


def speed(environ: Mapping[str, str], n_turns: int, seconds: float) -> dict[str, float]:
    """Measure random sessions and a bare route in turns; return the medians."""
    draw = random.Random(1)  # noqa: S311 - not secret
    item_ids = [str(item_id) for item_id in range(1, 1 + 1_600)]
    paths = [
        "/session?item_id=" + "&item_id=".join(draw.sample(item_ids, N_ITEMS))
        for _ in range(N_SESSIONS)
    ]
    with (
        served("lookup", "--port", "PORT", environ=environ) as server,
        served("tests.benchmarks.bare", "PORT", "1300", environ=environ) as bare,
    ):
        load(server, paths, seconds)  # reads the lists
        turns = [
            (load(server, paths, seconds), load(bare, ["/recommend/1"], seconds))
            for _ in range(n_turns)
        ]
        assert not any(one.failed for turn in turns for one in turn)
        found = {
            "session_rps": median(one.rps for one, _ in turns),
            "bare_rps": median(one.rps for _, one in turns),
            "session_ratio": median(one.rps / other.rps for one, other in turns),
            "session_cpu": median(one.cpu for one, _ in turns),
            "bare_cpu": median(one.cpu for _, one in turns),
            "worker_megabytes": megabytes(server.pid),
        }
    print(
        f"\n{found['session_rps']:.0f} sessions of {N_ITEMS} items a second, "
        f"{found['session_ratio']:.0%} of a bare route's {found['bare_rps']:.0f}; "
        f"{found['session_cpu']:.0f} µs of CPU each, {found['bare_cpu']:.0f} of a bare "
        "one; a worker's memory "
        f"{found['worker_megabytes']:.0f} MB"
    )
    return found


if __name__ == "__main__":
    main()
