"""Numbers that the workers of one lookup count together.

Each worker counts in a file of its own, mapped into its memory, and whoever is asked
adds all files up. A worker that takes the place of one that died takes its file too and
counts on: no number ever falls, and files do not pile up. The multiprocess mode of
prometheus-client keeps the files of all that ever died, and counts a request in 5.6 µs
instead of 0.6.
"""

import fcntl
import mmap
import os
from collections.abc import MutableSequence
from itertools import count
from pathlib import Path
from typing import cast

FOLDER = "LOOKUP_COUNTERS_FOLDER"
"""The variable in which `python -m lookup` tells its workers where they count."""
BYTES = 8


class Counters:
    """Some numbers, all 0 at first; alone without a folder."""

    def __init__(self, n: int, folder: str | None = None) -> None:
        self._n = n
        self._folder = None if folder is None else Path(folder)
        self.own: MutableSequence[int] = [0] * n
        if self._folder is not None:
            self.own = self._mapped(_taken(self._folder))

    def total(self) -> list[int]:
        """Add up what all workers have counted."""
        if self._folder is None:
            return list(self.own)
        counted = [path.read_bytes() for path in self._folder.iterdir()]
        rows = [memoryview(row).cast("Q") for row in counted if row]
        return [sum(numbers) for numbers in zip(*rows, strict=True)]

    def _mapped(self, file: int) -> MutableSequence[int]:
        os.ftruncate(file, self._n * BYTES)
        memory = mmap.mmap(file, self._n * BYTES)
        return cast("MutableSequence[int]", memoryview(memory).cast("Q"))


def _taken(folder: Path) -> int:
    """Open the first file that no living worker has, which has it until it ends."""
    for number in count():
        file = os.open(folder / str(number), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            return file
    raise AssertionError("numbers do not end")
