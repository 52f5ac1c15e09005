"""Rankings as the commands of Redis' protocol, hundreds of lists at once.

To format one score costs Python as long as it costs Redis to store it. So numpy looks
the parts of all entries up in tables, in units of four and eight bytes, which NULs fill
up; those are deleted at the end. The texts are those of `lookup.contract.encode`, to
the byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from batch.scoring.ranking import Ranking
from lookup.shared import contract

MAX_ID = 2**20
MAX_SCORE = 99.0
"""What the tables have room for; beyond, each entry is formatted by itself."""

Bytes = bytes | bytearray
Integers = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scale:
    """The bytes of scores with one number of decimals.

    Attributes:
        heads: by the length of an entry's text, what announces it.
        wholes: a score's digits before the point, and the point; 100 further on with a
            minus.
        fractions: its digits after the point.
    """

    heads: npt.NDArray[np.uint64]
    wholes: npt.NDArray[np.uint32]
    fractions: npt.NDArray[np.uint32]


def command(*parts: bytes) -> bytes:
    """Write one command in Redis' protocol."""
    told = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%b" % (len(parts), told)


def parts(command: bytes) -> list[str]:
    """Read the parts of a command back; none of them may hold a line's end."""
    return command.decode().split("\r\n")[2::2]


def pushes(keys: Sequence[str], rankings: Sequence[Ranking]) -> list[bytes]:
    """Write an RPUSH for each ranking, onto the key of the same position."""
    if not rankings:
        return []
    return [
        _push(key.encode(), max(1, len(ranking.item_ids)), entries)
        for key, ranking, entries in zip(keys, rankings, _lists(rankings), strict=True)
    ]


def _push(key: bytes, n_entries: int, entries: Bytes) -> bytes:
    start = b"*%d\r\n$5\r\nRPUSH\r\n$%d\r\n%b" % (n_entries + 2, len(key), key)
    return b"".join((start, entries, b"\r\n"))


def _lists(rankings: Sequence[Ranking]) -> list[Bytes]:
    """Write the entries of each ranking."""
    item_ids, scores = _joined(rankings)
    if not _has_room(item_ids, scores):
        return [_one_by_one(ranking) for ranking in rankings]
    texts, lengths = _tabled(item_ids, scores, contract.DECIMALS)
    ends = np.cumsum([len(ranking.item_ids) for ranking in rankings])
    lists = _cut(texts, lengths, ends)
    if item_ids.max(initial=0) >= contract.SHORT_IDS:
        _shorten(lists, rankings, np.diff(_sums(lengths, ends), prepend=0))
    return lists


def _shorten(
    lists: list[Bytes], rankings: Sequence[Ranking], n_characters: Integers
) -> None:
    """Write those lists anew that are too long with all the decimals."""
    fitting = [
        contract.decimals(len(ranking.item_ids), n, ranking.item_ids.max(initial=0))
        for ranking, n in zip(rankings, n_characters.tolist(), strict=True)
    ]
    for n_decimals in set(fitting) - {contract.DECIMALS}:
        places = [i for i, n in enumerate(fitting) if n == n_decimals]
        some = [rankings[i] for i in places]
        ends = np.cumsum([len(ranking.item_ids) for ranking in some])
        shorter = _cut(*_tabled(*_joined(some), n_decimals), ends)
        for i, entries in zip(places, shorter, strict=True):
            lists[i] = entries


def _cut(texts: Bytes, lengths: Integers, ends: Integers) -> list[Bytes]:
    """Cut entries whose texts are of these lengths into lists, after each end."""
    # a text of ten characters or more is announced by two digits
    n_bytes = lengths + 6 + (lengths > 9)
    cuts = [0, *_sums(n_bytes, ends).tolist()]
    nothing = _argument(contract.NO_ITEMS)
    return [texts[start:end] or nothing for start, end in pairwise(cuts)]


def _sums(values: Integers, ends: Integers) -> Integers:
    """Sum the values before each end."""
    return np.concatenate([[0], np.cumsum(values)])[ends]


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
    """Write an argument of a command, after the one before it."""
    return b"\r\n$%d\r\n%b" % (len(text), text.encode())


def _tabled(item_ids: Ids, scores: Scores, n_decimals: int) -> tuple[Bytes, Integers]:
    """Write entries; return them and the lengths of their texts, of shape (n,)."""
    names, n_digits = _items(int(item_ids.max(initial=1)).bit_length())
    scale, unit = _scale(n_decimals), 10**n_decimals
    # exact, as 24 bits times 14 fit into 53: it rounds as Python's format does
    rounded = np.rint(scores * np.float64(unit)).astype(np.int64)
    is_negative = rounded < 0
    np.abs(rounded, out=rounded)
    whole = rounded // unit
    rounded -= whole * unit
    lengths = n_digits[item_ids]
    lengths += is_negative
    lengths += whole > 9
    lengths += n_decimals + 3  # the colon, one digit and the point
    whole += 100 * is_negative
    buffer = bytearray(24 * len(item_ids))
    units = np.frombuffer(buffer, dtype=np.uint64).reshape(-1, 3)
    halves = units.view(np.uint32)
    units[:, 0] = scale.heads[lengths]
    units[:, 1] = names[item_ids]
    halves[:, 4] = scale.wholes[whole]
    halves[:, 5] = scale.fractions[rounded]
    return buffer.translate(None, b"\0"), lengths


@cache
def _items(n_bits: int) -> tuple[npt.NDArray[np.uint64], Integers]:
    """Write item_ids and colons; return them and the number of digits, by item_id."""
    names = [f"{item_id}:".encode() for item_id in range(1 << n_bits)]
    n_digits = np.array([len(name) - 1 for name in names], dtype=np.int64)
    return np.array(names, dtype="S8").view(np.uint64), n_digits


@cache
def _scale(n_decimals: int) -> Scale:
    heads = [f"\r\n${length}\r\n" for length in range(100)]
    wholes = [f"{sign}{whole}." for sign in ("", "-") for whole in range(100)]
    fractions = [f"{i:0{n_decimals}}" for i in range(10**n_decimals)]
    return Scale(
        heads=np.array(heads, dtype="S8").view(np.uint64),
        wholes=np.array(wholes, dtype="S4").view(np.uint32),
        fractions=np.array(fractions, dtype="S4").view(np.uint32),
    )
