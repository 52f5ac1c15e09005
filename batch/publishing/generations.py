"""Generations in Redis.

A generation is written whole under its own name, counted, and becomes current by one
write of `recs:current`, which only the holder of the lock can do. In a cluster the lock
and the generations held have names that put them beside `recs:current`, for the script
that checks the one and writes the others.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar, cast

import redis

from batch.errors import BatchError, LockHeld
from batch.publishing import connections, encoding
from batch.publishing.connections import Client
from batch.scoring.ranking import Ranking
from lookup.shared import contract

LOCK_SECONDS = 20
COMMANDS_PER_TRIP = 1000
LISTS_PER_TRIP = 128
"""What numpy makes of more no longer fits into a core's cache."""
FREEING_SECONDS = 1.0
"""Redis frees the memory of removed keys in the background."""

RENEW = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('pexpire', KEYS[1], ARGV[2])
"""
REMOVE = """
local holder = redis.call('get', KEYS[1]) or ''
if holder ~= ARGV[1] then return -1 end
redis.call('zrem', KEYS[2], unpack(ARGV, 2))
if #KEYS == 2 then return 0 end
return redis.call('unlink', unpack(KEYS, 3))
"""
RELEASE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('del', KEYS[1])
"""
FLIP = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
if KEYS[4] and redis.call('exists', KEYS[4]) == 0 then return -1 end
local at = ARGV[3]
local last = redis.call('zrevrange', KEYS[3], 0, 0, 'withscores')[2]
if last and tonumber(last) >= tonumber(at) then at = tonumber(last) + 1 end
redis.call('set', KEYS[2], ARGV[2])
redis.call('zadd', KEYS[3], 'NX', at, ARGV[2])
return 1
"""
"""Where a clock was set back, too, the last to be published comes last: `rollback` goes
by that order."""

LOSSES = "does maxmemory-policy evict, or did Redis restart?"

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Meta:
    """How a generation was made: the fields of `recs:{generation}:meta`."""

    model_name: str
    model_version: str
    scored_at: str
    n_users: int
    n_items: int
    n_pairs: int
    top_n: int
    fingerprint: str


@dataclass(frozen=True)
class Item:
    """What the lookup tells of an item."""

    item_id: int
    title: str
    genres: Sequence[str]
    year: int | None


def new_generation(now: datetime) -> str:
    """Name a generation so that names sort by time and never meet."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def lock_key(client: Client) -> str:
    """Name the lock."""
    return contract.LOCK + (contract.SLOT if connections.is_cluster(client) else "")


def generations_key(client: Client) -> str:
    """Name the sorted set of the generations held."""
    return contract.GENERATIONS + (
        contract.SLOT if connections.is_cluster(client) else ""
    )


