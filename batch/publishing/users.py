"""Remove a user from generations that are already published."""

import json
from typing import cast

from batch.errors import BatchError
from batch.publishing import cluster, generations
from batch.publishing.connections import Client
from batch.publishing.lock import Lock
from lookup.shared.keys import USER_KINDS, GenerationKeys


def name_of(client: Client, user: str) -> str:
    """Return a user's id as keys and files have it.

    Raises:
        BatchError: it is no id of the served generation's kind.
    """
    kind = generations.kind_of(client, "user_ids")
    if (name := kind.parse(user)) is None:
        raise BatchError(f"user_id is {user!r}, expected an id of kind {kind.value}")
    return str(name)


def forget(client: Client, lock: Lock, user: str) -> int:
    """Remove a user from every generation that is held; return the number of keys.

    The lookup keeps answers in memory until `recs:forgotten` changes.
    """
    n_keys = 0
    for generation in generations.held(client):
        lock.check()
        n_keys += _remove(client, client.keys.of(generation), user)
    client.redis.incr(client.keys.forgotten)
    return n_keys


def _remove(client: Client, keys: GenerationKeys, user: str) -> int:
    """Remove a user's keys, and from the counts and examples of the generation."""
    server = client.redis
    own: list[str] = [getattr(keys, kind)(user) for kind in USER_KINDS]
    n_known = server.exists(own[0])
    about = json.loads(cast("str | None", server.get(keys.about)) or "{}")
    # together, so that a killed process leaves no user counted who is gone
    with server.pipeline(transaction=not cluster.is_cluster(server)) as pipeline:
        for key in own:
            pipeline.unlink(key)
        if n_known and server.exists(keys.meta):
            pipeline.hincrby(keys.meta, "n_users", -1)
        if about:
            examples = [one for one in about["examples"] if str(one) != user]
            about |= {"n_users": about["n_users"] - n_known, "examples": examples}
            pipeline.set(keys.about, json.dumps(about, ensure_ascii=False))
        return sum(pipeline.execute()[: len(own)])
