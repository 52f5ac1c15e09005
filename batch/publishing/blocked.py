"""The items that no list may show, of whatever generation."""

from collections.abc import Sequence
from typing import cast

from batch.errors import BatchError
from batch.publishing import generations
from batch.publishing.connections import Client


def ids(client: Client) -> list[int]:
    """Return the blocked item_ids in their order."""
    members = cast("set[str]", client.redis.smembers(client.keys.blocked))
    return sorted(int(member) for member in members if member.isdecimal())


def add(client: Client, item_ids: Sequence[int]) -> None:
    """Block items.

    Raises:
        BatchError: the served generation lacks some of them; none was blocked.
    """
    generation = generations.served(client)
    if generation is None:
        raise BatchError(f"nothing is published: {client.keys.current} is not set")
    names = list(map(str, item_ids))
    items = client.keys.of(generation).items
    found = cast("list[str | None]", client.redis.hmget(items, names))
    if unknown := [name for name, item in zip(names, found, strict=True) if not item]:
        raise BatchError(
            f"generation {generation} has no item {', '.join(unknown)}: expected ids "
            "as lists have them; nothing was blocked"
        )
    client.redis.sadd(client.keys.blocked, *names)


def remove(client: Client, item_ids: Sequence[int]) -> None:
    """Let lists show items again.

    Raises:
        BatchError: some of them are not blocked; none was unblocked.
    """
    if unknown := sorted(set(item_ids) - set(ids(client))):
        raise BatchError(
            f"not blocked: {', '.join(map(str, unknown))} (`python -m batch blocked` "
            "shows what is); nothing was unblocked"
        )
    client.redis.srem(client.keys.blocked, *map(str, item_ids))
