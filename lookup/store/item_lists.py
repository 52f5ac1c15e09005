"""The lists `similar` and `next` of a generation's items, in memory once read."""

import sys
from array import array
from collections import OrderedDict
from collections.abc import Iterable

from lookup.shared.contract import ExternalId

N_SIMILAR, N_NEXT = 100, 40
"""How much of a list is read: no ranking of a session was better for more."""
MAX_LISTS = 4096
"""Lists held, of 2 KB each: those of the 2,000 items that sessions name most."""

ItemList = tuple[tuple[str, ...], "array[float]"]
"""The item ids and scores of a list, best first."""


class ItemLists:
    """Lists of one generation by their keys; the least recently used are evicted."""

    def __init__(self) -> None:
        self._lists: OrderedDict[str, ItemList] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lists)

    def get(self, key: str) -> ItemList | None:
        """Return the list of a key, None if it is not held."""
        found = self._lists.get(key)
        if found is not None:
            self._lists.move_to_end(key)
        return found

    def put(self, key: str, entries: Iterable[tuple[ExternalId, float]]) -> ItemList:
        """Hold a list, or that there is none, and return it."""
        pairs = list(entries)
        # lists share the texts of their ids
        item_ids = tuple(sys.intern(str(item_id)) for item_id, _ in pairs)
        found = self._lists[key] = item_ids, array("d", [score for _, score in pairs])
        while len(self._lists) > MAX_LISTS:
            self._lists.popitem(last=False)
        return found
