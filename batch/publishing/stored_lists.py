"""Read lists back from Redis, as the lookup shows them."""

import json
from collections.abc import Iterator, Sequence
from typing import cast

from batch.publishing import encoding, pipeline
from batch.publishing.connections import Client
from batch.publishing.pipeline import KEYS_PER_TRIP
from lookup.shared import contract


def read(
    client: Client, keys: Sequence[str], n: int, hidden: frozenset[str] = frozenset()
) -> Iterator[list[str] | None]:
    """Yield for each key the first `n` item ids that are not hidden, best first.

    A list that does not exist is None.
    """
    end = str(n + len(hidden) - 1)
    found = pipeline.ask(
        client.redis, keys, lambda key: encoding.command("LRANGE", key, "0", end)
    )
    for entries in found:
        ids = [entry.rpartition(":")[0] for entry in entries]
        is_empty = entries == [contract.NO_ITEMS]
        shown = [i for i in ids if i not in hidden and not is_empty]
        yield shown[:n] if entries else None


def users(client: Client, generation: str) -> list[str]:
    """Return the ids of the users who have a list in a generation, in a fixed order."""
    start = client.keys.of(generation).user("")
    names = client.redis.scan_iter(match=f"{start}*", count=KEYS_PER_TRIP)
    return sorted({name.removeprefix(start) for name in names})


def hidden_items(client: Client, generation: str) -> frozenset[str]:
    """Return the ids that no list shows: those of blocked items, and their films'."""
    names = cast("list[str]", sorted(client.redis.smembers(client.keys.blocked)))
    if not names:
        return frozenset()
    found = client.redis.hmget(client.keys.of(generation).items, names)
    films = (json.loads(text).get("same_as") for text in found if text)
    return frozenset(names) | {str(film) for film in films if film is not None}
