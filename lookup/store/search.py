"""A search index of titles, on the full-text search (FTS5) of Python's own SQLite."""

import asyncio
import json
import re
import sqlite3
import unicodedata
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

WHOLE_TITLE, WHOLE_WORDS, PREFIXES, TYPOS = 1.0, 0.9, 0.8, 0.5
"""Scores: how well a title matches."""
MAX_WORDS = 10
"""The longest words of a query count, so that its time is bounded."""
MAX_MISTYPED = 3
"""The longest words of a query that may have a typo."""
MAX_LETTERS = 64
"""Letters that are tried at one place of a mistyped word: Chinese has thousands."""

# what NFKD leaves together, and apostrophes, which stand within words
LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
    | dict.fromkeys("'‘’ʼ`")
)
WORD = re.compile(r"[^\W_]+")
ARTICLES = frozenset(
    WORD.findall("a an the la le les l un une el los las lo il gli der das de het")
)
"""A query finds titles without them, and of whole titles they are no part."""
COMPOUND = re.compile(r"[^\W_]+(?:[^\w\s()]+[^\W_]+)+")
"""Words such as Spider-Man, E.T. and M*A*S*H, which are found as one word too."""
YEAR_AT_END = re.compile(r"\s*\(\d{4}\)\s*$")

CREATE = """
    create virtual table titles using fts5(
        words, whole, content='', columnsize=0, detail=column, prefix='1 2 3 4 5',
        tokenize='ascii'
    )
"""
FIND = "select rowid from titles where titles match ? order by rowid limit ?"


class Title(NamedTuple):
    """What the index takes of an item; titles sort by popularity."""

    negative_n_ratings: int
    title: str
    item_id: str
    year: object


class SearchIndex:
    """The titles that lists may show, the most rated first among equal matches."""

    def __init__(self, items: Mapping[str, str]) -> None:
        """Index items, given as JSON by their ids: 60,000 take a second."""
        # this thread builds it, the event loop's reads it
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.execute(CREATE)
        titles = sorted(_titles(items))
        self._ids = [title.item_id for title in titles]
        vocabulary: set[str] = set()
        rows = enumerate(_indexed(title, vocabulary) for title in titles)
        self._db.executemany(
            "insert into titles (rowid, words, whole) values (?, ?, ?)",
            ((row, *texts) for row, texts in rows),
        )
        self._db.execute("insert into titles (titles) values ('optimize')")
        self._db.commit()
        self._db.execute("vacuum")
        self._vocabulary = sorted(vocabulary)

    def find(self, text: str, n: int) -> list[tuple[str, float]]:
        """Return the ids and scores of the `n` best matches, best first."""
        plain, found = _plain(text), dict[int, float]()
        words = dict.fromkeys(_significant(WORD.findall(plain)))
        longest = sorted(words, key=len, reverse=True)[:MAX_WORDS]
        for score, query in self._queries(longest, _key(plain), found):
            for (row,) in self._db.execute(FIND, (query, n)):
                found.setdefault(row, score)
            if len(found) >= n:
                break
        return [(self._ids[row], score) for row, score in [*found.items()][:n]]

    def _queries(
        self, words: Sequence[str], key: str, found: Collection[int]
    ) -> Iterator[tuple[float, str]]:
        """Yield scores and queries of FTS5, the best first; `found` is filled by them.

        The words, the longest first, are letters and digits, which need no escapes.
        """
        if not words:
            return
        whole_words = _all(f'"{word}"' for word in words)
        if key:
            yield WHOLE_TITLE, f'whole : "{key}" AND {whole_words}'
        is_title = bool(found)
        yield WHOLE_WORDS, whole_words
        beginnings = [f'"{word}"*' for word in words]
        yield PREFIXES, _all(beginnings)
        if is_title:  # and free of typos
            return
        terms = beginnings.copy()
        for i, word in enumerate(words[:MAX_MISTYPED]):
            # short words have many neighbours, and a known one may be meant
            shortest = 4 if found else 3
            is_meant = word.isdigit() or (bool(found) and self._has(word))
            if len(word) >= shortest and not is_meant:
                more = "*" if len(word) > 4 else ""
                edits = (f'"{edit}"{more}' for edit in self._edits(word))
                terms[i] = " OR ".join([terms[i], *edits])
        if terms != beginnings:
            yield TYPOS, _all(terms)

    def _edits(self, word: str) -> list[str]:
        """Return what begins words and is one typo away: a letter more, less, other.

        Two letters in each other's place are one typo too.
        """
        found = set()
        for i in range(len(word) + 1):
            head, rest = word[:i], word[i:]
            if not self._begins(head):
                break
            found |= {head + rest[1:], head + rest[1:2] + rest[:1] + rest[2:]}
            for letter in self._letters_after(head):
                found |= {head + letter + rest, head + letter + rest[1:]}
        return [edit for edit in found - {word} if edit and self._begins(edit)]

    def _begins(self, start: str) -> bool:
        """Return whether a word begins so."""
        words, place = self._vocabulary, bisect_left(self._vocabulary, start)
        return place < len(words) and words[place].startswith(start)

    def _has(self, word: str) -> bool:
        """Return whether a title has this word."""
        place = bisect_left(self._vocabulary, word)
        return self._vocabulary[place : place + 1] == [word]

    def _letters_after(self, head: str) -> Iterator[str]:
        """Yield the first letters that words have after a beginning."""
        words, place = self._vocabulary, bisect_left(self._vocabulary, head + "\0")
        for _ in range(MAX_LETTERS):
            if place == len(words) or not words[place].startswith(head):
                return
            letter = words[place][len(head)]
            yield letter
            place = bisect_left(words, head + chr(ord(letter) + 1), place)


