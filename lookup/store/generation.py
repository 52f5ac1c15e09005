"""The part of a generation in memory: meta, items, popular list and genres."""

import copy
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import Self, TypedDict, TypeVar

from lookup.shared import contract
from lookup.shared.contract import ExternalId, IdKind
from lookup.shared.keys import GenerationKeys
from lookup.store.errors import CorruptGeneration
from lookup.store.item_lists import ItemLists
from lookup.store.search import LazySearchIndex

TOP_N = re.compile("0*[1-9][0-9]{0,8}")

Entries = list[tuple[ExternalId, float]]
Stored = TypeVar("Stored")
Decoded = TypeVar("Decoded")


class Item(TypedDict):
    """The fields of an item that responses show."""

    title: str
    genres: list[str]
    year: int | None


@dataclass(frozen=True)
class Edits:
    """What has been changed in generations that are published already.

    Attributes:
        blocked: the ids of the items that no list may show.
        forgotten: the number of users that were removed, as Redis has it.
    """

    blocked: frozenset[str] = frozenset()
    forgotten: str | None = None


class Generation:
    """The meta, items and popular list of a generation, which never change.

    `hidden` has the ids of the items that no list of it may show: those that are
    blocked and those that stand for their films. `search` has the index of titles.

    Raises CorruptGeneration if the meta or the popular list cannot be decoded.
    """

    def __init__(
        self,
        keys: GenerationKeys,
        meta: Mapping[str, str],
        items: Mapping[str, str],
        popular: Iterable[str],
        about: str | None = None,
    ) -> None:
        self.keys = keys
        self.name = keys.generation
        self.source = meta.get("source", "personal")
        # without a model, users' lists are popular items
        is_personal = self.source == "personal"
        self.fallback_reason = None if is_personal else "too_little_data"
        version = self._required(meta, "model_version") if is_personal else ""
        self.model_version = version
        self.scored_at = self._required(meta, "scored_at")
        self.top_n = self._top_n(self._required(meta, "top_n"))
        self.user_ids = self._kind(meta, "user_ids")
        self.item_ids = self._kind(meta, "item_ids")
        former, key = meta.get("forerunner"), f"{keys.meta} forerunner"
        # the first generation has none
        self.forerunner = (
            decoded(contract.decode_forerunner, key, former) if former else None
        )
        self.popular = [text for text in popular if text != contract.NO_ITEMS]
        self.entries(keys.popular, self.popular)  # fail now, not later
        # Decoded when first used: decoding 90 000 items at once would block requests.
        self._undecoded = dict(items)
        self._films: dict[str, str] = {}
        self.item_lists = ItemLists()
        self._items: dict[ExternalId, Item] = {}
        self._items_json = _ItemsJson(self)
        self.search = LazySearchIndex(self._undecoded)
        self._about = about
        self.origin = {
            "generation": self.name,
            "model_version": self.model_version,
            "scored_at": self.scored_at,
        }
        self.origin_json = as_json(self.origin)[1:-1]
        self.edits = Edits()
        self.hidden: frozenset[str] = frozenset()

    @property
    def blocked(self) -> frozenset[str]:
        """The ids of the items that no list of it may show."""
        return self.edits.blocked

    def edited(self, edits: Edits) -> Self:
        """Return the generation after other edits, with all else shared.

        It is another object, so that no cached response is taken for one of it.
        """
        other = copy.copy(self)
        other.edits, other.hidden = edits, self.with_films(edits.blocked)
        return other

    def with_films(self, item_ids: Iterable[str]) -> frozenset[str]:
        """Return ids, and those that stand for their films in lists."""
        given = frozenset(item_ids)
        return given.union(filter(None, map(self.film, given)))

    def film(self, item_id: str) -> str | None:
        """Return the id that stands for an item in lists; None if it is unknown.

        A garbled item, which is an error only where a list shows it, stands for itself.
        """
        film = self._films.get(item_id)
        text = self._undecoded.get(item_id) if film is None else None
        if text is not None:
            film = item_id
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                film = str(json.loads(text)["same_as"])
            self._films[item_id] = film
        return film

    def genres_like(self, wanted: Collection[str]) -> list[str]:
        """Return the genres that are one of some, which are casefolded."""
        found = self._genres if wanted else ()
        return [genre for genre, folded in found if folded in wanted]

    @cached_property
    def _genres(self) -> Sequence[tuple[str, str]]:
        """Each genre with its casefolded form; none in generations without `about`."""
        if self._about is None:
            return ()
        about = decoded(contract.decode_about, self.keys.about, self._about)
        return [(genre, genre.casefold()) for genre in about.genres]

    def has_item(self, item_id: ExternalId) -> bool:
        """Return whether the generation has an item."""
        return str(item_id) in self._undecoded

    def item(self, item_id: ExternalId) -> Item:
        """Return an item; raise CorruptGeneration if it is missing or garbled."""
        item = self._items.get(item_id)
        if item is None:
            item = self._items[item_id] = self._decode_item(item_id)
        return item

    def entries(self, key: str, texts: Iterable[str]) -> Entries:
        """Decode the list under a key; raise CorruptGeneration naming the key."""
        entries = decoded(partial(contract.decode, kind=self.item_ids), key, texts)
        if not all(math.isfinite(score) for _, score in entries):
            raise CorruptGeneration(f"{key} holds a score that is not finite")
        return entries

    def entries_json(
        self, key: str, texts: Sequence[str], first_rank: int
    ) -> list[str]:
        """Return a list's entries as JSON without the braces.

        Raises CorruptGeneration, naming the key, if an entry or an item is garbled.
        """
        # the hot loop of uncached requests: comprehensions take half the time of a loop
        parts = [text.rpartition(":") for text in texts]  # an id may hold a colon
        try:
            scores = [float(score) for _, _, score in parts]
            items = [self._items_json[item_id] for item_id, _, _ in parts]
        except ValueError as error:
            raise CorruptGeneration(f"{key} holds a bad value: {error}") from error
        if not all(map(math.isfinite, scores)):
            raise CorruptGeneration(f"{key} holds a score that is not finite")
        return [
            f'"rank":{rank},{item},"score":{score!r}'
            for rank, (item, score) in enumerate(
                zip(items, scores, strict=True), start=first_rank
            )
        ]

    def age(self, now: datetime) -> float | None:
        """Return the seconds since it was scored; None if `scored_at` is not a time."""
        try:
            return (now - datetime.fromisoformat(self.scored_at)).total_seconds()
        except (ValueError, TypeError):  # TypeError: it has no time zone
            return None

    def _decode_item(self, item_id: ExternalId) -> Item:
        where = f"{self.keys.items} {item_id}"
        text = self._undecoded.get(str(item_id))
        if text is None:
            raise CorruptGeneration(f"{where} is missing")
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorruptGeneration(f"{where} is not JSON: {text[:80]!r}") from error
        if not _is_item(fields):
            raise CorruptGeneration(
                f"{where} lacks title, genres or year: {text[:80]!r}"
            )
        item = Item(title=fields["title"], genres=fields["genres"], year=fields["year"])
        try:
            as_json(item).encode()
        except UnicodeEncodeError as error:
            raise CorruptGeneration(f"{where} is not UTF-8: {text[:80]!r}") from error
        return item

    def _required(self, meta: Mapping[str, str], field: str) -> str:
        value = meta.get(field)
        if not value:
            raise CorruptGeneration(f"{self.keys.meta} has no {field}")
        return value

    def _kind(self, meta: Mapping[str, str], field: str) -> IdKind:
        """Return what the ids are; integers in the generations of older versions."""
        try:
            return IdKind(meta.get(field, IdKind.POSITIVE.value))
        except ValueError as error:
            raise CorruptGeneration(f"{self.keys.meta} {field}: {error}") from error

    def _top_n(self, text: str) -> int:
        if not TOP_N.fullmatch(text):
            raise CorruptGeneration(
                f"{self.keys.meta} top_n={text[:80]!r}: expected a positive integer"
            )
        return int(text)


class _ItemsJson(dict[str, str]):
    """Items as JSON without the braces, each encoded when first used."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def __missing__(self, item_id: str) -> str:
        external = self._generation.item_ids.external(item_id)
        item = self._generation.item(external)
        text = self[item_id] = as_json({"item_id": external, **item})[1:-1]
        return text


def decoded(decode: Callable[[Stored], Decoded], key: str, value: Stored) -> Decoded:
    """Decode a key's value; raise CorruptGeneration, naming the key, if that fails."""
    try:
        return decode(value)
    except ValueError as error:
        raise CorruptGeneration(f"{key} holds a bad value: {error}") from error


# json.dumps would make an encoder on each call
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def as_json(value: object) -> str:
    """Encode a value as the JSON of responses: compact, and UTF-8 without escapes."""
    return _ENCODER.encode(value)


def _is_item(fields: object) -> bool:
    """Return whether decoded JSON has the three fields of an item."""
    if not isinstance(fields, dict):
        return False
    genres, year = fields.get("genres"), fields.get("year", "missing")
    return (
        isinstance(fields.get("title"), str)
        and isinstance(genres, list)
        and all(isinstance(genre, str) for genre in genres)
        and (year is None or isinstance(year, int))
    )
