"""The encodings of the values in Redis.

The batch writes them, the lookup reads them. Standard library only.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

NO_ITEMS = ""
"""The only entry of a list without items, since Redis does not keep empty lists."""

DECIMALS = 4

ExternalId = int | str
"""An id as the raw data have it: an integer if all of its kind are, else a text."""

CANONICAL = re.compile("0|[1-9][0-9]{0,15}")
TEXT = re.compile("[^\\x00-\\x1f\\x7f-\\x9f]{1,128}")
LEADING_ZEROS = re.compile("0*([0-9]{1,1000})")
"""Allows far more digits than ids have, but fewer than int() refuses."""


class IdKind(Enum):
    """What the ids of users are, or those of items; fields of the meta hold it."""

    POSITIVE = "positive integer"
    INTEGER = "integer"
    TEXT = "text"

    @classmethod
    def of(cls, keys: Iterable[str]) -> "IdKind":
        """Return the narrowest kind of some ids."""
        lowest = 1
        for key in keys:
            if not CANONICAL.fullmatch(key) or int(key) >= 2**53:
                return cls.TEXT
            lowest = min(lowest, int(key))
        return cls.INTEGER if lowest < 1 else cls.POSITIVE

    def parse(self, text: str) -> ExternalId | None:
        """Return the id that a request names; None if it can be none."""
        if self is IdKind.TEXT:
            return text if TEXT.fullmatch(text) else None
        match = LEADING_ZEROS.fullmatch(text) if text.isascii() else None
        if match is None or (self is IdKind.POSITIVE and not text.strip("0")):
            return None
        return int(text.lstrip("0") or 0)  # int() refuses thousands of zeros

    def external(self, key: str) -> ExternalId:
        """Return the id in a key or entry of Redis; raise ValueError if it is none."""
        if self is not IdKind.TEXT:
            return int(key)
        if not key:
            raise ValueError("an id is empty")
        return key


def encode(entries: Iterable[tuple[ExternalId, float]]) -> list[str]:
    """Encode (item_id, score) pairs as the entries of a list, `item_id:score`.

    The sign of a score that rounds to zero is dropped (`z`).
    """
    form = f"z.{DECIMALS}f"
    return [f"{item_id}:{score:{form}}" for item_id, score in entries] or [NO_ITEMS]


def decode(
    entries: Iterable[str], kind: IdKind = IdKind.POSITIVE
) -> list[tuple[ExternalId, float]]:
    """Decode the entries of a list; raise ValueError if one is malformed."""
    texts = list(entries)
    # an id may hold a colon
    pairs = (entry.rpartition(":") for entry in texts if texts != [NO_ITEMS])
    return [(kind.external(item_id), float(score)) for item_id, _, score in pairs]


def encode_because(reasons: Iterable[Sequence[ExternalId]]) -> list[str]:
    """Encode the explanations of a user's list, up to three item_ids each.

    Integers are joined by commas, texts are a list in JSON.
    """
    return [encode_reasons(item_ids) for item_ids in reasons] or [NO_ITEMS]


def encode_reasons(item_ids: Sequence[ExternalId]) -> str:
    """Encode one explanation."""
    if any(isinstance(item_id, str) for item_id in item_ids):
        return json.dumps(item_ids, ensure_ascii=False)
    return ",".join(map(str, item_ids))


def decode_because(entries: Iterable[str]) -> list[list[ExternalId]]:
    """Decode explanations; raise ValueError if one is malformed."""
    return [
        [str(item_id) for item_id in json.loads(entry)]
        if entry.startswith("[")
        else [int(part) for part in entry.split(",") if entry]
        for entry in entries
    ]


@dataclass(frozen=True)
class History:
    """The number of a user's ratings, with the highest and the last of them."""

    n_ratings: int
    highest: Sequence[tuple[ExternalId, float]]
    last: Sequence[tuple[ExternalId, float]]


def encode_history(history: History) -> str:
    """Encode a history as `{"n_ratings": 2, "highest": [[50, 5]], "last": …}`."""
    return json.dumps(asdict(history), ensure_ascii=False)


