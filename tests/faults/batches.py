"""Batches as processes forked from one that has imported everything.

Imports take a batch seconds, and the tests start hundreds. The process that they are
forked from starts no threads and runs no batch itself.
"""

import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from batch import cli

PRELOADED = ("tests.faults.preloaded",)
PATIENCE_SECONDS = 300.0
NUMBERS = count(1)

forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload(list(PRELOADED))


@dataclass(frozen=True)
class Place:
    """A place in the code where a batch dies.

    Attributes:
        name: `module:function`, or `module:class.method`.
        when: `before` it is called or `after`.
        n: at which call.
    """

    name: str
    when: str = "before"
    n: int = 1

    def __str__(self) -> str:
        return f"{self.when} {self.name}" + (f" ({self.n})" if self.n > 1 else "")

    def lay(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Make this process send itself the signal there."""
        module, _, path = self.name.partition(":")
        owner: Any = importlib.import_module(module)
        *classes, name = path.split(".")
        for part in classes:
            owner = getattr(owner, part)
        setattr(owner, name, self._deadly(getattr(owner, name), how))

    def _deadly(
        self, function: Callable[..., Any], how: signal.Signals
    ) -> Callable[..., Any]:
        n_calls = 0

        def deadly(*arguments: Any, **named: Any) -> Any:
            nonlocal n_calls
            n_calls += 1
            if self.when == "before" and n_calls == self.n:
                os.kill(os.getpid(), how)
            result = function(*arguments, **named)
            if self.when == "after" and n_calls == self.n:
                os.kill(os.getpid(), how)
            return result

        return deadly


@dataclass(frozen=True)
class Clone:
    """A folder in which batches run, and their settings.

    Attributes:
        folder: the working folder.
        variables: the settings, as environment variables.
        lock_seconds: how long a lock lasts, where not as long as usual.
        answer_seconds: how long Redis may take to answer, where not as usual.
    """

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    lock_seconds: int | None = None
    answer_seconds: float | None = None

    def start(
        self,
        *words: str,
        place: Place | None = None,
        how: signal.Signals = signal.SIGKILL,
    ) -> "Batch":
        """Start a batch, which dies, or stops, at a place if one is given."""
        return Batch(self, words, place, how)

    def run(self, *words: str, code: int = 0) -> str:
        """Run a batch to its end; return what it printed."""
        batch = self.start(*words)
        assert batch.wait() == code, batch.said
        return batch.said

    def json(self, *words: str) -> dict[str, Any]:
        """Run a batch with `--json`; return the object that it prints last."""
        batch = self.start(*words, "--json")
        assert batch.wait() == 0, batch.said
        result: dict[str, Any] = json.loads(batch.out.splitlines()[-1])
        return result

    def failure(self, *words: str, code: int = 1) -> str:
        """Run a batch that must fail; return its one line of error, the last."""
        batch = self.start(*words, "--quiet")
        assert batch.wait() == code, batch.said
        assert batch.out == ""
        *before, line = batch.said.splitlines()
        assert line.startswith("error: "), batch.said
        assert not [one for one in before if one.startswith(("error:", "Traceback"))]
        return line


class Batch:
    """One process that runs a command of the batch."""

    def __init__(
        self, clone: Clone, words: Sequence[str], place: Place | None, how: int
    ) -> None:
        self.began_at = time.monotonic()
        name = f"batch-{next(NUMBERS)}"
        self._out, self._err = (
            clone.folder / f"{name}.{end}" for end in ("out", "err")
        )
        self._out.touch()
        self._err.touch()
        self._process = forked.Process(
            target=work, args=(clone, words, place, how, self._out, self._err)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def out(self) -> str:
        """What it has printed to stdout."""
        return self._out.read_text()

    @property
    def said(self) -> str:
        """What it has printed to stderr, and then that to stdout."""
        return self._err.read_text() + self.out

    @property
    def has_ended(self) -> bool:
        """Tell whether it has ended."""
        return self._process.exitcode is not None

    @property
    def is_stopped(self) -> bool:
        """Tell whether it sleeps, as by SIGSTOP."""
        status = Path(f"/proc/{self.pid}/stat").read_text()
        return status.rpartition(") ")[2].startswith("T")

    def kill(self) -> None:
        """Send SIGKILL and wait."""
        self._process.kill()
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the end; return the exit code, negative for a signal."""
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            raise AssertionError(f"it did not end in {seconds} s: {self.said}")
        return code


def work(
    clone: Clone, words: Sequence[str], place: Place | None, how: int, *streams: Path
) -> None:
    """Do in the forked process what `python -m batch` does in one of its own."""
    os.chdir(clone.folder)
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_TRUNC), number)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    for name in ("REDIS_URL", "TOP_N", "MOVIELENS_RAW", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    os.environ.update(clone.variables)
    make_small(clone)
    if place is not None:
        place.lay(signal.Signals(how))
    with suppress(SystemExit):
        code = cli.main(list(words))
        sys.stdout.flush()
        os._exit(code)


def make_small(clone: Clone) -> None:
    """Let little be enough: trees, users a block, seconds of a lock."""
    from batch.model import train
    from batch.publishing import connections, lock
    from batch.scoring import compiled

    train.train = partial(train.train, parameters={"nthread": 1}, n_rounds=10)
    # so that there are moments between blocks
    compiled.USERS_PER_BLOCK = 4
    if clone.lock_seconds is not None:
        lock.LOCK_SECONDS = clone.lock_seconds
    if clone.answer_seconds is not None:
        connections.ANSWER_SECONDS = clone.answer_seconds
