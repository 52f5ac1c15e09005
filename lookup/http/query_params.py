"""The parameters of a request for a list."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from starlette.datastructures import QueryParams

from lookup.http.errors import Problem, unprocessable

PAGE = ("k", "offset", "genre", "exclude")
REMEMBERED_LENGTH = 100
POSITIVE = re.compile("0*[1-9][0-9]{0,999}")
"""Far beyond any id, and short of what int() refuses: such a user is just not known."""
REPEATABLE = frozenset({"genre", "exclude"})


@dataclass(frozen=True)
class Query:
    """Which part of a stored list is wanted."""

    k: int | None
    offset: int
    genres: frozenset[str]
    exclude: frozenset[int]
    fallback: bool
    because: bool

    @property
    def filters(self) -> bool:
        """Whether entries have to be looked at before they can be counted."""
        return bool(self.genres or self.exclude)

    def page(self, top_n: int, k_default: int) -> int:
        """Say how many items are wanted of lists of `top_n`; a Problem if too many."""
        if self.k is None:
            return min(k_default, top_n)
        if self.k > top_n:
            raise _bad_k(str(self.k), top_n)
        return self.k


def parse(query: bytes, known: Sequence[str], top_n: int | None) -> Query:
    """Read the parameters, of which a route knows some; a Problem if one is bad.

    `top_n`, where it is known already, is for the message about a bad `k`.
    """
    # the same few come all the time; long ones would take memory
    read = _parse if len(query) <= REMEMBERED_LENGTH else _parse.__wrapped__
    return read(query, tuple(known), top_n)


@lru_cache(maxsize=1024)
def _parse(query: bytes, known: Sequence[str], top_n: int | None) -> Query:
    params = QueryParams(query)
    _check_names(params, known)
    k = params.get("k")
    if k is not None and not _is_integer(k, least=1):
        raise _bad_k(k, top_n)
    return Query(
        k=None if k is None else int(k),
        offset=_offset(params.get("offset", "0")),
        genres=frozenset(genre.casefold() for genre in params.getlist("genre")),
        exclude=_exclude(params.getlist("exclude")),
        fallback=_fallback(params.get("fallback", "popular")),
        because=_because(params.get("because", "0")),
    )


def positive_integer(name: str, text: str) -> int:
    """Read an id in plain ASCII digits; a Problem if it is none."""
    if not POSITIVE.fullmatch(text):
        raise unprocessable(f"{name}={text!r}: expected a positive integer")
    return int(text.lstrip("0"))  # of which there may be more than int() takes


def _check_names(params: QueryParams, known: Sequence[str]) -> None:
    names = [name for name, _ in params.multi_items()]
    for name, value in params.multi_items():
        if name not in known:
            raise unprocessable(
                f"{name!r} is no parameter; known: {', '.join(known) or 'none'}"
            )
        if value == "":
            raise unprocessable(f"{name}={value!r}: expected a value")
        if name not in REPEATABLE and names.count(name) > 1:
            given = params.getlist(name)
            raise unprocessable(f"{name} is given {len(given)} times: {given}")


def _offset(text: str) -> int:
    if not _is_integer(text, least=0):
        raise unprocessable(f"offset={text!r}: expected an integer of at least 0")
    return int(text)


def _exclude(texts: Iterable[str]) -> frozenset[int]:
    parts = [part for text in texts for part in text.split(",")]
    return frozenset(positive_integer("exclude", part) for part in parts)


def _fallback(text: str) -> bool:
    if text not in {"popular", "none"}:
        raise unprocessable(f"fallback={text!r}: expected 'popular' or 'none'")
    return text == "popular"


def _because(text: str) -> bool:
    if text not in {"0", "1"}:
        raise unprocessable(f"because={text!r}: expected 0 or 1")
    return text == "1"


def _bad_k(text: str, top_n: int | None) -> Problem:
    most = top_n or "the length of the stored lists"
    return unprocessable(f"k={text!r}: expected an integer from 1 to {most}")


def _is_integer(text: str, least: int) -> bool:
    """Tell whether a text is an integer that Redis and we can count to."""
    return bool(re.fullmatch("[0-9]{1,18}", text)) and int(text) >= least
