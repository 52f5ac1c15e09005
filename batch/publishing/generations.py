"""List the generations that Redis holds, and remove all others.

A generation is written under its own name and becomes current by one write of
`recs:current`. The one before it is kept for `rollback`.
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
from batch.publishing import cluster, parquet
from batch.publishing.connections import Client
from batch.publishing.lock import Lock
from batch.publishing.pipeline import KEYS_PER_TRIP
from lookup.shared import contract

FREEING_SECONDS = 1.0
"""The wait after removing keys: Redis frees their memory in the background."""

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Meta:
    """The fields of `recs:{generation}:meta`: how a generation was made."""

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


def new_name(now: datetime) -> str:
    """Return a unique name; names sort by time."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def current(client: Client) -> tuple[str, Mapping[str, str]] | None:
    """Return the current generation and its meta, None if there is none."""
    generation = cast("str | None", client.get(contract.CURRENT))
    if generation is None:
        return None
    meta = cast("dict[str, str]", client.hgetall(contract.meta_key(generation)))
    return (generation, meta) if meta else None


def set_version(
    client: Client, served: tuple[str, Mapping[str, str]], version: str
) -> None:
    """Note under which number the model of a generation is registered now."""
    generation, meta = served
    if meta["model_version"] != version:
        client.hset(contract.meta_key(generation), "model_version", version)
        log.info("version %s is the same model as %s", version, meta["model_version"])


def held(client: Client) -> list[str]:
    """Return the generations held, oldest first."""
    return cast("list[str]", client.zrange(cluster.generations_key(client), 0, -1))


def previous(client: Client) -> str:
    """Return the generation to roll back to.

    Raises:
        BatchError: no generation older than the current one is held.
    """
    names = held(client)
    served = cast("str | None", client.get(contract.CURRENT))
    older = names[: names.index(served)] if served in names else []
    older = [name for name in older if client.exists(contract.meta_key(name))]
    if not older:
        raise BatchError(
            f"nothing to roll back to: {served} is served, and of the generations held "
            f"({', '.join(names) or 'none'}) none is older"
        )
    return older[-1]


def to_keep(client: Client) -> set[str]:
    """Return the current generation and the one before it, or after if it is first."""
    names = held(client)
    served = cast("str | None", client.get(contract.CURRENT))
    if served not in names:
        return set(names)
    i = names.index(served)
    return set(names[i - 1 : i + 1] if i else names[:2])


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
            parquet.remove_generations(folder, keep)


def _remove_orphans(client: Client, lock: Lock) -> None:
    owners = {*held(client), client.get(contract.CURRENT), None}
    names = client.scan_iter(match=f"{contract.PREFIX}*", count=KEYS_PER_TRIP)
    orphans = (name for name in names if contract.generation_of(name) not in owners)
    n_removed = sum(lock.remove((), some) for some in batches(orphans, KEYS_PER_TRIP))
    if n_removed:
        log.info("removed %d keys of generations no longer held", n_removed)


def remove_leftovers(client: Client, lock: Lock, *folders: Path) -> None:
    """Remove keys and files that interrupted batches left."""
    remove_unheld(client, lock, to_keep(client), *folders)


def prune(client: Client, lock: Lock, keep: Collection[str], folder: Path) -> None:
    """Remove all generations except `keep`; log an error instead of raising it."""
    try:
        remove_unheld(client, lock, keep, folder)
    except Exception as error:
        log.warning("could not clean up, the next run will: %s", error)


def abandon(client: Client, lock: Lock, generation: str, folder: Path) -> None:
    """Remove a generation whose run failed; log an error instead of raising it."""
    try:
        cluster.disconnect(client)
        keep = held(client)
        remove_unheld(client, lock, keep)
        lock.check()
        if generation not in keep:  # else an interrupt came after it became current
            (folder / f"{generation}.parquet").unlink(missing_ok=True)
    except Exception as error:
        log.warning("left for the next run to remove: %s (%s)", generation, error)


def save(client: Client) -> None:
    """Make Redis save its data to disk.

    Raises:
        BatchError: it cannot; the published lists are served until Redis ends.
    """
    for _ in range(600):
        try:
            client.save()
        except redis.ResponseError as error:
            if "in progress" not in str(error):
                folder = client.config_get("dir").get("dir")
                cause = str(error) or "its log there says why"
                raise BatchError(
                    f"published, but Redis cannot save it in {folder} ({cause}), and "
                    "it is lost when Redis ends: free some space there and run again"
                ) from error
            time.sleep(0.1)  # a background save is running
        else:
            return


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut values into lists of at most `size`."""
    iterator = iter(values)
    while some := list(islice(iterator, size)):
        yield some
