"""The names of the Redis keys.

The batch writes them, the lookup reads them. Standard library only.
"""

import re

PREFIX = "recs"
"""What the names of all keys begin with, unless REDIS_PREFIX says otherwise."""

GENERATION = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}"
"""The form of a generation's name, such as 20261124T184909Z-f16ffa."""
USER_KINDS = ("user", "because", "history")
"""The kinds of keys of which each user has one, and which `forget` removes."""
CATALOGUE = ("popular", "trending", "new")
"""The lists of the whole catalogue; each genre has them too, whatever its name."""
ITEM_KINDS = ("similar", "next")
"""The kinds of keys of which an item may have one."""
KIND = (
    rf"(?:meta|items|about|(?:{'|'.join(CATALOGUE)})(?::.+)?"
    rf"|(?:{'|'.join((*USER_KINDS, *ITEM_KINDS))}):.+)"
)
"""The form of what follows it in the name of a key."""


class Keys:
    """The keys of one installation; others in the same Redis have another prefix.

    Redis Cluster places a key by the text in its braces. `slot` puts the keys that
    scripts use together with `{prefix}:current` on the node of that one.

    Attributes:
        current: the string with the generation that is served.
        generations: the sorted set of the generations held.
        lock: the string that the batch that is publishing holds.
        blocked: the set of the items that no list may show, of whatever generation.
        forgotten: the number of users removed from generations already published.
    """

    def __init__(self, prefix: str = PREFIX, slot: str = "") -> None:
        self.prefix = prefix
        self.current = f"{prefix}:current"
        self.generations = f"{prefix}:generations{slot}"
        self.lock = f"{prefix}:lock{slot}"
        self.blocked = f"{prefix}:blocked"
        self.forgotten = f"{prefix}:forgotten"

    def in_cluster(self) -> "Keys":
        """Return the keys as they are in a Redis Cluster."""
        return Keys(self.prefix, f"{{{self.current}}}")

    def of(self, generation: str) -> "GenerationKeys":
        """Return the keys of a generation."""
        return GenerationKeys(self.prefix, generation)

    def generation_of(self, key: str) -> str | None:
        """Return the generation of a key that has the form of ours, else None."""
        form = f"{re.escape(self.prefix)}:({GENERATION}):{KIND}"
        match = re.fullmatch(form, key, re.DOTALL)
        return match[1] if match else None


class GenerationKeys:
    """The keys of one generation.

    Attributes:
        meta: the hash with the model, counts and settings.
        items: the hash from item_id to JSON of title, genres and year.
        about: the JSON about the generation as a whole.
        popular: the list of popular items, the fallback of unknown users.
    """

    def __init__(self, prefix: str, generation: str) -> None:
        self.generation = generation
        self._own = f"{prefix}:{generation}"
        self.meta = f"{self._own}:meta"
        self.items = f"{self._own}:items"
        self.about = f"{self._own}:about"
        self.popular = self.catalogue("popular")

    def catalogue(self, name: str, genre: str | None = None) -> str:
        """Return the key of a list of CATALOGUE, of all items or of a genre."""
        return f"{self._own}:{name}" + (f":{genre}" if genre else "")

    def user(self, user_id: int | str) -> str:
        """Return the key of the list of a user's recommendations, best first."""
        return f"{self._own}:user:{user_id}"

    def because(self, user_id: int | str) -> str:
        """Return the key of the list of explanations, one for each recommendation."""
        return f"{self._own}:because:{user_id}"

    def history(self, user_id: int | str) -> str:
        """Return the key of the JSON of a user's history."""
        return f"{self._own}:history:{user_id}"

    def similar(self, item_id: int | str) -> str:
        """Return the key of the list of the items most similar to an item."""
        return f"{self._own}:similar:{item_id}"

    def next(self, item_id: int | str) -> str:
        """Return the key of the list of the items that most often follow an item."""
        return f"{self._own}:next:{item_id}"
