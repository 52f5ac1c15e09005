"""One generation, as far as every answer from it needs it."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypedDict

from lookup.shared import contract

TOP_N = re.compile("0*[1-9][0-9]{0,8}")


class CorruptGeneration(Exception):
    """What Redis holds for a generation does not have the form of the contract."""


class Item(TypedDict):
    """What people see of an item."""

    title: str
    genres: list[str]
    year: int | None


class Entry(NamedTuple):
    """One place in a list."""

    item_id: int
    score: float


class Generation:
    """The meta, the items and the popular list of a generation, which never change.

    Raises CorruptGeneration when the meta or the popular list cannot be read.
    """

    def __init__(
        self,
        name: str,
        meta: Mapping[str, str],
        items: Mapping[str, str],
        popular: Iterable[str],
    ) -> None:
        self.name = name
        self.model_version = self._required(meta, "model_version")
        self.scored_at = self._required(meta, "scored_at")
        self.top_n = self._top_n(self._required(meta, "top_n"))
        self.popular = [text for text in popular if text != contract.NO_ITEMS]
        self.entries(contract.popular_key(name), self.popular)  # better now than later
        # Read when first asked for: a catalogue of 90 000 would hold up every request.
        self._unread = dict(items)
        self._items: dict[int, Item] = {}
        self._written = _Written(self)
        self.origin = {
            "generation": name,
            "model_version": self.model_version,
            "scored_at": self.scored_at,
        }
        self.origin_written = as_json(self.origin)[1:-1]

    def item(self, item_id: int) -> Item:
        """Give one item, or raise CorruptGeneration if it is missing or garbled."""
        item = self._items.get(item_id)
        if item is None:
            item = self._items[item_id] = self._read_item(item_id)
        return item

    def written(self, key: str, texts: Sequence[str], first_rank: int) -> list[str]:
        """Turn a list's entries into JSON, without the braces: what most answers are.

        Raises CorruptGeneration, naming the key, if an entry or an item is garbled.
        """
        # done for each cold request: list by list takes half of the time of one by one
        parts = [text.partition(":") for text in texts]
        try:
            scores = [float(score) for _, _, score in parts]
            items = [self._written[item_id] for item_id, _, _ in parts]
        except ValueError as error:
            raise CorruptGeneration(f"{key} holds a bad entry: {error}") from error
        if not all(map(math.isfinite, scores)):
            raise CorruptGeneration(f"{key} holds a score that is no finite number")
        return [
            f'"rank":{rank},{item},"score":{score!r}'
            for rank, (item, score) in enumerate(
                zip(items, scores, strict=True), start=first_rank
            )
        ]

    def age(self, now: datetime) -> float | None:
        """Say how many seconds ago it was scored; None if that cannot be read."""
        try:
            return (now - datetime.fromisoformat(self.scored_at)).total_seconds()
        except (ValueError, TypeError):  # TypeError: it has no time zone
            return None

    def knows(self, item_id: int) -> bool:
        """Tell whether there is such an item."""
        return str(item_id) in self._unread

    def entries(self, key: str, texts: Iterable[str]) -> list[Entry]:
        """Decode the list under a key, or raise CorruptGeneration naming the key."""
        try:
            entries = [Entry(*pair) for pair in contract.decode(texts)]
        except ValueError as error:
            raise CorruptGeneration(f"{key} holds a bad entry: {error}") from error
        if not all(math.isfinite(entry.score) for entry in entries):
            raise CorruptGeneration(f"{key} holds a score that is no finite number")
        return entries

    def because(self, key: str, texts: Sequence[str]) -> list[list[int]]:
        """Decode the reasons under a key, or raise CorruptGeneration naming the key."""
        try:
            return contract.decode_because(texts)
        except ValueError as error:
            raise CorruptGeneration(f"{key} holds a bad entry: {error}") from error

    def history(self, key: str, text: str) -> contract.History:
        """Decode a history under a key, or raise CorruptGeneration naming the key."""
        try:
            return contract.decode_history(text)
        except ValueError as error:
            raise CorruptGeneration(f"{key} is not right: {error}") from error

    def about(self, key: str, text: str) -> contract.About:
        """Decode what is told of it as a whole, or raise CorruptGeneration likewise."""
        try:
            return contract.decode_about(text)
        except ValueError as error:
            raise CorruptGeneration(f"{key} is not right: {error}") from error

    def _read_item(self, item_id: int) -> Item:
        where = f"{contract.items_key(self.name)} {item_id}"
        text = self._unread.get(str(item_id))
        if text is None:
            raise CorruptGeneration(f"{where} is missing")
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorruptGeneration(f"{where} is no JSON: {text[:80]!r}") from error
        if not _is_item(fields):
            raise CorruptGeneration(
                f"{where} lacks title, genres or year: {text[:80]!r}"
            )
        item = Item(title=fields["title"], genres=fields["genres"], year=fields["year"])
        try:
            as_json(item).encode()
        except UnicodeEncodeError as error:
            raise CorruptGeneration(f"{where} is no text: {text[:80]!r}") from error
        return item

    def _required(self, meta: Mapping[str, str], field: str) -> str:
        value = meta.get(field)
        if not value:
            key = contract.meta_key(self.name)
            raise CorruptGeneration(f"{key} has no {field}")
        return value

    def _top_n(self, text: str) -> int:
        if not TOP_N.fullmatch(text):
            key = contract.meta_key(self.name)
            raise CorruptGeneration(f"{key} top_n={text[:80]!r} is no positive integer")
        return int(text)


class _Written(dict[str, str]):
    """Items as JSON without braces, each written when first asked for."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def __missing__(self, item_id: str) -> str:
        number = int(item_id)
        item = self._generation.item(number)
        text = self[item_id] = as_json({"item_id": number, **item})[1:-1]
        return text


# json.dumps would make one each time
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def as_json(value: object) -> str:
    """Write JSON as answers have it: compact, and UTF-8 as it is."""
    return _ENCODER.encode(value)


def _is_item(fields: object) -> bool:
    """Tell whether some JSON has the three fields of an item."""
    if not isinstance(fields, dict):
        return False
    genres, year = fields.get("genres"), fields.get("year", "missing")
    return (
        isinstance(fields.get("title"), str)
        and isinstance(genres, list)
        and all(isinstance(genre, str) for genre in genres)
        and (year is None or isinstance(year, int))
    )
