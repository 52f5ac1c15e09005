"""Connect to Redis, and turn its errors into messages that say what to do."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import DefaultParser
from redis.retry import Retry

from batch.errors import BatchError
from batch.publishing import cluster
from lookup.shared.env import without_password

Client = cluster.Client
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
        "give its user the right to read and write recs:* and to run scripts"
    ),
    redis.exceptions.AuthenticationError: "are user and password in REDIS_URL right?",
    redis.exceptions.TimeoutError: "is it stopped or overloaded?",
}
REMEDIES_BY_MESSAGE: Mapping[str, str] = {
    "MISCONF": "it cannot save, so it refuses writes: is its disk full? see its log",
    "DB index": "is the database in REDIS_URL right?",
}

WITHIN_SCRIPT = re.compile(r": -((?:OOM|READONLY|NOPERM|MISCONF) .*)")
"""How an older server reports the error of a command within a script."""

log = logging.getLogger(__name__)


@contextmanager
def connect(url: str) -> Iterator[Client]:
    """Open a client and turn Redis errors within the block into a BatchError.

    Raises:
        BatchError: names the server without its password, the cause and the remedy.
    """
    client: Client | None = None
    try:
        client = _open(url)
        yield client
    except ERRORS as error:
        cause = unwrap(error)
        raise BatchError(
            f"Redis at {without_password(url)} failed: {cause}; {remedy(cause)}"
        ) from error
    finally:
        if client is not None:
            client.close()


def _open(url: str) -> Client:
    """Open a client of the server, or of the cluster that it belongs to."""
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_connect_timeout": 5,
        "socket_timeout": ANSWER_SECONDS,
        # a repeated RPUSH would double a list
        "retry": Retry(NoBackoff(), 0),
    }
    client = redis.Redis.from_url(url, **options)
    try:
        mode = client.info("server").get("redis_mode")
    except redis.exceptions.NoPermissionError:
        mode = None  # assume a single server
    except BaseException:
        client.close()
        raise
    if mode != "cluster":
        return client
    client.close()
    return cluster.open_client(url, options)


def check_writable(client: Client, url: str) -> None:
    """Check that the servers accept writes and never evict keys.

    If a user's list were evicted, the lookup would treat the user as unknown. A server
    that does not allow INFO passes.

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
        return cluster.infos(client, section)
    except redis.exceptions.NoPermissionError:
        return []


def unwrap(error: Exception) -> Exception:
    """Return the error of a command within a script, or else the error itself."""
    match = WITHIN_SCRIPT.search(str(error))
    return DefaultParser.parse_error(match[1]) if match else error  # type: ignore[no-untyped-call]


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
