"""A lookup at full load for minutes, from well-behaved and hostile clients.

    python -m tests.faults.soak --minutes 10

starts a Redis and a lookup, sends valid and invalid requests on many connections, some
slowly and some without waiting for the response, publishes a generation every few
seconds, and samples the memory and the open files of the lookup. It fails if a response
was wrong or a 5xx, or if memory did not stay flat: after the first third, in which it
warms up, a line through the samples may grow by 0.5 MB a minute, or by 4 MB in all
where that is more.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression

import redis

from batch.publishing import connections, generations
from lookup.shared import contract
from tests.benchmarks.load import megabytes
from tests.conftest import running
from tests.faults import hostile
from tests.faults.lookups import lookup
from tests.faults.test_flips import (
    N_USERS,
    PATHS,
    Connection,
    check,
    write_numbered,
)

N_CONNECTIONS = 32
FLIP_SECONDS = 3.0
SAMPLES = 60
PATIENCE = 30.0
GROWTH_A_MINUTE = 0.5
GROWTH = 4.0

RIGHT = (
    *PATHS,
    "/recommend/{user}?k=3&exclude={other}",
    "/popular?exclude={other}&k=2",
)
"""These get 200; the last are never requested twice, so that no cache has them."""

WRONG = (
    "/recommend/0", "/recommend/x", "/recommend/1?k=0", "/recommend/1?k=11",
    "/recommend/1?offset=-1", "/recommend/1?fallback=x", "/recommend/1?k=1&k=2",
    "/recommend/1?exclude=" + "1," * 1_000 + "x", "/popular?x=1", "/nowhere",
    "/items/%00", "/similar/1?genre=" + "a" * 4_000 + "&k=x", "/users/-1",
)  # fmt: skip
"""These get a 4xx in the contract's form."""


Sample = tuple[float, float, int]
"""Seconds, megabytes and open files of the lookup."""


HOSTILE = [one for one in hostile.corpus().values() if len(one) < 20_000]


