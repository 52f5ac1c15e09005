"""Batches that are killed, and what must be there after each kill and the next run.

`python -m tests.faults.kills --moments 500 --seed 1` kills a batch at so many random
moments of rescorings and, as the tests do too, at the boundaries of its stages.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import redis

from batch.settings import KEEP_GENERATIONS
from tests.conftest import KEYS, running, wait_until
from tests.faults.batches import Batch, Clone, Place
from tests.movielens import write_world
from tests.sql import raw

Content = Mapping[str, Any]

LENGTHS = (9, 10)
"""Of lists, in turns, so that each run has something to do."""

PLACES = (
    Place("batch.publishing.generations:remove_leftovers", "after"),
    Place("batch.ingest.release_zip:extract_member", "before", 2),
    Place("batch.ingest.release_zip:extract", "after"),
    Place("batch.publishing.parquet:write_table", "before"),
    Place("pyarrow.parquet:write_table", "after"),
    Place("batch.publishing.parquet:write_table", "after"),
    Place("batch.publishing.writers:open_writers", "before"),
    Place("batch.publishing.parquet:ParquetWriter.write", "before"),
    Place("batch.publishing.parquet:ParquetWriter.write", "before", 6),
    Place("batch.publishing.writers:RedisWriter.write", "after", 16),
    Place("batch.publishing.writers:RedisWriter.write", "after", 30),
    Place("batch.publishing.shared_keys:write_items", "before"),
    Place("batch.publishing.shared_keys:write_catalogue", "after"),
    Place("batch.publishing.shared_keys:write_lists", "after"),
    Place("batch.publishing.shared_keys:write_lists", "after", 2),
    Place("batch.publishing.shared_keys:write_meta", "before"),
    Place("batch.publishing.lock:Lock.make_current", "before"),
    Place("batch.publishing.lock:Lock.make_current", "after"),
    Place("batch.publishing.lock:Lock.remove", "after", 2),
    Place("batch.publishing.parquet:remove_generations", "before", 3),
    Place("batch.publishing.generations:prune", "after"),
    Place("batch.publishing.lock:Lock.release", "after"),
)
"""The boundaries of the stages of a rescoring, in their order."""


def content(client: redis.Redis, generation: str) -> Content:
    """Read all that is kept of a generation, but not when it was made."""
    prefix = f"{KEYS.prefix}:{generation}:"
    names = [str(name) for name in client.scan_iter(f"{prefix}*", count=1000)]
    kinds = [name.removeprefix(prefix) for name in names]
    # no transaction: a full server refuses to queue even what only reads
    with client.pipeline(transaction=False) as pipe:
        for name, kind in zip(names, kinds, strict=True):
            if kind in ("meta", "items"):
                pipe.hgetall(name)
            elif kind == "about" or kind.startswith("history:"):
                pipe.get(name)
            else:
                pipe.lrange(name, 0, -1)
        found = dict(zip(kinds, pipe.execute(), strict=True))
    if "meta" in found:
        found["meta"].pop("scored_at", None)
    return found


@dataclass
class Site:
    """A clone whose batches are killed, and what it serves.

    Attributes:
        whole: the length of lists → all that a generation holds.
        seconds: how long a run takes.
    """

    clone: Clone
    client: redis.Redis
    whole: dict[int, Content] = field(default_factory=dict)
    seconds: float = 0.0
    n_kills: int = 0

    @property
    def served(self) -> str | None:
        """The generation that is served."""
        name = self.client.get(KEYS.current)
        return None if name is None else str(name)

    @property
    def length(self) -> int:
        """The length of the lists that are served."""
        meta = self.client.hgetall(KEYS.of(str(self.served)).meta)
        return int(meta["top_n"])

    def prepare(self) -> None:
        """Make a first run, and one of each kind, and note what they give."""
        self.clone.run("run", "--top-n", str(LENGTHS[0]))
        for length in LENGTHS:
            began_at = time.monotonic()
            self.run(length, "--force")
            self.seconds = time.monotonic() - began_at
            self.whole[length] = content(self.client, str(self.served))
        assert self.whole[LENGTHS[0]] != self.whole[LENGTHS[1]]
        self.check_swept()

    def run(self, length: int, *words: str) -> None:
        """Run a batch to its end."""
        self.clone.run("run", "--top-n", str(length), *words)

    def kill(self, moment: float | Place) -> bool:
        """Kill a run, look what is served, and run again.

        Args:
            moment: in seconds from its start, or a place in the code.

        Returns:
            Whether the kill came after the flip.
        """
        former, length = self.served, sum(LENGTHS) - self.length
        shutil.rmtree(self.clone.folder / "data/unpacked")
        place = moment if isinstance(moment, Place) else None
        words = ("run", "--top-n", str(length))
        batch = self.clone.start(*words, place=place)
        if isinstance(moment, Place):
            assert batch.wait() == -9, f"not killed {moment}: {batch.said}"
        else:
            time.sleep(max(0.0, batch.began_at + moment - time.monotonic()))
            batch.kill()
        self.n_kills += 1
        has_flipped = self.served != former
        self.check_served(length if has_flipped else sum(LENGTHS) - length)
        self.check_tables()
        self.let_lock_expire()
        self.run(length)
        self.check_served(length)
        self.check_swept()
        return has_flipped

    def check_served(self, length: int) -> None:
        """See that what is served is whole: each list and all other keys."""
        assert content(self.client, str(self.served)) == self.whole[length]

    def check_tables(self) -> None:
        """See that each table is whole, and the served lists' the same as in Redis."""
        for path in self.clone.folder.glob("data/**/*.parquet"):
            pq.read_table(path)
        folder = self.clone.folder / "data/processed/recommendations"
        table = pq.read_table(folder / f"{self.served}.parquet")
        users = [kind for kind in self.whole[self.length] if kind.startswith("user:")]
        entries = sum(len(self.whole[self.length][kind]) for kind in users)
        assert table.num_rows == entries

    def let_lock_expire(self) -> None:
        """See that a lock would end by itself, and do not wait for it."""
        remaining = self.client.pttl(KEYS.lock)
        assert remaining == -2 or 0 < remaining <= 20_000
        self.client.delete(KEYS.lock)

    def check_swept(self) -> None:
        """See that no key, file, lock or beginning is left of anybody who died."""
        held = [str(name) for name in self.client.zrange(KEYS.generations, 0, -1)]
        names = {str(name) for name in self.client.scan_iter("*", count=1000)}
        above = {name for name in names if KEYS.generation_of(name) is None}
        assert above == {KEYS.current, KEYS.generations}
        assert {KEYS.generation_of(name) for name in names - above} == set(held)
        assert len(held) <= KEEP_GENERATIONS
        assert held[-1] == self.served
        for generation in held:
            found = content(self.client, generation)
            assert found == self.whole[int(found["meta"]["top_n"])]
        check_files(self.clone.folder, held)
        self.check_tables()


