"""The names of the Redis keys and the form of what they hold.

Shared by the batch, which writes, and the lookup, which reads. Standard library only.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

CURRENT = "recs:current"
GENERATIONS = "recs:generations"
LOCK = "recs:lock"

PREFIX = "recs:"

SLOT = "{recs:current}"
"""In a cluster, the ending of a key that scripts touch together with `recs:current`.

Keys whose braces hold the same text are on the same node, and the text is the whole
name of the pointer, which has no braces.
"""

NO_ITEMS = ""
"""The only entry of a list that has no items: Redis does not keep empty lists."""

DECIMALS = 4


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


def similar_key(generation: str, item_id: int) -> str:
    """Name the list of the items that are most like one item."""
    return f"{PREFIX}{generation}:similar:{item_id}"


def because_key(generation: str, user_id: int) -> str:
    """Name the list that says, beside a user's list, which of their items drove it."""
    return f"{PREFIX}{generation}:because:{user_id}"


def history_key(generation: str, user_id: int) -> str:
    """Name the text that tells what a user rated highest and last."""
    return f"{PREFIX}{generation}:history:{user_id}"


def about_key(generation: str) -> str:
    """Name the text that tells what a generation is about and how good its model is."""
    return f"{PREFIX}{generation}:about"


def generation_of(key: str) -> str | None:
    """Tell the generation that a key belongs to, None for the keys above them all."""
    name, separator, _ = key.removeprefix(PREFIX).removesuffix(SLOT).partition(":")
    return name if separator else None


def encode(entries: Iterable[tuple[int, float]]) -> list[str]:
    """Turn (item_id, score) pairs into a list's entries, `item_id:score`.

    The sign of a score that rounds to zero is dropped (`z`).
    """
    form = f"z.{DECIMALS}f"
    return [f"{item_id}:{score:{form}}" for item_id, score in entries] or [NO_ITEMS]


def decode(entries: Iterable[str]) -> list[tuple[int, float]]:
    """Turn entries back into (item_id, score) pairs, or raise ValueError."""
    texts = list(entries)
    pairs = (entry.partition(":") for entry in texts if texts != [NO_ITEMS])
    return [(int(item_id), float(score)) for item_id, _, score in pairs]


def encode_because(reasons: Iterable[Sequence[int]]) -> list[str]:
    """Turn one to three item_ids a place, or none, into entries `item_id,item_id`.

    They go beside those of the user's list, one for each, in its order.
    """
    return [",".join(map(str, item_ids)) for item_ids in reasons] or [NO_ITEMS]


def decode_because(entries: Iterable[str]) -> list[list[int]]:
    """Turn the entries back into item_ids; raise ValueError if one is none."""
    return [[int(part) for part in entry.split(",") if entry] for entry in entries]


@dataclass(frozen=True)
class History:
    """How many a user rated, and (item_id, rating) of the highest and the last."""

    n_ratings: int
    highest: Sequence[tuple[int, float]]
    last: Sequence[tuple[int, float]]


def encode_history(history: History) -> str:
    """Turn a history into JSON: `{"n_ratings": 2, "highest": [[50, 5]], "last": …}`."""
    return json.dumps(asdict(history))


def decode_history(text: str) -> History:
    """Turn the JSON back into a history; raise ValueError if it is none."""
    try:
        fields = _read(text)
        return History(
            n_ratings=int(fields["n_ratings"]),
            highest=_ratings(fields["highest"]),
            last=_ratings(fields["last"]),
        )
    except NONE_SUCH as error:
        raise ValueError(f"no history: {text[:80]!r}") from error


def _ratings(pairs: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    return [(int(item_id), _number(rating)) for item_id, rating in pairs]


@dataclass(frozen=True)
class About:
    """What people are told of a generation as a whole.

    Attributes:
        n_users: how many have a list.
        n_items: how many there are to recommend.
        genres: of the items.
        examples: some users who have a list.
        protocol: how the model was measured; None if that is not known.
        metrics: ranker, such as `model`, → metric → value on the hold-out.
    """

    n_users: int
    n_items: int
    genres: Sequence[str]
    examples: Sequence[int]
    protocol: str | None
    metrics: Mapping[str, Mapping[str, float]]


def encode_about(about: About) -> str:
    """Turn it into JSON."""
    return json.dumps(asdict(about), ensure_ascii=False)


def decode_about(text: str) -> About:
    """Turn the JSON back; raise ValueError if it is none."""
    try:
        fields = _read(text)
        found = About(
            n_users=int(fields["n_users"]),
            n_items=int(fields["n_items"]),
            genres=[str(genre) for genre in fields["genres"]],
            examples=[int(user_id) for user_id in fields["examples"]],
            protocol=_text(fields["protocol"]),
            metrics={
                ranker: {name: _number(value) for name, value in metrics.items()}
                for ranker, metrics in fields["metrics"].items()
            },
        )
        encode_about(found).encode()
    except NONE_SUCH as error:
        raise ValueError(f"tells nothing about it: {text[:80]!r}") from error
    return found


NONE_SUCH = (AttributeError, KeyError, OverflowError, TypeError, UnicodeError)
"""What comes of JSON that holds something else, such as half of a character."""


def _read(text: str) -> dict[str, Any]:
    """Read JSON; raise ValueError also where it is too deep."""
    try:
        fields: dict[str, Any] = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"too deep: {text[:80]!r}") from error
    return fields


def _text(value: object) -> str | None:
    """Give a text, or None; raise ValueError if it is neither."""
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is no text")


def _number(value: str | float) -> float:
    """Read a number that JSON can hold; raise ValueError if it is none."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no finite number")
    return number
