"""Parses and checks ids in paths and the query parameters of lists."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from starlette.datastructures import QueryParams

from lookup.http.errors import ApiError, invalid_parameter
from lookup.shared.contract import ExternalId, IdKind

PAGE = ("k", "offset", "genre", "exclude")
SEARCH = ("q", *PAGE)
REPEATABLE = frozenset({"genre", "exclude", "item_id", "user_id"})
MAX_IDS = 100
"""How many items of a session, or users, a request may name."""
MAX_CACHED_LENGTH = 100

EXPECTED = {
    IdKind.POSITIVE: "a positive integer",
    IdKind.INTEGER: "an integer of at least 0",
    IdKind.TEXT: "1 to 128 characters without control characters",
}


@dataclass(frozen=True)
class Query:
    """The parsed query parameters: which part of a stored list to return, and how.

    `items` are those of a session, the newest last.
    """

    k: int | None
    offset: int
    genres: frozenset[str]
    exclude: frozenset[ExternalId]
    items: tuple[ExternalId, ...]
    users: tuple[ExternalId, ...]
    fallback: bool
    because: bool
    q: str = ""

    @property
    def filters(self) -> bool:
        """Whether entries must be checked before they can be counted."""
        return bool(self.genres or self.exclude)

    def size(self, top_n: int, k_default: int) -> int:
        """Return the requested number of items; raise ApiError above `top_n`."""
        if self.k is None:
            return min(k_default, top_n)
        if self.k > top_n:
            raise _bad_k(str(self.k), top_n)
        return self.k


def parse(
    query: bytes,
    known: Sequence[str],
    top_n: int | None,
    items: IdKind,
    users: IdKind = IdKind.POSITIVE,
) -> Query:
    """Parse the parameters that a route knows; raise ApiError if one is bad.

    `top_n`, if it is known yet, is for the message about a bad `k`; `items` and `users`
    say what their ids are.
    """
    # the same few queries come all the time; caching long ones would take memory
    parse = _parse if len(query) <= MAX_CACHED_LENGTH else _parse.__wrapped__
    return parse(query, tuple(known), top_n, items, users)


@lru_cache(maxsize=1024)
def _parse(
    query: bytes, known: Sequence[str], top_n: int | None, items: IdKind, users: IdKind
) -> Query:
    params = QueryParams(query)
    _check_names(params, known)
    k = params.get("k")
    if k is not None and not _is_integer(k, minimum=1):
        raise _bad_k(k, top_n)
    return Query(
        k=None if k is None else int(k),
        offset=_offset(params.get("offset", "0")),
        genres=frozenset(genre.casefold() for genre in params.getlist("genre")),
        exclude=frozenset(_ids(params, "exclude", items)),
        items=_some_ids(params, "item_id", items),
        users=_some_ids(params, "user_id", users),
        fallback=_choice(params, "fallback", ("popular", "none")) == "popular",
        because=_choice(params, "because", ("0", "1")) == "1",
        q=_searched(params) if "q" in known else "",
    )


def parse_id(name: str, text: str, kind: IdKind) -> ExternalId:
    """Parse an id; raise ApiError if it can be none."""
    item_id = kind.parse(text)
    if item_id is None:
        raise invalid_parameter(f"{name}={text!r}: expected {EXPECTED[kind]}")
    return item_id


def _check_names(params: QueryParams, known: Sequence[str]) -> None:
    names = [name for name, _ in params.multi_items()]
    for name, value in params.multi_items():
        if name not in known:
            raise invalid_parameter(
                f"{name!r} is not a parameter; known: {', '.join(known) or 'none'}"
            )
        if value == "":
            raise invalid_parameter(f"{name}={value!r}: expected a value")
        if name not in REPEATABLE and names.count(name) > 1:
            given = params.getlist(name)
            raise invalid_parameter(f"{name} is given {len(given)} times: {given}")


def _offset(text: str) -> int:
    if not _is_integer(text, minimum=0):
        raise invalid_parameter(f"offset={text!r}: expected an integer of at least 0")
    return int(text)


def _ids(params: QueryParams, name: str, kind: IdKind) -> list[ExternalId]:
    texts = params.getlist(name)
    if kind is not IdKind.TEXT:  # a text may hold a comma
        texts = [part for text in texts for part in text.split(",")]
    return [parse_id(name, text, kind) for text in texts]


def _some_ids(params: QueryParams, name: str, kind: IdKind) -> tuple[ExternalId, ...]:
    found = _ids(params, name, kind)
    if len(found) > MAX_IDS:
        raise invalid_parameter(f"{name}: expected at most {MAX_IDS}, not {len(found)}")
    return tuple(found)


def _searched(params: QueryParams) -> str:
    text = params.get("q", "")
    return str(parse_id("q", text if text.strip() else "", IdKind.TEXT))


def _choice(params: QueryParams, name: str, choices: Sequence[str]) -> str:
    """Return the value of a parameter; the first choice is the default."""
    text = params.get(name, choices[0])
    if text not in choices:
        raise invalid_parameter(f"{name}={text!r}: expected {' or '.join(choices)}")
    return text


def _bad_k(text: str, top_n: int | None) -> ApiError:
    maximum = top_n or "the length of the stored lists"
    return invalid_parameter(f"k={text!r}: expected an integer from 1 to {maximum}")


def _is_integer(text: str, minimum: int) -> bool:
    """Return whether a text is an integer that fits the 64 bits of Redis."""
    return bool(re.fullmatch("[0-9]{1,18}", text)) and int(text) >= minimum