class Lock:
    """The right to publish, renewed by a thread for as long as it is held.

    Args:
        client: of the Redis.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._key = lock_key(client)
        self._token = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        self._done = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> "Lock":
        """Take the lock.

        Raises:
            LockHeld: when another batch has it.
        """
        if not self._taken():
            holder = cast("str | None", self._client.get(self._key))
            name = holder.rpartition(":")[0] if holder else "one that just ended"
            raise LockHeld(
                f"another batch holds {self._key}: {name}; "
                f"wait for it, or {LOCK_SECONDS} s if it was killed"
            )
        self._renewer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._renewer.join()
        try:
            self._client.eval(RELEASE, 1, self._key, self._token)
        except connections.ERRORS:
            log.warning("could not release %s; it expires by itself", self._key)

    def check(self) -> None:
        """Make sure that the lock is still held.

        Raises:
            BatchError: it was lost to another batch.
        """
        if self._client.get(self._key) != self._token:
            raise BatchError(
                f"lost {self._key}: another batch took over, nothing that is served "
                "has changed"
            )

    def flip(self, generation: str, published_at: float) -> None:
        """Make a generation current, in the same step that checks for the lock.

        A server that crashes comes back as it was at some moment, perhaps with our lock
        and half of the lists. What was written last being there says that all is; in a
        cluster it may be on another node, which no step can look at as well.

        Args:
            generation: written, described, and counted after that.
            published_at: in unix seconds; kept as it was if it was current before.

        Raises:
            BatchError: when the lock was lost to another batch, or the generation.
        """
        keys = [self._key, contract.CURRENT, generations_key(self._client)]
        if not connections.is_cluster(self._client):
            keys.append(contract.meta_key(generation))
        arguments = (self._token, generation, str(published_at))
        done = int(self._client.eval(FLIP, len(keys), *keys, *arguments))
        if done < 0:
            raise BatchError(
                f"{generation} vanished before it could become current: did Redis "
                "restart? nothing that is served has changed"
            )
        if not done:
            raise BatchError(
                f"lost {self._key} before {generation} could become current; "
                "another batch took over, nothing that is served has changed"
            )

    def remove(self, generations: Sequence[str], names: Sequence[str] = ()) -> int:
        """Give up generations and remove keys, if the lock is still held.

        Who was stopped for longer than the lock lives must not remove what the next
        batch is writing.

        Returns:
            How many keys were removed.

        Raises:
            BatchError: when the lock was lost to another batch.
        """
        return remove(self._client, self._token, generations, names)

    def _taken(self) -> bool:
        try:
            return self._set()
        except redis.exceptions.OutOfMemoryError:
            # A batch that died may have left it full. Nobody holds the lock: an empty
            # token says so, and ends the sweep if somebody takes it meanwhile.
            sweep(self._client, lambda names: remove(self._client, "", (), names))
            time.sleep(FREEING_SECONDS)
            return self._set()

    def _set(self) -> bool:
        token = self._token
        return bool(self._client.set(self._key, token, nx=True, ex=LOCK_SECONDS))

    def _renew(self) -> None:
        while not self._done.wait(LOCK_SECONDS / 4):
            arguments = (self._token, str(LOCK_SECONDS * 1000))
            try:
                if not self._client.eval(RENEW, 1, self._key, *arguments):
                    log.warning("lost %s: nothing will be published", self._key)
                    return
            except connections.ERRORS as error:
                log.warning("could not renew %s: %s", self._key, error)


@dataclass(frozen=True)
class Written:
    """What has been written of a generation's lists.

    Attributes:
        n_users: who have a list.
        n_entries: of all of these lists.
    """

    n_users: int
    n_entries: int


def complete(
    client: Client,
    generation: str,
    popular: Sequence[tuple[int, float]],
    items: Sequence[Item],
) -> None:
    """Add to all users' lists what is the same for them.

    Args:
        client: of the Redis.
        generation: of which every user's list has been written.
        popular: item_id and score, best first.
        items: the catalogue.
    """
    popular_key, items_key = (
        contract.popular_key(generation),
        contract.items_key(generation),
    )
    parts = (b"RPUSH", popular_key.encode(), *map(str.encode, contract.encode(popular)))
    with connections.Stream(client) as stream:
        stream.send([popular_key], [encoding.command(*parts)])
        stream.receive()
    described = {
        str(item.item_id): json.dumps(
            {"title": item.title, "genres": list(item.genres), "year": item.year},
            ensure_ascii=False,
        )
        for item in items
    }
    for names in batches(described, COMMANDS_PER_TRIP):
        fields = [part for name in names for part in (name, described[name])]
        client.hset(items_key, items=fields)


def check(
    client: Client,
    generation: str,
    user_ids: Sequence[int],
    n_entries: int,
    n_items: int,
) -> None:
    """Count what was written: last of all, since a server may crash and lose some.

    Args:
        client: of the Redis.
        generation: which is complete.
        user_ids: all users.
        n_entries: that their lists have together.
        n_items: that the catalogue has.

    Raises:
        BatchError: when Redis holds other than was written.
    """
    keys = [contract.user_key(generation, user_id) for user_id in user_ids]
    lengths = connections.lengths(client, keys)
    n_kept = sum(length > 0 for length in lengths)
    n_described = client.hlen(contract.items_key(generation))
    is_whole = (n_kept, n_described) == (len(user_ids), n_items)
    if not is_whole or not client.exists(contract.popular_key(generation)):
        raise BatchError(
            f"{generation} is not whole: Redis holds {n_kept} of {len(user_ids)} lists "
            f"and {n_described} of {n_items} items; {LOSSES}"
        )
    if sum(lengths) != n_entries:
        raise BatchError(
            f"{generation} is not what was written: its lists have {sum(lengths)} "
            f"entries, not {n_entries}; did two batches write it?"
        )


def write_lists(
    client: Client,
    generation: str,
    rankings: Iterable[Ranking],
    key_of: Callable[[str, int], str] = contract.user_key,
) -> Written:
    """Write lists, each trip while Redis stores the one before.

    Args:
        client: of the Redis.
        generation: to write under.
        rankings: the lists.
        key_of: names the key, given the generation and whose list it is.

    Raises:
        BatchError: when there were lists of that generation.
    """
    n_users = n_entries = 0
    sent: deque[list[int]] = deque()

    def check() -> None:
        if stream.receive() != sent.popleft():
            raise BatchError(f"{generation} is not new: some of its lists were there")

    with connections.Stream(client) as stream:
        for some in batches(rankings, LISTS_PER_TRIP):
            ids = [ranking.user_id for ranking in some]
            keys = [key_of(generation, user_id) for user_id in ids]
            stream.send(keys, encoding.pushes(keys, some))
            sent.append([max(1, len(ranking.item_ids)) for ranking in some])
            n_users += len(ids)
            n_entries += sum(sent[-1])
            if len(sent) > 1:
                check()
        while sent:
            check()
    return Written(n_users, n_entries)


def tell(client: Client, generation: str, about: contract.About) -> None:
    """Write what people are told of a generation as a whole."""
    client.set(contract.about_key(generation), contract.encode_about(about))


def describe(client: Client, generation: str, meta: Meta) -> None:
    """Write how a generation was made, which completes it."""
    fields = [str(part) for pair in asdict(meta).items() for part in pair]
    client.hset(contract.meta_key(generation), items=fields)


def current(client: Client) -> tuple[str, Mapping[str, str]] | None:
    """Return the generation that is served and its meta, None when there is none."""
    generation = cast("str | None", client.get(contract.CURRENT))
    if generation is None:
        return None
    meta = cast("dict[str, str]", client.hgetall(contract.meta_key(generation)))
    return (generation, meta) if meta else None


def generations(client: Client) -> list[str]:
    """Return the generations held, oldest first."""
    return cast("list[str]", client.zrange(generations_key(client), 0, -1))


def before(client: Client) -> str:
    """Return the generation to roll back to.

    Raises:
        BatchError: when none is held that is older than the current one.
    """
    held = generations(client)
    served = cast("str | None", client.get(contract.CURRENT))
    older = held[: held.index(served)] if served in held else []
    older = [name for name in older if client.exists(contract.meta_key(name))]
    if not older:
        raise BatchError(
            f"nothing to roll back to: {served} is served, and of the generations held "
            f"({', '.join(held) or 'none'}) none is older"
        )
    return older[-1]


def kept(client: Client) -> set[str]:
    """Name the generations to hold: the current one and its neighbour in time."""
    held = generations(client)
    served = cast("str | None", client.get(contract.CURRENT))
    if served not in held:
        return set(held)
    i = held.index(served)
    return set(held[i - 1 : i + 1] if i else held[:2])


def retire(client: Client, lock: Lock, keep: Collection[str]) -> None:
    """Give up all generations but these, and remove the keys that no other owns."""
    gone = [name for name in generations(client) if name not in keep]
    if gone:
        lock.remove(gone)
    sweep(client, lambda names: lock.remove((), names))


def sweep(client: Client, remove_keys: Callable[[Sequence[str]], int]) -> None:
    """Remove the keys of generations not held, such as those of a batch that died."""
    held = set(generations(client)) | {client.get(contract.CURRENT)}
    names = client.scan_iter(match=f"{contract.PREFIX}*", count=COMMANDS_PER_TRIP)
    orphans = (
        name for name in names if contract.generation_of(name) not in held | {None}
    )
    n_removed = sum(map(remove_keys, batches(orphans, COMMANDS_PER_TRIP)))
    if n_removed:
        log.info("removed %d keys of generations no longer held", n_removed)


def remove(
    client: Client, token: str, generations: Sequence[str], names: Sequence[str]
) -> int:
    """Remove generations from those held, and keys, if the lock holds this token.

    On one server all of it is one step. In a cluster the keys go in steps after it, on
    their nodes, which may come after the lock is lost. They do no harm however late:
    who holds the lock when it is checked held it when the names were read, so that none
    is of a later batch, and no generation ever gets the name of another.

    Raises:
        BatchError: it holds another.
    """
    lock, apart = lock_key(client), names if connections.is_cluster(client) else ()
    keys = (lock, generations_key(client), *(() if apart else names))
    # zrem wants at least one name; none is empty
    arguments = (token, *(generations or [""]))
    removed = int(client.eval(REMOVE, len(keys), *keys, *arguments))
    if removed < 0:
        raise BatchError(f"lost {lock} to another batch while cleaning up")
    return removed + connections.total(client, "UNLINK", apart)


def save(client: Client) -> None:
    """Have Redis write to its disk what it holds.

    Raises:
        BatchError: it cannot; what was published is served until Redis ends.
    """
    for _ in range(600):
        try:
            client.save()
        except redis.ResponseError as error:
            if "in progress" not in str(error):
                folder = client.config_get("dir").get("dir")
                told = str(error) or "its log there says why"
                raise BatchError(
                    f"published, but Redis cannot save it in {folder} ({told}), and it "
                    "is lost when Redis ends: free some space there and run again"
                ) from error
            time.sleep(0.1)  # it is saving by itself
        else:
            return


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut values into lists of at most `size`."""
    iterator = iter(values)
    while some := list(islice(iterator, size)):
        yield some
