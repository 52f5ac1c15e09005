"""Compile the scorer in a thread, while DuckDB works.

Compiling takes some twenty seconds once a machine, mostly without Python's global lock.
Scoring waits for it; a command that ends earlier does not.
"""

import logging
import sys
from contextlib import suppress
from threading import Thread

from batch.scoring import tested_sql

COMPILED = "compiled"
POLL_SECONDS = 0.1

log = logging.getLogger(__name__)
threads: list[Thread] = []


def start(scorer: str) -> None:
    """Begin to compile a scorer, or to load its cached machine code."""
    if scorer == COMPILED and not threads and not tested_sql.untested():
        threads.append(Thread(target=work, daemon=True))
        threads[0].start()


def work() -> None:
    """Compile; if that fails, scoring fails the same way and says why."""
    with suppress(Exception):
        from batch.scoring import compiled

        compiled.warm_up()


def wait() -> None:
    """Wait until it has compiled, and log if that takes long."""
    while is_running() and not is_compiling():
        threads[0].join(POLL_SECONDS)
    if is_running():
        log.info(
            "compiling the scorer for this processor, which takes some 20 s once; "
            "NUMBA_CACHE_DIR says where the code is kept"
        )
        threads[0].join()


def is_running() -> bool:
    """Return whether the thread still works."""
    return any(thread.is_alive() for thread in threads)


def is_compiling() -> bool:
    """Return whether numba had no cached code; it counts that before it compiles."""
    kernels = sys.modules.get("batch.scoring.kernels")
    rank = getattr(kernels, "rank", None)  # None while the module is being imported
    return rank is not None and bool(rank.stats.cache_misses)
