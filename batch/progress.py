"""Show the progress of a long step: a bar on a terminal, log lines elsewhere."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Block = TypeVar("Block", bound=Sized)

WIDTH = 30
LOG_SECONDS = 10

log = logging.getLogger(__name__)


class Progress:
    """Shows one step's progress on stderr.

    Args:
        step: what is being done, such as "scoring".
        unit: what is counted, such as "users".
    """

    def __init__(self, step: str, unit: str) -> None:
        self._step = step
        self._unit = unit
        self._bar = sys.stderr.isatty() and log.isEnabledFor(logging.INFO)
        self._shown_at = time.monotonic()

    def show(self, done: int, total: int | None) -> None:
        """Show that `done` of `total` units are done; `total` is None if unknown."""
        finished = done == total
        due = time.monotonic() - self._shown_at > (0.1 if self._bar else LOG_SECONDS)
        if not (due or finished):
            return
        self._shown_at = time.monotonic()
        count = f"{done:,} of {total:,}" if total else f"{done:,}"
        if not self._bar:
            log.info("%s: %s %s", self._step, count, self._unit)
            return
        filled = WIDTH * done // total if total else 0
        bar = "█" * filled + "░" * (WIDTH - filled)
        end = "\n" if finished else ""
        print(
            f"\r{self._step} {bar} {count} {self._unit}",
            end=end,
            file=sys.stderr,
            flush=True,
        )

    def counted(self, blocks: Iterable[Block], total: int) -> Iterator[Block]:
        """Yield blocks unchanged and show how many of `total` values have passed."""
        done = 0
        try:
            for block in blocks:
                yield block
                done += len(block)
                self.show(done, total)
        finally:
            if self._bar and done < total:
                print(file=sys.stderr)  # end the bar's line: an error may follow
