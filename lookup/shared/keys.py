"""The names of the Redis keys.

The batch writes them, the lookup reads them. Standard library only.
"""

import re
from dataclasses import dataclass

PREFIX = "recs"
"""What the names of all keys begin with, unless REDIS_PREFIX says otherwise."""

GENERATION = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}"
"""The form of a generation's name, such as 20261124T184909Z-f16ffa."""
USER_KINDS = ("user", "because", "history")
"""The kinds of keys of which each user has one, and which `forget` removes."""
KIND = rf"(?:meta|items|about|popular|(?:{'|'.join(USER_KINDS)}|similar):.+)"
"""The form of what follows it in the name of a key."""


@dataclass(frozen=True)
class Keys:
    """The keys of one installation; others in the same Redis have another prefix.

    Redis Cluster places a key by the text in its braces. `slot` puts the keys that
    scripts use together with `{prefix}:current` on the node of that one.
    """

    prefix: str = PREFIX
    slot: str = ""

    def in_cluster(self) -> "Keys":
        """Return the keys as they are in a Redis Cluster."""
        return Keys(self.prefix, f"{{{self.current}}}")

    @property
    def current(self) -> str:
        """The string with the generation that is served."""
        return f"{self.prefix}:current"

    @property
    def generations(self) -> str:
        """The sorted set of the generations held."""
        return f"{self.prefix}:generations{self.slot}"

    @property
    def lock(self) -> str:
        """The string that the batch that is publishing holds."""
        return f"{self.prefix}:lock{self.slot}"

    @property
    def forgotten(self) -> str:
        """The number of users that were removed from generations already published."""
        return f"{self.prefix}:forgotten"

    @property
    def blocked(self) -> str:
        """The set of the items that no list may show, of whatever generation."""
        return f"{self.prefix}:blocked"

    def of(self, generation: str) -> "GenerationKeys":
        """Return the keys of a generation."""
        return GenerationKeys(self.prefix, generation)

    def generation_of(self, key: str) -> str | None:
        """Return the generation of a key that has the form of ours, else None."""
        form = f"{re.escape(self.prefix)}:({GENERATION}):{KIND}"
        match = re.fullmatch(form, key, re.DOTALL)
        return match[1] if match else None


@dataclass(frozen=True)
class GenerationKeys:
    """The keys of one generation."""

    prefix: str
    generation: str

    @property
    def meta(self) -> str:
        """The hash with the model, counts and settings."""
        return f"{self.prefix}:{self.generation}:meta"

    @property
    def items(self) -> str:
        """The hash from item_id to JSON of title, genres and year."""
        return f"{self.prefix}:{self.generation}:items"

    @property
    def about(self) -> str:
        """The JSON about the generation as a whole."""
        return f"{self.prefix}:{self.generation}:about"

    @property
    def popular(self) -> str:
        """The list of popular items, the fallback of unknown users."""
        return f"{self.prefix}:{self.generation}:popular"

    def user(self, user_id: int) -> str:
        """Return the key of the list of a user's recommendations, best first."""
        return f"{self.prefix}:{self.generation}:user:{user_id}"

    def because(self, user_id: int) -> str:
        """Return the key of the list of explanations, one for each recommendation."""
        return f"{self.prefix}:{self.generation}:because:{user_id}"

    def history(self, user_id: int) -> str:
        """Return the key of the JSON of a user's history."""
        return f"{self.prefix}:{self.generation}:history:{user_id}"

    def similar(self, item_id: int) -> str:
        """Return the key of the list of the items most similar to an item."""
        return f"{self.prefix}:{self.generation}:similar:{item_id}"
