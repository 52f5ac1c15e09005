"""The lock of a batch, and the writes that only its holder may make."""

import logging
import os
import secrets
import socket
import threading
from collections.abc import Sequence
from typing import cast

from batch.errors import BatchError, LockHeld
from batch.publishing import cluster, connections, pipeline
from batch.publishing.connections import Client

LOCK_SECONDS = 20

RENEW = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('pexpire', KEYS[1], ARGV[2])
"""
RELEASE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('del', KEYS[1])
"""
REMOVE = """
local holder = redis.call('get', KEYS[1]) or ''
if holder ~= ARGV[1] then return -1 end
redis.call('zrem', KEYS[2], unpack(ARGV, 2))
if #KEYS == 2 then return 0 end
return redis.call('unlink', unpack(KEYS, 3))
"""
MAKE_CURRENT = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
if KEYS[4] and redis.call('exists', KEYS[4]) == 0 then return -1 end
local at = ARGV[3]
local last = redis.call('zrevrange', KEYS[3], 0, 0, 'withscores')[2]
if last and tonumber(last) >= tonumber(at) then at = tonumber(last) + 1 end
if ARGV[4] == 'current' then redis.call('set', KEYS[2], ARGV[2]) end
redis.call('zadd', KEYS[3], 'NX', at, ARGV[2])
return 1
"""
"""The newest generation gets the highest time even if the clock was set back, because
`rollback` relies on that order."""

log = logging.getLogger(__name__)


class Lock:
    """The lock under which a batch publishes; a thread renews it until its release.

    `batch.publishing.generations.locked` acquires and releases it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client.redis
        self._keys = client.keys
        self._key = client.keys.lock
        self._token = ""
        """While this is empty, `remove` requires that no batch holds the lock."""
        self._done = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            LockHeld: another batch holds it.
        """
        token = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        if not self._client.set(self._key, token, nx=True, ex=LOCK_SECONDS):
            holder = cast("str | None", self._client.get(self._key))
            name = holder.rpartition(":")[0] if holder else "one that just ended"
            raise LockHeld(
                f"another batch holds {self._key}: {name}; "
                f"wait for it, or {LOCK_SECONDS} s if it was killed"
            )
        self._token = token
        self._renewer.start()

    def release(self) -> None:
        """Give the lock back, unless it was lost."""
        self._done.set()
        self._renewer.join()
        try:
            self._client.eval(RELEASE, 1, self._key, self._token)
        except connections.ERRORS:
            log.warning("could not release %s; it expires by itself", self._key)

    def check(self) -> None:
        """Check that the lock is still held.

        Raises:
            BatchError: another batch has taken it.
        """
        if self._client.get(self._key) != self._token:
            raise BatchError(
                f"lost {self._key}: another batch took over; the served lists have not "
                "changed"
            )

    def make_current(self, generation: str, published_at: float) -> None:
        """Make a generation current in one step, if the lock is still held.

        A server that crashed may come back with this lock and half of the lists. The
        step therefore requires the generation's meta, which is written last. In a
        cluster the meta may be on another node, out of the script's reach. If the
        generation was published before, `published_at` is ignored.

        Raises:
            BatchError: the lock or the generation is lost.
        """
        self._list(generation, published_at, "current")

    def stage(self, generation: str, published_at: float) -> None:
        """Hold a generation without making it current, as `make_current` does else."""
        self._list(generation, published_at, "staged")

    def _list(self, generation: str, published_at: float, how: str) -> None:
        keys = [self._key, self._keys.current, self._keys.generations]
        if not cluster.is_cluster(self._client):
            keys.append(self._keys.of(generation).meta)
        arguments = (self._token, generation, str(published_at), how)
        done = int(self._client.eval(MAKE_CURRENT, len(keys), *keys, *arguments))
        if done < 0:
            raise BatchError(
                f"{generation} vanished before it could become current: did Redis "
                "restart? the served lists have not changed"
            )
        if not done:
            raise BatchError(
                f"lost {self._key} before {generation} could become current: another "
                "batch took over; the served lists have not changed"
            )

    def remove(self, generations: Sequence[str], keys: Sequence[str] = ()) -> int:
        """Unlist generations and delete keys, if the lock is still held.

        A batch that slept past its lock must not remove the keys of the next one. A
        single server does both in one step. In a cluster the keys go later, which is
        harmless: keys found while the lock was held cannot belong to a later batch.

        Returns:
            The number of keys removed.

        Raises:
            BatchError: another batch has taken the lock.
        """
        later = keys if cluster.is_cluster(self._client) else ()
        names = (self._key, self._keys.generations, *(() if later else keys))
        # zrem needs at least one name; no generation has an empty one
        arguments = (self._token, *(generations or [""]))
        n_removed = int(self._client.eval(REMOVE, len(names), *names, *arguments))
        if n_removed < 0:
            raise BatchError(f"lost {self._key} to another batch while cleaning up")
        return n_removed + pipeline.total(self._client, "UNLINK", later)

    def _renew(self) -> None:
        while not self._done.wait(LOCK_SECONDS / 4):
            arguments = (self._token, str(LOCK_SECONDS * 1000))
            try:
                if not self._client.eval(RENEW, 1, self._key, *arguments):
                    log.warning("lost %s: nothing will be published", self._key)
                    return
            except connections.ERRORS as error:
                log.warning("could not renew %s: %s", self._key, error)
