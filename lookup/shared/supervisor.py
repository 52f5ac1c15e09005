"""The process that runs a folder's redis-server and ends it with its last user.

`lookup.embedded` starts it as a program, `python supervisor.py FOLDER REDIS_SERVER`,
with nothing but the standard library on its path.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

HOST = "127.0.0.1"
PREFERRED_PORT = 6399
USERS_LOCK = "users.lock"
"""Held shared by every user; the supervisor gets it when there is none left."""
PORT = "port"
STATE = "server.json"
LOG = "redis.log"

START_SECONDS = 60.0
END_SECONDS = 30.0
UNSAVED_SECONDS = 3.0
"""For how long a server is asked to end that cannot save, such as on a full disk."""
ANSWER_SECONDS = 5.0
PR_SET_PDEATHSIG = 1


class StartError(Exception):
    """The redis-server did not start; says why."""


@dataclass(frozen=True)
class State:
    """Where the server of a folder is, and how to tell it from any other."""

    port: int
    pid: int
    run_id: str

    @classmethod
    def read(cls, folder: Path) -> "State | None":
        """Read what a supervisor wrote, None if there is nothing usable."""
        try:
            return cls(**json.loads((folder / STATE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write the state whole or not at all."""
        draft = folder / f"{STATE}.{os.getpid()}"
        try:
            draft.write_text(json.dumps(asdict(self)))
            draft.replace(folder / STATE)
        finally:
            draft.unlink(missing_ok=True)

    def is_true(self) -> bool:
        """Tell whether the server that was meant still answers at its port."""
        try:
            return info(self.port).get("run_id") == self.run_id
        except (OSError, ValueError):
            return False


def info(port: int) -> dict[str, str]:
    """Ask the Redis at a local port for its INFO.

    Raises OSError when nothing answers in time, ValueError when it is no Redis, or one
    that does not talk to us.
    """
    with _connection(port) as server, server.makefile("rb") as reply:
        server.sendall(b"INFO\r\n")
        header = reply.readline(1024)
        if not header.startswith(b"$"):
            raise ValueError(f"port {port} answers {header!r}")
        text = reply.read(int(header[1:])).decode(errors="replace")
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def shut_down(port: int) -> bool:
    """Tell the Redis at a local port to save and end; return whether it does."""
    with contextlib.suppress(OSError), _connection(port) as server:
        server.sendall(b"SHUTDOWN\r\n")
        return not server.recv(1024).startswith(b"-")
    return True


def end_with_parent() -> Callable[[], None] | None:
    """Make the preexec_fn of a child that is to end when this process does.

    None where the system knows no such thing; there only a clean end takes it along.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # found here: after the fork it might deadlock
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            os.kill(os.getpid(), signal.SIGTERM)

    return ask


def supervise(folder: Path, binary: str) -> None:
    """Run the server of a folder until no user is left; say on stdout where it is."""
    try:
        process, state = _start(folder, binary)
    except (OSError, StartError) as error:
        _report({"error": str(error)})
        return
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    _report({"port": state.port})
    arguments = (folder, process, state.port)
    last = threading.Thread(target=_end_after_users, args=arguments)
    last.daemon = True  # a server that ended by itself does not wait for its users
    last.start()
    process.wait()
    (folder / STATE).unlink(missing_ok=True)


def _end_after_users(folder: Path, process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until no user holds the lock, then end the server.

    The lock stays held until this process ends: a user who comes now waits for that.
    """
    users = os.open(folder / USERS_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(users, fcntl.LOCK_EX)
    give_up_at = time.monotonic() + UNSAVED_SECONDS
    while not shut_down(port):
        if time.monotonic() > give_up_at:
            process.kill()  # what it saved last is there
            return
        time.sleep(0.5)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _start(folder: Path, binary: str) -> tuple[subprocess.Popen[bytes], State]:
    """Start the server on the first port that nobody else takes meanwhile."""
    lines: list[str] = []
    for port in _ports(folder):
        log = folder / LOG
        start = log.stat().st_size if log.exists() else 0
        process = _launch(folder, binary, port)
        try:
            state = _wait(process, port)
            if state is not None:
                (folder / PORT).write_text(str(port))
                state.write(folder)
                return process, state
        except OSError:
            _kill(process)  # nobody would ever find it
            raise
        _kill(process)
        lines = log.read_bytes()[start:].decode(errors="replace").splitlines()
        if "Address already in use" not in " ".join(lines):
            break
    raise StartError(_reason(lines) or f"{binary} said nothing")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a server that nobody has used yet, whatever it says."""
    process.kill()
    process.wait()


def _launch(folder: Path, binary: str, port: int) -> subprocess.Popen[bytes]:
    """Run redis-server in the folder, which it takes for its `dir`."""
    options = ["--bind", HOST, "--protected-mode", "yes", "--port", str(port)]
    saving = ["--save", "60", "1", "--appendonly", "no"]
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(  # noqa: S603 (the binary is the one the user found)
            [binary, *options, *saving],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=end_with_parent(),
        )


def _wait(process: subprocess.Popen[bytes], port: int) -> State | None:
    """Wait until the server has loaded its data; None if it ended or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            answer = info(port)
            if answer["process_id"] == str(process.pid) and answer["loading"] == "0":
                return State(port, process.pid, answer["run_id"])
        time.sleep(0.01)
    return None


def _reason(lines: list[str]) -> str:
    """Pick what explains a failure from the lines that redis-server logged."""
    marked = [line.partition(" # ")[2] for line in lines if " # " in line]
    told = [text for text in marked if not text.upper().startswith("WARNING")]
    return "; ".join(told[-3:] or lines[-3:])


def _ports(folder: Path) -> Iterator[int]:
    """Name ports to try: the last one, the one that people can remember, then any.

    The last one first: users who still have it in their hands find the server again.
    """
    last = []
    with contextlib.suppress(OSError, ValueError):
        last = [int((folder / PORT).read_text())]
    for wanted in (*last, PREFERRED_PORT, 0, 0, 0):
        with contextlib.suppress(OSError), socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            candidate.bind((HOST, wanted))
            port: int = candidate.getsockname()[1]
            candidate.close()
            yield port


def _connection(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=ANSWER_SECONDS)


def _report(answer: dict[str, object]) -> None:
    """Answer the user who started us and close the line, which ends their wait."""
    with contextlib.suppress(BrokenPipeError):  # gone meanwhile: nobody to tell
        os.write(1, json.dumps(answer).encode())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


if __name__ == "__main__":
    # The child goes on alone: whoever started us has no process to wait for.
    if os.fork() == 0:
        supervise(Path(sys.argv[1]), sys.argv[2])
