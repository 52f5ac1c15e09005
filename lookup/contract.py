"""The names of the Redis keys and the form of what they hold.

Shared by the batch, which writes, and the lookup, which reads. Standard library only.
"""

from collections.abc import Iterable

CURRENT = "recs:current"
GENERATIONS = "recs:generations"
LOCK = "recs:lock"
PREFIX = "recs:"

NO_ITEMS = ""
"""The only entry of a list that has no items: Redis does not keep empty lists."""


def meta_key(generation: str) -> str:
    """Name the hash that says how a generation was made."""
    return f"{PREFIX}{generation}:meta"


def user_key(generation: str, user_id: int) -> str:
    """Name the list of one user's recommendations, best first."""
    return f"{PREFIX}{generation}:user:{user_id}"


def popular_key(generation: str) -> str:
    """Name the list that users get who are not known."""
    return f"{PREFIX}{generation}:popular"


def items_key(generation: str) -> str:
    """Name the hash from item_id to the JSON of its title, genres and year."""
    return f"{PREFIX}{generation}:items"


def generation_of(key: str) -> str | None:
    """Tell the generation that a key belongs to, None for the keys above them all."""
    name, separator, _ = key.removeprefix(PREFIX).partition(":")
    return name if separator else None


def encode(entries: Iterable[tuple[int, float]]) -> list[str]:
    """Turn (item_id, score) pairs into a list's entries, `item_id:score`."""
    return [f"{item_id}:{score:.4f}" for item_id, score in entries] or [NO_ITEMS]


def decode(entries: Iterable[str]) -> list[tuple[int, float]]:
    """Turn a list's entries back into (item_id, score) pairs."""
    pairs = (entry.partition(":") for entry in entries if entry != NO_ITEMS)
    return [(int(item_id), float(score)) for item_id, _, score in pairs]
