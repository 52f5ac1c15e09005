"""How fast a server has to send: one that drips would hold the lock of all runs."""

import time

from batch.errors import BatchError

SLOWEST = 1000
"""Bytes a second; who sends less would keep the lock of all runs for a day."""

SLOW_SECONDS = 60.0
"""How long one may be slower than that."""

LONGEST_SECONDS = 12 * 60 * 60.0
"""In which the largest release comes at 6000 bytes a second."""


class TransientError(Exception):
    """A fault of the network or the server that another try may not meet."""


class Pace:
    """Sees that a server is not waited for without an end."""

    def __init__(self) -> None:
        self._began_at = self._since = time.monotonic()
        self._n_bytes = 0

    def count(self, n_bytes: int) -> None:
        """Count what came.

        Raises:
            BatchError: all of it takes too long.
            TransientError: the last of it took too long for so few bytes.
        """
        self._n_bytes += n_bytes
        now = time.monotonic()
        if now - self._began_at > LONGEST_SECONDS:
            raise BatchError(f"it is not there after {LONGEST_SECONDS:,.0f} s")
        seconds = now - self._since
        if seconds > SLOW_SECONDS:
            if self._n_bytes < SLOWEST * seconds:
                raise TransientError(f"{self._n_bytes:,} bytes came in {seconds:.0f} s")
            # anew: what came fast at first is no excuse for drops ever after
            self._n_bytes, self._since = 0, now