def decode_history(text: str) -> History:
    """Decode a history; raise ValueError if it is malformed."""
    try:
        fields = _read(text)
        return History(
            n_ratings=int(fields["n_ratings"]),
            highest=_ratings(fields["highest"]),
            last=_ratings(fields["last"]),
        )
    except MALFORMED as error:
        raise ValueError(f"malformed history: {text[:80]!r}") from error


def _ratings(
    pairs: Iterable[tuple[ExternalId, float]],
) -> list[tuple[ExternalId, float]]:
    return [(_id(item_id), _number(rating)) for item_id, rating in pairs]


def _id(value: ExternalId) -> ExternalId:
    """Return an id of JSON; raise TypeError or ValueError for anything else."""
    return value if isinstance(value, str) else int(value)


@dataclass(frozen=True)
class About:
    """A generation as a whole.

    Attributes:
        n_users: the number of users with a list.
        n_items: the number of items that can be recommended.
        genres: all genres of the items.
        examples: some users with a list.
        protocol: the evaluation protocol, None if unknown.
        metrics: ranker (such as `model`) → metric → value on the hold-out.
        has_ratings: whether ratings differ, so that they say what users liked.
        has_films: whether titles are those of films, with a year at the end.
    """

    n_users: int
    n_items: int
    genres: Sequence[str]
    examples: Sequence[ExternalId]
    protocol: str | None
    metrics: Mapping[str, Mapping[str, float]]
    has_ratings: bool = True
    has_films: bool = True


def encode_about(about: About) -> str:
    """Encode a generation's description as JSON."""
    return json.dumps(asdict(about), ensure_ascii=False)


def decode_about(text: str) -> About:
    """Decode a generation's description; raise ValueError if it is malformed."""
    try:
        fields = _read(text)
        found = About(
            n_users=int(fields["n_users"]),
            n_items=int(fields["n_items"]),
            genres=[str(genre) for genre in fields["genres"]],
            examples=[_id(user_id) for user_id in fields["examples"]],
            protocol=_text(fields["protocol"]),
            metrics=_table(fields["metrics"]),
            has_ratings=fields.get("has_ratings") is not False,
            has_films=fields.get("has_films") is not False,
        )
        encode_about(found).encode()
    except MALFORMED as error:
        raise ValueError(f"malformed description: {text[:80]!r}") from error
    return found


@dataclass(frozen=True)
class Forerunner:
    """How the generation that was served before did on what its users did next.

    Attributes:
        generation: the one whose lists were measured.
        model_version: the version that made them.
        since: the newest rating that it knew, in unix seconds; later ones count.
        until: the newest of those.
        figures: `all`, those by the source of the lists and those by their age →
            n_users, n_interactions and metrics.
    """

    generation: str
    model_version: str
    since: int
    until: int
    figures: Mapping[str, Mapping[str, float]]


def encode_forerunner(forerunner: Forerunner) -> str:
    """Encode how a generation's forerunner did as JSON."""
    return json.dumps(asdict(forerunner), ensure_ascii=False)


def decode_forerunner(text: str) -> Forerunner:
    """Decode how a generation's forerunner did; raise ValueError if malformed."""
    try:
        fields = _read(text)
        names, times = ("generation", "model_version"), ("since", "until")
        generation, version = (str(fields[name]) for name in names)
        since, until = (int(fields[name]) for name in times)
        figures = _table(fields["figures"])
        found = Forerunner(generation, version, since, until, figures)
        encode_forerunner(found).encode()
    except MALFORMED as error:
        raise ValueError(f"malformed forerunner: {text[:80]!r}") from error
    return found


MALFORMED = (AttributeError, KeyError, OverflowError, TypeError, UnicodeError)
"""The errors of decoding JSON with missing fields, wrong types or broken text."""


def _read(text: str) -> dict[str, Any]:
    """Parse JSON; raise ValueError even if it is nested too deeply."""
    try:
        fields: dict[str, Any] = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"nested too deeply: {text[:80]!r}") from error
    return fields


def _table(value: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return numbers by two names."""
    return {
        row: {name: _number(cell) for name, cell in cells.items()}
        for row, cells in value.items()
    }


def _text(value: object) -> str | None:
    """Return a text or None; raise ValueError for anything else."""
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is not a text")


def _number(value: str | float) -> float:
    """Parse a finite number, as JSON has it; raise ValueError for anything else."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number
