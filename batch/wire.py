"""Rankings as the commands of Redis' protocol, hundreds of lists at once.

To format one score costs Python as long as it costs Redis to store it. So numpy looks
the digits of all entries up in tables, four bytes at a time, and what a number does not
need of its four bytes is NUL, and deleted at the end. The texts are those of
`lookup.contract.encode`, to the byte.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from batch.ranking import Ranking
from lookup import contract

MAX_ID = 10**7
MAX_SCORE = 99.0
"""What the tables have room for; beyond, each entry is formatted by itself."""

Words = npt.NDArray[np.uint32]
Integers = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tables:
    """The bytes of parts of entries, four to a number.

    Attributes:
        head: `$12`, by the length of an entry's text.
        high: a line's end and an item_id's digits above the last four.
        low: its last four; 10,000 further on with leading zeros.
        whole: a colon, a sign and a score's digits before the point; 100 further on
            with a minus.
        decimals: number of decimals → the point and the first three of them.
        last: number of decimals → the fourth, if any, and a line's end.
        n_digits: how many digits a number below 10,000 has.
    """

    head: Words
    high: Words
    low: Words
    whole: Words
    decimals: dict[int, Words]
    last: dict[int, Words]
    n_digits: Integers


def command(*parts: bytes) -> bytes:
    """Write one command in Redis' protocol."""
    told = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%b" % (len(parts), told)


def parts(command: bytes) -> list[str]:
    """Read the parts of a command back; none of them may hold a line's end."""
    return command.decode().split("\r\n")[2::2]


def pushes(keys: Sequence[str], rankings: Sequence[Ranking]) -> list[bytes]:
    """Write an RPUSH for each ranking, onto the key of the same position."""
    return [
        _push(key.encode(), max(1, len(ranking.item_ids)), entries)
        for key, ranking, entries in zip(keys, rankings, _lists(rankings), strict=True)
    ]


def _push(key: bytes, n_entries: int, entries: bytes) -> bytes:
    start = b"*%d\r\n$5\r\nRPUSH\r\n$%d\r\n%b\r\n" % (n_entries + 2, len(key), key)
    return start + entries


def _lists(rankings: Sequence[Ranking]) -> list[bytes]:
    """Write the entries of each ranking."""
    item_ids, scores = _joined(rankings)
    if not _has_room(item_ids, scores):
        return [_one_by_one(ranking) for ranking in rankings]
    lists, n_characters = _written(rankings, contract.DECIMALS)
    if item_ids.max(initial=0) < contract.SHORT_IDS:
        return lists
    fitting = [
        contract.decimals(len(ranking.item_ids), n, ranking.item_ids.max(initial=0))
        for ranking, n in zip(rankings, n_characters, strict=True)
    ]
    for n_decimals in set(fitting) - {contract.DECIMALS}:
        places = [i for i, n in enumerate(fitting) if n == n_decimals]
        shorter, _ = _written([rankings[i] for i in places], n_decimals)
        for i, entries in zip(places, shorter, strict=True):
            lists[i] = entries
    return lists


def _joined(rankings: Sequence[Ranking]) -> tuple[Ids, Scores]:
    item_ids = np.concatenate([ranking.item_ids for ranking in rankings])
    scores = np.concatenate([ranking.scores for ranking in rankings])
    return item_ids, scores


def _has_room(item_ids: Ids, scores: Scores) -> bool:
    """Tell whether the tables do for all; what is not a number has no room."""
    low, high = item_ids.min(initial=0), item_ids.max(initial=0)
    extent = np.abs(scores).max(initial=0)
    return bool(low >= 0 and high < MAX_ID and extent < MAX_SCORE)


def _one_by_one(ranking: Ranking) -> bytes:
    pairs = zip(ranking.item_ids.tolist(), ranking.scores.tolist(), strict=True)
    return b"".join(map(_argument, contract.encode(pairs)))


def _argument(text: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text.encode())


def _written(
    rankings: Sequence[Ranking], n_decimals: int
) -> tuple[list[bytes], list[int]]:
    """Write the entries of each ranking; return them and how long their texts are."""
    texts, lengths = _tabled(*_joined(rankings), n_decimals)
    ends = np.cumsum([len(ranking.item_ids) for ranking in rankings])
    # a text of ten characters or more is announced by two digits
    n_bytes = lengths + 6 + (lengths > 9)
    cuts = [0, *_sums(n_bytes, ends).tolist()]
    nothing = _argument(contract.NO_ITEMS)
    lists = [texts[start:end] or nothing for start, end in pairwise(cuts)]
    return lists, np.diff(_sums(lengths, ends), prepend=0).tolist()


def _sums(values: Integers, ends: Integers) -> Integers:
    """Sum the values before each end."""
    return np.concatenate([[0], np.cumsum(values)])[ends]


def _tabled(item_ids: Ids, scores: Scores, n_decimals: int) -> tuple[bytes, Integers]:
    """Write entries; return them and the lengths of their texts, of shape (n,)."""
    tables, unit = _tables(), 10**n_decimals
    # exact, as 24 bits times 14 fit into 53: it rounds as Python's format does
    rounded = np.rint(scores * np.float64(unit)).astype(np.int32)
    is_negative = rounded < 0
    rounded = np.abs(rounded)
    whole = rounded // unit
    fraction = (rounded - whole * unit) * 10 ** (contract.DECIMALS - n_decimals)
    first = fraction // 10
    high = item_ids // 10_000
    low = item_ids - high * 10_000
    is_long = high > 0

    lengths = np.where(is_long, 4 + tables.n_digits[high], tables.n_digits[low])
    lengths += tables.n_digits[whole]
    lengths += is_negative
    lengths += 2 + n_decimals
    words = np.empty((len(item_ids), 6), dtype=np.uint32)
    words[:, 0] = tables.head[lengths]
    words[:, 1] = tables.high[high]
    words[:, 2] = tables.low[low + 10_000 * is_long]
    words[:, 3] = tables.whole[whole + 100 * is_negative]
    words[:, 4] = tables.decimals[n_decimals][first]
    words[:, 5] = tables.last[n_decimals][fraction - 10 * first]
    return words.tobytes().translate(None, b"\0"), lengths


@cache
def _tables() -> Tables:
    numbers = [str(i) for i in range(10_000)]
    counts = range(contract.MIN_DECIMALS, contract.DECIMALS + 1)
    wholes = [f":{sign}{i}" for sign in ("", "-") for i in range(100)]
    return Tables(
        head=_words(f"${i}\r" for i in range(100)),
        high=_words(["\n", *(f"\n{i}" for i in range(1, 1000))]),
        low=_words([*numbers, *(f"{i:04}" for i in range(10_000))]),
        whole=_words(wholes),
        decimals={n: _words(f".{i:03}"[: n + 1] for i in range(1000)) for n in counts},
        last={n: _words(f"{i}"[: n // 4] + "\r\n" for i in range(10)) for n in counts},
        n_digits=np.array([len(number) for number in numbers], dtype=np.int64),
    )


def _words(texts: Iterable[str]) -> Words:
    """Pack texts of at most four bytes, filled up with NUL."""
    return np.array([text.encode() for text in texts], dtype="S4").view(np.uint32)
