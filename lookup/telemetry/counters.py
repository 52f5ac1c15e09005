"""Counters that the workers of one lookup share.

Each worker counts in its own file, mapped into memory, and the worker that answers
`/metrics` adds up all files. A worker that replaces a dead one takes over its file, so
that no total falls. prometheus-client's multiprocess mode keeps the files of all dead
workers, and needs 5.6 µs instead of 0.6 to count a request.
"""

import fcntl
import mmap
import os
from collections.abc import MutableSequence
from itertools import count
from pathlib import Path
from typing import cast

FOLDER = "LOOKUP_COUNTERS_FOLDER"
"""The environment variable with the folder of the files."""
BYTES = 8


class Counters:
    """Numbers that start at 0; without a folder they are not shared."""

    def __init__(self, n: int, folder: str | None = None) -> None:
        self._n = n
        self._folder = None if folder is None else Path(folder)
        self.own: MutableSequence[int] = [0] * n
        if self._folder is not None:
            self.own = self._map(_claim_file(self._folder))

    def total(self) -> list[int]:
        """Return the sums over all workers."""
        if self._folder is None:
            return list(self.own)
        counted = [path.read_bytes() for path in self._folder.iterdir()]
        rows = [memoryview(row).cast("Q") for row in counted if row]
        return [sum(numbers) for numbers in zip(*rows, strict=True)]

    def _map(self, file: int) -> MutableSequence[int]:
        os.ftruncate(file, self._n * BYTES)
        memory = mmap.mmap(file, self._n * BYTES)
        return cast("MutableSequence[int]", memoryview(memory).cast("Q"))


def _claim_file(folder: Path) -> int:
    """Open and lock the first file that no living worker has locked."""
    for number in count():
        file = os.open(folder / str(number), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            return file
    raise AssertionError("numbers do not end")
