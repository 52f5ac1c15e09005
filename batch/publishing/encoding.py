"""Encode rankings as commands of Redis' protocol, hundreds of lists at once.

Formatting a score in Python takes as long as storing it takes Redis. Therefore numpy
looks up the parts of each entry in tables: its length, the item id, the score. Parts
are padded with NULs, which are deleted at the end: ids to whole words of eight bytes,
other parts to four or eight bytes. The result equals `contract.encode`.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from batch.publishing.external_ids import ExternalIds
from batch.scoring.ranking import Ranking
from lookup.shared import contract

MAX_SCORE = 99.0
"""The tables' limit; beyond it entries are formatted one by one."""
UNIT = 10**contract.DECIMALS

Bytes = bytes | bytearray
Integers = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]


def command(*parts: str) -> bytes:
    """Encode one command."""
    arguments = b"".join(map(_argument, parts))
    return b"*%d%b\r\n" % (len(parts), arguments)


def parts(command: bytes) -> list[str]:
    """Decode the parts of a command; none of them may contain a line break."""
    return command.decode().split("\r\n")[2::2]


def pushes(
    keys: Sequence[str], rankings: Sequence[Ranking], items: ExternalIds
) -> list[bytes]:
    """Encode one RPUSH for each ranking, of at least one, to the key at its place."""
    lists = _lists(rankings, items)
    return [
        _push(key.encode(), max(1, len(ranking.item_ids)), entries)
        for key, ranking, entries in zip(keys, rankings, lists, strict=True)
    ]


def _push(key: bytes, n_entries: int, entries: Bytes) -> bytes:
    start = b"*%d\r\n$5\r\nRPUSH\r\n$%d\r\n%b" % (n_entries + 2, len(key), key)
    return b"".join((start, entries, b"\r\n"))


def _lists(rankings: Sequence[Ranking], items: ExternalIds) -> list[Bytes]:
    """Encode the entries of each ranking."""
    item_ids = np.concatenate([ranking.item_ids for ranking in rankings])
    scores = np.concatenate([ranking.scores for ranking in rankings])
    # not if one is NaN
    if not np.abs(scores).max(initial=0) < MAX_SCORE:
        return [_one_by_one(ranking, items) for ranking in rankings]
    texts, n_bytes = _entries(item_ids, scores, items)
    ends = np.cumsum([len(ranking.item_ids) for ranking in rankings])
    cuts = np.concatenate([[0], np.cumsum(n_bytes)])[[0, *ends]]
    nothing = _argument(contract.NO_ITEMS)
    return [texts[start:end] or nothing for start, end in pairwise(cuts.tolist())]


def _one_by_one(ranking: Ranking, items: ExternalIds) -> bytes:
    item_ids = [items.keys[item_id] for item_id in ranking.item_ids.tolist()]
    pairs = zip(item_ids, ranking.scores.tolist(), strict=True)
    return b"".join(map(_argument, contract.encode(pairs)))


def _argument(text: str) -> bytes:
    """Encode an argument with the line break before it."""
    value = text.encode()
    return b"\r\n$%d\r\n%b" % (len(value), value)


def _entries(
    item_ids: Ids, scores: Scores, items: ExternalIds
) -> tuple[Bytes, Integers]:
    """Encode entries; return them and the number of bytes of each."""
    rows, n_words = items.rows(item_ids), items.names.shape[1]
    heads, wholes, fractions = _tables()
    # A float32 has 24 bits and UNIT 14: the product is exact in a float64, and rounds
    # as Python's format does.
    rounded = np.rint(scores * np.float64(UNIT)).astype(np.int64)
    is_negative = rounded < 0
    np.abs(rounded, out=rounded)
    whole = rounded // UNIT
    rounded -= whole * UNIT
    lengths = items.n_bytes[rows]
    lengths += is_negative
    lengths += whole > 9
    lengths += contract.DECIMALS + 3  # the colon, one digit and the point
    whole += 100 * is_negative
    buffer = bytearray(8 * (n_words + 2) * len(item_ids))
    units = np.frombuffer(buffer, dtype=np.uint64).reshape(-1, n_words + 2)
    halves = units.view(np.uint32)
    units[:, 0] = heads[lengths]
    if n_words == 1:  # twice as fast
        units[:, 1] = items.names[rows, 0]
    else:
        units[:, 1:-1] = items.names[rows]
    halves[:, -2] = wholes[whole]
    halves[:, -1] = fractions[rounded]
    # the length of a text of ten or more bytes has two digits
    n_bytes = lengths + 6 + (lengths > 9) + (lengths > 99)
    return buffer.translate(None, b"\0"), n_bytes


@cache
def _tables() -> tuple[
    npt.NDArray[np.uint64], npt.NDArray[np.uint32], npt.NDArray[np.uint32]
]:
    """Return tables of heads, by an entry's length, and of the two parts of a score.

    The part before the point is listed for positive scores, then for negative ones.
    """
    heads = [f"\r\n${length}\r\n" for length in range(1000)]
    wholes = [f"{sign}{whole}." for sign in ("", "-") for whole in range(100)]
    fractions = [f"{i:0{contract.DECIMALS}}" for i in range(UNIT)]
    return (
        np.array(heads, dtype="S8").view(np.uint64),
        np.array(wholes, dtype="S4").view(np.uint32),
        np.array(fractions, dtype="S4").view(np.uint32),
    )
