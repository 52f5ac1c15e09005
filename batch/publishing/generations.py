"""List the generations that Redis holds, and remove all others.

A generation is written under its own name and becomes current by one write of
`recs:current`. Those before it are kept for `rollback`.
"""

import logging
import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast

import redis

from batch.errors import BatchError
from batch.publishing import cluster, encoding, parquet, pipeline
from batch.publishing.connections import Client
from batch.publishing.lock import Lock
from batch.publishing.pipeline import KEYS_PER_TRIP
from lookup.shared.contract import IdKind

FREEING_SECONDS = 1.0
"""The wait after removing keys: Redis frees their memory in the background."""

MEASURED_KEYS = 200
"""How many keys of each kind tell the memory of a generation."""

SAVE_SECONDS = 600.0
SAVE_PAUSE_SECONDS = 0.02

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Meta:
    """The fields of `recs:{generation}:meta`: how a generation was made.

    `source` is `personal`, or `popular` where the data were too small for a model;
    `model_version` is then empty. `newest_rated_at` is the time of the newest rating in
    unix seconds, and `forerunner` is a `contract.Forerunner` as JSON, or empty.
    """

    model_name: str
    model_version: str
    scored_at: str
    n_users: int
    n_items: int
    n_ratings: int
    n_pairs: int
    top_n: int
    release: str
    fingerprint: str
    user_ids: str = IdKind.POSITIVE.value
    item_ids: str = IdKind.POSITIVE.value
    source: str = "personal"
    newest_rated_at: int = 0
    forerunner: str = ""