@dataclass
class Soak:
    """The results so far."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    generations: set[str] = field(default_factory=set)
    n_hostile: int = 0
    n_cut: int = 0

    def slope(self) -> float:
        """Return how memory grows after the first third, in MB a minute."""
        late = self.samples[len(self.samples) // 3 :]
        seconds, sizes = [one[0] for one in late], [one[1] for one in late]
        return linear_regression(seconds, sizes).slope * 60


class Visitor:
    """A client that sends valid, invalid and hostile requests in turn."""

    def __init__(self, port: int, seed: int, soak: Soak) -> None:
        self._port, self._soak = port, soak
        self._draw = random.Random(seed)  # noqa: S311

    async def visit(self, done: threading.Event) -> None:
        """Send requests on a connection for a while, then hostile bytes on others."""
        while not done.is_set():
            with suppress(OSError, asyncio.IncompleteReadError):
                async with Connection(self._port) as connection:
                    for _ in range(self._draw.randrange(20, 500)):
                        if done.is_set():
                            break
                        await self._ask(connection)
            await self._misbehave()

    async def _ask(self, connection: Connection) -> None:
        is_right = self._draw.random() < 0.9
        path = self._draw.choice(RIGHT if is_right else WRONG)
        other, user = self._draw.randrange(10**3, 10**9), self._draw.randrange(N_USERS)
        path = path.format(user=user + 1, other=other)
        status = None
        try:
            async with asyncio.timeout(PATIENCE):
                status, body = await connection.get(path)
            self._soak.statuses[status] += 1
            if is_right:
                self._soak.generations.add(check(path, status, body))
            else:
                assert 400 <= status < 500, status
                assert set(body["error"]) == {"code", "message"}
        except (AssertionError, KeyError, ValueError) as error:
            self._soak.wrong.append(f"{path[:80]} {status} {error!r}"[:300])

    async def _misbehave(self) -> None:
        """Send hostile bytes, slowly or at once, and leave early or late."""
        data = self._draw.choice(HOSTILE)
        how = self._draw.randrange(4)
        with suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            if how == 0:  # a slow one
                for i in range(0, min(len(data), 40), 4):
                    writer.write(data[i : i + 4])
                    await asyncio.sleep(0.01)
            else:
                writer.write(data)
            if how > 1:
                async with asyncio.timeout(1.0):
                    await reader.read(100_000)
            else:
                self._soak.n_cut += 1
            writer.transport.abort()
        self._soak.n_hostile += 1


def flip(url: str, done: threading.Event) -> None:
    """Publish one generation after the other, and remove old ones."""
    number = 1
    with connections.connect(url) as client, generations.locked(client) as lock:
        while not done.wait(FLIP_SECONDS):
            number += 1
            lock.make_current(write_numbered(client, number), time.time())  # type: ignore[arg-type]
            generations.remove_leftovers(client, lock)


def soak(minutes: float, seed: int, folder: Path) -> Soak:
    """Run the load for some minutes."""
    seen, done = Soak(), threading.Event()
    with running(folder) as server:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            client.set(contract.CURRENT, write_numbered(client, 1))
            client.zadd(contract.GENERATIONS, {"g1": time.time()})
        with lookup(folder, REDIS_URL=server.url) as served:

            async def ask_all() -> None:
                visitors = [
                    Visitor(served.port, seed + i, seen) for i in range(N_CONNECTIONS)
                ]
                await asyncio.gather(*(one.visit(done) for one in visitors))

            threads = [
                threading.Thread(target=lambda: asyncio.run(ask_all())),
                threading.Thread(target=flip, args=(server.url, done)),
            ]
            for thread in threads:
                thread.start()
            watch(seen, served.pid, minutes * 60)
            done.set()
            for thread in threads:
                thread.join()
            log = served.logged()
    if "Traceback" in log:
        seen.wrong.append(f"the log has a traceback: {log[:300]}")
    return seen


def watch(seen: Soak, pid: int, seconds: float) -> None:
    """Sample until the time is over, and print some samples."""
    began_at = time.monotonic()
    print("| seconds | requests | RSS, MB | open files |\n| --- | --- | --- | --- |")
    for i in range(1, SAMPLES + 1):
        time.sleep(max(0.0, began_at + seconds * i / SAMPLES - time.monotonic()))
        n_files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        passed, size = time.monotonic() - began_at, megabytes(pid)
        seen.samples.append((passed, size, n_files))
        if i % (SAMPLES // 20) == 0:
            n_requests = seen.statuses.total()
            row = f"| {passed:.0f} | {n_requests:,} | {size:.1f} | {n_files} |"
            print(row, flush=True)


def main(argv: Sequence[str]) -> int:
    """Soak a lookup; return 1 if a response was wrong, or memory was not flat."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    flags = parser.parse_args(argv)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # connections are cut
    with tempfile.TemporaryDirectory() as folder:
        seen = soak(flags.minutes, flags.seed, Path(folder))
    n_5xx = sum(n for status, n in seen.statuses.items() if status >= 500)
    is_flat = seen.slope() <= max(GROWTH_A_MINUTE, GROWTH / flags.minutes)
    for one in seen.wrong[:10]:
        print("WRONG", one)
    statuses = ", ".join(f"{n:,} {code}" for code, n in sorted(seen.statuses.items()))
    _, warm, warm_files = seen.samples[len(seen.samples) // 3]
    _, last, last_files = seen.samples[-1]
    print(
        f"{seen.statuses.total():,} requests ({statuses}), {seen.n_hostile:,} hostile "
        f"ones, {seen.n_cut:,} of these cut off; "
        f"{len(seen.generations)} generations; {len(seen.wrong)} wrong answers, "
        f"{n_5xx} of 5xx; RSS {warm:.1f} MB when warm, {last:.1f} MB at the end, "
        f"{seen.slope():+.2f} MB/min, {'flat' if is_flat else 'GROWS'}; "
        f"{warm_files} files open when warm, {last_files} at the end"
    )
    return int(bool(seen.wrong) or n_5xx > 0 or not is_flat)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
