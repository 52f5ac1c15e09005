"""Compares the speed of the lookup with a Starlette route that does nothing.

    python -m tests.benchmarks.lookup [--raw DIR_OR_ZIP] [--json]

One worker, a real Redis with random lists of a fixed seed, `wrk` on 64 connections. Hot
users are in the worker's cache; cold ones are requested from a worker without a cache.
The servers take turns; the results are medians over the turns, of ratios too, and the
processor time per request, which other work on the machine disturbs least. Computing on
request is measured where raw files are given.
"""

import json
import os
import random
import tempfile
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import redis

from lookup.settings import K_DEFAULT
from tests.benchmarks import frame
from tests.benchmarks.load import Load, find_wrk, load, megabytes, served, users
from tests.conftest import publish, running

N_USERS = 10_000
N_HOT = 2_000
N_ITEMS = 1_700
TOP_N = 100
N_STARTS = 5
GENRES = ("Action", "Adventure", "Comedy", "Crime", "Drama", "Romance", "Sci-Fi")


def main() -> None:
    """Print a table, and with `--json` one JSON line after it."""
    arguments = frame.parsed(__doc__, {"turns": 9, "seconds": 3.0})
    find_wrk()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as server:
        with redis.Redis.from_url(server.url) as client:
            publish_users(client)
        environ = {**os.environ, "REDIS_URL": server.url}
        results: dict[str, float | None] = measure_all(
            environ, arguments.turns, arguments.seconds
        )
        results["start_seconds"] = start_seconds(environ)
    results["compute_on_request_rps"] = on_request(arguments.raw)
    show(results)
    frame.finish(arguments, results)


def publish_users(client: "redis.Redis") -> None:
    """Publish lists as long as ml-100k's, the same each time."""
    draw = random.Random(1)  # noqa: S311 - not secret
    items = {
        item_id: {
            "title": f"Movie number {item_id}, The ({1930 + item_id % 69})",
            "genres": draw.sample(GENRES, 1 + item_id % 3),
            "year": 1930 + item_id % 69,
        }
        for item_id in range(1, N_ITEMS + 1)
    }

    def ranking() -> list[tuple[int, float]]:
        chosen = draw.sample(sorted(items), TOP_N)
        scores = sorted((draw.uniform(-3, 3) for _ in chosen), reverse=True)
        return list(zip(chosen, scores, strict=True))

    users = {user_id: ranking() for user_id in range(1, N_USERS + 1)}
    publish(client, users=users, popular=ranking(), items=items, top_n=TOP_N)


def measure_all(
    environ: Mapping[str, str], n_turns: int, seconds: float
) -> dict[str, float | None]:
    with ExitStack() as stack:
        lookup = ("lookup", "--port", "PORT")
        hot = stack.enter_context(served(*lookup, environ=environ))
        off = {**environ, "LOOKUP_CACHE_MB": "0"}
        cold = stack.enter_context(served(*lookup, environ=off))
        n_bytes = warm(hot.port)
        constant = ("tests.benchmarks.bare", "PORT", str(n_bytes))
        bare = stack.enter_context(served(*constant, environ=environ))
        turns = [
            {
                "bare": load(bare, users(N_HOT), seconds, seed=seed),
                "hot": load(hot, users(N_HOT), seconds, seed=seed),
                "cold": load(cold, users(N_USERS), seconds, seed=seed),
            }
            for seed in range(n_turns)
        ]
        return {
            "n_bytes": n_bytes,
            **medians(turns),
            "worker_megabytes": megabytes(hot.pid),
        }


def warm(port: int) -> int:
    """Request each hot user once; return the length of a response."""
    for user_id in range(1, N_HOT + 1):
        url = f"http://127.0.0.1:{port}/recommend/{user_id}"
        with urllib.request.urlopen(url) as answer:
            body = answer.read()
    assert len(json.loads(body)["items"]) == K_DEFAULT
    return len(body)


def medians(turns: list[dict[str, Load]]) -> dict[str, float]:
    """Return the medians over the turns."""
    assert not any(one.failed for turn in turns for one in turn.values())
    found = {}
    for name in ("bare", "hot", "cold"):
        ones = [(turn[name], turn["bare"]) for turn in turns]
        for field in ("rps", "p50", "p99", "cpu"):
            found[f"{name}_{field}"] = median(getattr(one, field) for one, _ in ones)
        found[f"{name}_ratio"] = median(one.rps / bare.rps for one, bare in ones)
        found[f"{name}_p99_ratio"] = median(one.p99 / bare.p99 for one, bare in ones)
    return {**found, "p99_ratio": found["hot_p99_ratio"]}


def start_seconds(environ: Mapping[str, str]) -> float:
    """Measure the time from the start of a lookup to its first response."""
    starts = []
    for _ in range(N_STARTS):
        with served("lookup", "--port", "PORT", environ=environ) as server:
            starts.append(server.started)
    return median(starts)


def on_request(raw: Path) -> float | None:
    """Measure computing on request, where there are raw files."""
    if not raw.exists():
        print(f"{raw} does not exist: computing on request is not measured (--raw DIR)")
        return None
    plain = ("tests.benchmarks.on_request", "PORT", str(raw))
    with served(*plain, environ=os.environ, patience=600) as server:
        load(server, users(900), 5, connections=2)
        return load(server, users(900), 20, connections=8).rps


def show(results: Mapping[str, float | None]) -> None:
    frame.header("", "requests/s", "of bare", "p50 ms", "p99 ms", "CPU µs")
    for name in ("bare", "hot", "cold"):
        rps, ratio = results[f"{name}_rps"], results[f"{name}_ratio"]
        p50, p99 = results[f"{name}_p50"], results[f"{name}_p99"]
        cells = (f"{rps:.0f}", f"{ratio:.0%}", f"{p50:.1f}", f"{p99:.1f}")
        frame.row(name, *cells, f"{results[f'{name}_cpu']:.0f}")
    plain = results["compute_on_request_rps"]
    if plain is not None:
        frame.row("computed on request", f"{plain:.1f}", *[""] * 4)
    print(
        f"\n{results['n_bytes']} bytes a response; a worker's memory "
        f"{results['worker_megabytes']:.0f} MB; from start to the first response "
        f"{results['start_seconds']:.2f} s"
    )


if __name__ == "__main__":
    main()