class LazySearchIndex:
    """The index of a generation, which a thread builds when it is first needed."""

    def __init__(self, items: Mapping[str, str]) -> None:
        self._items = items
        self._building: asyncio.Task[SearchIndex] | None = None

    async def get(self) -> SearchIndex:
        """Return the index; requests that come meanwhile wait for the same one."""
        if self._building is None:
            building = asyncio.to_thread(SearchIndex, self._items)
            self._building = asyncio.create_task(building)
        return await asyncio.shield(self._building)


def _plain(text: str) -> str:
    """Return a text without case, accents and apostrophes."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
        text = "".join(letter for letter in text if not unicodedata.combining(letter))
    return text.casefold().translate(LETTERS)


def _titles(items: Mapping[str, str]) -> Iterator[Title]:
    """Yield what lists may show; a garbled item is an error only where one does."""
    for item_id, text in items.items():
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            item = json.loads(text)
            title, n_ratings = str(item["title"]), int(item.get("n_ratings", 0))
            if "same_as" not in item and item.get("is_eligible", True):
                yield Title(-n_ratings, title, item_id, item["year"])


def _indexed(title: Title, vocabulary: set[str]) -> tuple[str, str]:
    """Return the words of a title, with its year, and its key; note the words."""
    plain = _plain(title.title)
    words = WORD.findall(plain)
    words += ["".join(WORD.findall(parts)) for parts in COMPOUND.findall(plain)]
    words += [str(title.year)] if isinstance(title.year, int) else []
    vocabulary.update(words)
    return " ".join(words), _key(plain)


def _key(plain: str) -> str:
    """Return what titles of the same words have in common, whatever their order."""
    return "".join(sorted(_significant(WORD.findall(YEAR_AT_END.sub("", plain)))))


def _significant(words: Sequence[str]) -> Sequence[str]:
    """Return words without articles, unless there are no others."""
    return [word for word in words if word not in ARTICLES] or words


def _all(terms: Iterable[str]) -> str:
    """Return the query of the titles that have each term."""
    return f"words : (({') AND ('.join(terms)}))"
