"""The time that each stage of a run takes."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Counts seconds by stage; time in nested stages counts for the innermost one."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._inner = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge the block's time to a stage, less the time of nested stages."""
        start, outer_inner, self._inner = time.perf_counter(), self._inner, 0.0
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self._seconds[name] = self._seconds.get(name, 0.0) + elapsed - self._inner
            self._inner = outer_inner + elapsed

    def charged(self, name: str, values: Iterable[T]) -> Iterator[T]:
        """Yield values unchanged; charge the time that each took to a stage."""
        iterator = iter(values)
        while True:
            with self.stage(name):
                try:
                    value = next(iterator)
                except StopIteration:
                    return
            yield value

    def seconds(self, *names: str) -> dict[str, float]:
        """Return the stages' seconds, and the `total` since the start."""
        total = time.perf_counter() - self._started
        rounded = {name: round(self._seconds.get(name, 0.0), 3) for name in names}
        return rounded | {"total": round(total, 3)}
