"""The items that no list may show, of whatever generation."""

from collections.abc import Sequence
from typing import cast

from batch.errors import BatchError
from batch.publishing import generations
from batch.publishing.connections import Client
from lookup.shared.contract import ExternalId


def ids(client: Client) -> list[ExternalId]:
    """Return the blocked item_ids in their order."""
    members = cast("set[str]", client.redis.smembers(client.keys.blocked))
    parsed = map(generations.kind_of(client, "item_ids").parse, members)
    return sorted((i for i in parsed if i is not None), key=lambda i: (str(type(i)), i))


def add(client: Client, item_ids: Sequence[ExternalId]) -> None:
    """Block items.

    Raises:
        BatchError: the served generation lacks some of them; none was blocked.
    """
    generation = generations.served(client)
    if generation is None:
        raise BatchError(f"nothing is published: {client.keys.current} is not set")
    names = _names(client, item_ids)
    items = client.keys.of(generation).items
    found = cast("list[str | None]", client.redis.hmget(items, names))
    if unknown := [name for name, item in zip(names, found, strict=True) if not item]:
        raise BatchError(
            f"generation {generation} has no item {', '.join(unknown)}: expected ids "
            "as lists have them; nothing was blocked"
        )
    client.redis.sadd(client.keys.blocked, *names)


def remove(client: Client, item_ids: Sequence[ExternalId]) -> None:
    """Let lists show items again.

    Raises:
        BatchError: some of them are not blocked; none was unblocked.
    """
    names, held = _names(client, item_ids), set(map(str, ids(client)))
    if unknown := [name for name in names if name not in held]:
        raise BatchError(
            f"not blocked: {', '.join(unknown)} (`python -m batch blocked` "
            "shows what is); nothing was unblocked"
        )
    client.redis.srem(client.keys.blocked, *names)


def _names(client: Client, item_ids: Sequence[ExternalId]) -> list[str]:
    """Return ids as the keys and sets of Redis have them."""
    kind = generations.kind_of(client, "item_ids")
    parsed = {item_id: kind.parse(str(item_id)) for item_id in item_ids}
    if bad := [item_id for item_id, name in parsed.items() if name is None]:
        raise BatchError(f"item_id is {bad[0]!r}, expected an id of kind {kind.value}")
    return [str(name) for name in parsed.values()]