def new_name(now: datetime) -> str:
    """Return a unique name; names sort by time."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def current(client: Client) -> tuple[str, Mapping[str, str]] | None:
    """Return the current generation and its meta, None if there is none."""
    generation = served(client)
    if generation is None:
        return None
    key = client.keys.of(generation).meta
    meta = cast("dict[str, str]", client.redis.hgetall(key))
    return (generation, meta) if meta else None


def kind_of(client: Client, field: str) -> IdKind:
    """Return what the `user_ids` or `item_ids` of the served generation are."""
    _, meta = current(client) or ("", {})
    return IdKind(meta.get(field, IdKind.POSITIVE.value))


def set_version(client: Client, generation: str, former: str, version: str) -> None:
    """Note under which number the model of a generation is registered now."""
    if former != version:
        client.redis.hset(client.keys.of(generation).meta, "model_version", version)
        log.info("version %s is the same model as %s", version, former)


def served(client: Client) -> str | None:
    """Return the name of the current generation, None if there is none."""
    return cast("str | None", client.redis.get(client.keys.current))


def held(client: Client) -> list[str]:
    """Return the generations held, oldest first."""
    return cast("list[str]", client.redis.zrange(client.keys.generations, 0, -1))


def meta_of(client: Client, generation: str) -> Mapping[str, str]:
    """Return the meta of a generation that is held.

    Raises:
        BatchError: it is not held; names those that are.
    """
    names = held(client)
    meta = client.redis.hgetall(client.keys.of(generation).meta)
    if generation not in names or not meta:
        raise BatchError(
            f"no generation {generation!r} is held, only: {', '.join(names) or 'none'}"
        )
    return cast("dict[str, str]", meta)


def keys_of(client: Client, generation: str) -> dict[str, list[str]]:
    """Return all keys of a generation by kind, such as `user`."""
    start = client.keys.of(generation).meta.removesuffix("meta")
    names = {*client.redis.scan_iter(match=f"{start}*", count=KEYS_PER_TRIP)}
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        kind = name.removeprefix(start).partition(":")[0]
        found.setdefault(kind, []).append(name)
    return found


def memory(client: Client, generation: str) -> int | None:
    """Estimate the bytes of a generation from some keys of each kind.

    Returns:
        None if the server does not tell.
    """
    n_bytes = 0.0
    try:
        for keys in keys_of(client, generation).values():
            some = keys[:: 1 + len(keys) // MEASURED_KEYS]
            sizes = pipeline.ask(client.redis, some, _memory_usage)
            n_bytes += sum(size or 0 for size in sizes) * len(keys) / len(some)
    except redis.ResponseError:
        return None
    return round(n_bytes)


def _memory_usage(key: str) -> bytes:
    return encoding.command("MEMORY", "USAGE", key)


def previous(client: Client) -> str:
    """Return the generation to roll back to.

    Raises:
        BatchError: no generation older than the current one is held.
    """
    names, name = held(client), served(client)
    older = names[: names.index(name)] if name in names else []
    older = [one for one in older if client.redis.exists(client.keys.of(one).meta)]
    if not older:
        raise BatchError(
            f"nothing to roll back to: {name} is served, and of the generations held "
            f"({', '.join(names) or 'none'}) none is older"
        )
    return older[-1]


def to_keep(client: Client, n: int) -> set[str]:
    """Return the `n` newest generations held, or older ones after a rollback.

    The current one and the one before it are always among them.
    """
    names, name = held(client), served(client)
    if name not in names:
        return set(names)
    start = max(0, min(names.index(name) - 1, len(names) - n))
    return set(names[start : start + n])


def to_keep_after(
    client: Client, generation: str, former: str | None, n: int
) -> set[str]:
    """Return the `n` generations to keep once one has replaced the former one.

    Those between the two were rolled back, and no later rollback must lead to them.
    """
    names = [name for name in held(client) if name != generation]
    if former in names:
        del names[names.index(former) + 1 :]
    return {generation, *names[max(0, len(names) + 1 - n) :]}


@contextmanager
def locked(client: Client) -> Iterator[Lock]:
    """Hold the lock for the length of a block.

    A batch that died may have left Redis too full for even a lock. Its keys are then
    removed first.

    Raises:
        LockHeld: another batch holds it.
    """
    lock = Lock(client)
    try:
        lock.acquire()
    except redis.exceptions.OutOfMemoryError:
        _remove_orphans(client, lock)
        time.sleep(FREEING_SECONDS)
        lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def remove_unheld(
    client: Client, lock: Lock, keep: Collection[str], *folders: Path
) -> None:
    """Remove all generations except `keep`, and what interrupted batches left.

    The folders hold Parquet files.
    """
    gone = [name for name in held(client) if name not in keep]
    if gone:
        lock.remove(gone)
    _remove_orphans(client, lock)
    for folder in folders:
        lock.check()  # another batch may have written files meanwhile
        parquet.remove_abandoned(folder)
        if keep:  # if Redis lost all generations, keep the files
            parquet.remove_generations(folder, keep, client.keys.prefix)


def _remove_orphans(client: Client, lock: Lock) -> None:
    owners = {*held(client), served(client), None}  # None: the key is not ours
    pattern, owner_of = f"{client.keys.prefix}:*", client.keys.generation_of
    names = client.redis.scan_iter(match=pattern, count=KEYS_PER_TRIP)
    orphans = (name for name in names if owner_of(name) not in owners)
    n_removed = sum(lock.remove((), some) for some in batches(orphans, KEYS_PER_TRIP))
    if n_removed:
        log.info("removed %d keys of generations no longer held", n_removed)


def remove_leftovers(client: Client, lock: Lock, n: int, *folders: Path) -> None:
    """Remove keys and files that interrupted batches left; hold `n` generations."""
    remove_unheld(client, lock, to_keep(client, n), *folders)


def prune(client: Client, lock: Lock, keep: Collection[str], folder: Path) -> None:
    """Remove all generations except `keep`; log an error instead of raising it."""
    try:
        remove_unheld(client, lock, keep, folder)
    except Exception as error:
        log.warning("could not clean up, the next run will: %s", error)


def abandon(client: Client, lock: Lock, generation: str, folder: Path) -> None:
    """Remove a generation whose run failed; log an error instead of raising it."""
    try:
        cluster.disconnect(client.redis)
        keep = held(client)
        remove_unheld(client, lock, keep)
        lock.check()
        if generation not in keep:  # else an interrupt came after it became current
            (folder / f"{generation}.parquet").unlink(missing_ok=True)
    except Exception as error:
        log.warning("left for the next run to remove: %s (%s)", generation, error)


def save(client: Client, folder: Path) -> None:
    """Make the Redis that keeps its data in a folder save them, in the background.

    Raises:
        BatchError: it cannot; the published lists are served until Redis ends.
    """
    folder = folder.resolve()
    deadline, is_ours = time.monotonic() + SAVE_SECONDS, False
    cause = f"not within {SAVE_SECONDS:.0f} s"
    while time.monotonic() < deadline:
        info = client.redis.info("persistence")
        if info["rdb_bgsave_in_progress"]:
            time.sleep(SAVE_PAUSE_SECONDS)
        elif is_ours and info["rdb_last_bgsave_status"] == "ok":
            return
        elif is_ours:
            cause = f"see {folder / 'redis.log'}"
            break
        else:  # one that ran before may have missed the last writes
            try:
                client.redis.bgsave()
                is_ours = True
            except redis.ResponseError as error:
                if "in progress" not in str(error):
                    cause = str(error)
                    break
    raise BatchError(
        f"published, but Redis cannot save it in {folder} ({cause}), and it is lost "
        "when Redis ends: free some space there and run again"
    )


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut values into lists of at most `size`."""
    iterator = iter(values)
    while some := list(islice(iterator, size)):
        yield some
