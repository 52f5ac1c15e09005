"""Connect to Redis, and turn its errors into messages that say what to do."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.connection import DefaultParser
from redis.retry import Retry

from batch.errors import BatchError
from batch.publishing import cluster
from batch.publishing.cluster import Redis
from lookup.shared.env import without_password
from lookup.shared.keys import PREFIX, Keys
from lookup.shared.redis_options import OPTIONS

ANSWER_SECONDS = 30.0
"""How long to wait for an answer; a server that saves or frees much may be slow."""
KEEPS_ALL = "noeviction"
"""The policy under which a full server refuses writes instead of dropping keys.

Even a policy that drops only keys with a time to live would drop the lock.
"""

ERRORS = (redis.RedisError, *cluster.ERRORS)
REMEDIES: Mapping[type[Exception] | tuple[type[Exception], ...], str] = {
    redis.exceptions.OutOfMemoryError: (
        "it is full: give it more memory (maxmemory) or store less (TOP_N)"
    ),
    cluster.ERRORS: "are all nodes of the cluster up, and is REDIS_URL right?",
    redis.exceptions.ReadOnlyError: "it is a replica: name its primary in REDIS_URL",
    redis.exceptions.BusyLoadingError: "try again when it has loaded its data",
    redis.exceptions.NoPermissionError: (
        "give its user the right to read and write {prefix}:* and to run scripts"
    ),
    redis.exceptions.AuthenticationError: "are user and password in REDIS_URL right?",
    redis.exceptions.TimeoutError: "is it stopped or overloaded?",
}
REMEDIES_BY_MESSAGE: Mapping[str, str] = {
    "MISCONF": "it cannot save, so it refuses writes: is its disk full? see its log",
    "DB index": "is the database in REDIS_URL right?",
}

WITHIN_SCRIPT = re.compile(r": -?((?:OOM|READONLY|NOPERM|MISCONF|WRONGTYPE) .*)")
"""How an older server reports the error of a command within a script."""
WRONG_TYPE = "WRONGTYPE"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Client:
    """A connection to Redis, and the names of one installation's keys there."""

    redis: Redis
    keys: Keys


@contextmanager
def connect(url: str, prefix: str = PREFIX) -> Iterator[Client]:
    """Open a client and turn Redis errors within the block into a BatchError.

    Raises:
        BatchError: names the server without its password, the cause and the remedy.
    """
    client: Client | None = None
    try:
        client = _open(url, Keys(prefix))
        yield client
    except ERRORS as error:
        cause = unwrap(error)
        fault = client and str(cause).startswith(WRONG_TYPE) and mistyped(client)
        problem = fault or f"{cause}; {remedy(cause).format(prefix=prefix)}"
        raise BatchError(
            f"Redis at {without_password(url)} failed: {problem}"
        ) from error
    finally:
        if client is not None:
            client.redis.close()


def _open(url: str, keys: Keys) -> Client:
    """Open a client of the server, or of the cluster that it belongs to."""
    options: dict[str, Any] = {
        **OPTIONS,
        # other programs' keys may be no UTF-8; such a name is none of ours
        "encoding_errors": "backslashreplace",
        "socket_connect_timeout": 5,
        "socket_timeout": ANSWER_SECONDS,
        # a repeated RPUSH would double a list
        "retry": Retry(NoBackoff(), 0),
    }
    server = redis.Redis.from_url(url, **options)
    try:
        pool = server.connection_pool
        pool.release(pool.get_connection())  # raises the errors of AUTH and SELECT
        if not cluster.is_node(server):
            return Client(server, keys)
    except BaseException:
        server.close()
        raise
    server.close()
    return Client(cluster.open_client(url, options), keys.in_cluster())


def check_writable(client: Client, url: str) -> None:
    """Check that the servers accept writes and never evict keys.

    If a user's list were evicted, the lookup would treat the user as unknown. A server
    without INFO passes.

    Raises:
        BatchError: a server is a replica, or evicts keys when it is full.
    """
    where = f"Redis at {without_password(url)}"
    for info in _infos(client, "replication"):
        if info.get("role") == "slave":
            raise BatchError(
                f"{where} is a replica of {info.get('master_host')} port "
                f"{info.get('master_port')} and accepts no writes: name the primary in "
                "REDIS_URL (lookups may read from a replica)"
            )
    for info in _infos(client, "memory"):
        policy = info.get("maxmemory_policy", KEEPS_ALL)
        limit = int(info.get("maxmemory", 0))
        if policy == KEEPS_ALL:
            continue
        if limit:
            raise BatchError(
                f"{where} may drop keys: its maxmemory-policy is {policy} (maxmemory "
                f"is {limit} bytes), under which lists or the lock would vanish; set "
                f"maxmemory-policy to {KEEPS_ALL}"
            )
        text = "%s has the maxmemory-policy %s; with a maxmemory it would drop keys"
        log.warning(f"{text}: set maxmemory-policy to %s", where, policy, KEEPS_ALL)


def _infos(client: Client, section: str) -> list[dict[str, Any]]:
    try:
        return cluster.infos(client.redis, section)
    except redis.ResponseError:
        return []


def unwrap(error: Exception) -> Exception:
    """Return the error of a command within a script, or else the error itself."""
    match = WITHIN_SCRIPT.search(str(error))
    return DefaultParser.parse_error(match[1]) if match else error  # type: ignore[no-untyped-call]


def mistyped(client: Client) -> str | None:
    """Describe a key that has another type than the batch gives it, if there is one."""
    names, server = client.keys, client.redis
    expected = {names.lock: "string", names.generations: "zset"}
    expected |= {names.current: "string", names.blocked: "set"}
    expected[names.forgotten] = "string"
    if server.type(names.current) == "string":
        served = cast(str, server.get(names.current))
        expected[names.of(served).meta] = "hash"
    for key, kind in expected.items():
        found = cast(str, server.type(key))
        if found not in (kind, "none"):
            return (
                f"{key} is a {found}, expected a {kind}: another program wrote it; "
                "remove it, or choose another REDIS_PREFIX"
            )
    return None


def remedy(error: Exception) -> str:
    """Return what to do about an error of Redis."""
    for kind, text in REMEDIES.items():
        if isinstance(error, kind):
            return text
    for beginning, text in REMEDIES_BY_MESSAGE.items():
        if str(error).startswith(beginning):
            return text
    if isinstance(error, redis.ResponseError):
        return "it refused the command"
    return "is the server up and REDIS_URL right?"