def check_files(folder: Path, held: Sequence[str]) -> None:
    """See that there are no files but those of the generations held."""
    data = folder / "data"
    lists = {path.name for path in (data / "processed/recommendations").iterdir()}
    assert lists == {f"{generation}.parquet" for generation in held}
    there = {path.name for path in (data / "processed").iterdir()}
    assert there - {"training_pairs.parquet"} == {
        "item_features.parquet",
        "user_features.parquet",
        "recommendations",
        "spill",
    }
    assert list((data / "processed/spill").iterdir()) == []
    (unpacked,) = (data / "unpacked").iterdir()
    assert sorted(path.name for path in unpacked.iterdir()) == [
        "u.data",
        "u.item",
        "u.user",
    ]


@contextmanager
def prepared(folder: Path, url: str) -> Iterator[Site]:
    """Make a clone with a zip of a small world, and its first runs."""
    world = write_world(folder / "world")
    raw.zipped(world, folder / "world.zip")
    clone = Clone(folder, {"REDIS_URL": url, "MOVIELENS_RAW": "world.zip"})
    with redis.Redis.from_url(url, decode_responses=True) as client:
        site = Site(clone, client)
        site.prepare()
        yield site


def asleep(clone: Clone, place: Place, length: int) -> Batch:
    """Start a run and wait until it sleeps at a place."""
    words = ("run", "--top-n", str(length), "--quiet")
    batch = clone.start(*words, place=place, how=signal.SIGSTOP)
    wait_until(lambda: batch.has_ended or batch.is_stopped, seconds=60)
    assert not batch.has_ended, batch.said
    return batch


@contextmanager
def reading(folder: Path) -> Iterator[Counter[str]]:
    """Read the tables over and over during the block; count, and note what failed."""
    done, seen = threading.Event(), Counter[str]()

    def read() -> None:
        while not done.wait(0.25):
            for path in folder.glob("data/processed/**/*.parquet"):
                try:
                    pq.read_table(path)
                    seen["whole"] += 1
                except FileNotFoundError:  # retired meanwhile
                    seen["gone"] += 1
                except Exception as error:
                    seen[f"{path.name}: {error}"] += 1

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def moments(n: int, site: Site, draw: np.random.Generator) -> list[float | Place]:
    """Draw moments from a run's start to just after its end."""
    return [draw.uniform(0, 1.05) * site.seconds for _ in range(n)]


def main(argv: Sequence[str]) -> int:
    """Kill batches; print each kill and what was lost; return 1 if anything was."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills")
    parser.add_argument("--moments", type=int, default=500, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    flags = parser.parse_args(argv)
    losses, n_flipped = 0, 0
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder)) as server,
        prepared(Path(folder), server.url) as site,
        reading(Path(folder)) as seen,
    ):
        drawn = moments(flags.moments, site, np.random.default_rng(flags.seed))
        for number, moment in enumerate([*PLACES, *drawn], start=1):
            where = f"{moment:.3f} s" if isinstance(moment, float) else str(moment)
            try:
                has_flipped = site.kill(moment)
            except AssertionError as error:
                losses += 1
                print(f"{number} {where}: LOST {error}", flush=True)
                break  # what comes after would be no news
            n_flipped += has_flipped
            served = "the new" if has_flipped else "the former"
            print(f"{number} {where}: {served} is served, whole")
    losses += sum(seen.values()) - seen["whole"] - seen["gone"]
    print(
        f"{site.n_kills} kills ({len(PLACES)} at boundaries of stages), "
        f"{n_flipped} after the flip; {seen['whole']} reads of tables meanwhile; "
        f"{losses} losses"
    )
    return int(losses > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
