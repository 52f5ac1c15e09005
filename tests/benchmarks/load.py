"""Runs servers, and puts load on them with `wrk`."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import free_port

SCRIPT = """
local paths = {}
init = function(args)
    math.randomseed(tonumber(args[1]))
    for path in io.lines(args[2]) do
        paths[#paths + 1] = wrk.format("GET", path)
    end
end
request = function() return paths[math.random(#paths)] end
done = function(summary, latency, requests)
    local errors = summary.errors
    print(string.format(
        '{"rps": %f, "p50": %f, "p99": %f, "failed": %d}',
        summary.requests / summary.duration * 1e6,
        latency:percentile(50) / 1e3,
        latency:percentile(99) / 1e3,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout
    ))
end
"""


@dataclass(frozen=True)
class Load:
    """Requests a second, milliseconds of latency, microseconds of CPU a request."""

    rps: float
    p50: float
    p99: float
    failed: int
    cpu: float


def find_wrk() -> str:
    """Return the path of `wrk`; exit with what to do if there is none."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    return found


@dataclass(frozen=True)
class Server:
    """A running server: its port, its process, the seconds until it answered."""

    port: int
    pid: int
    started: float


def load(
    server: Server,
    paths: Sequence[str],
    seconds: float,
    *,
    seed: int = 1,
    connections: int = 64,
) -> Load:
    """Request random ones of some paths on many connections at once."""
    with (
        tempfile.NamedTemporaryFile("w", suffix=".lua") as script,
        tempfile.NamedTemporaryFile("w") as lines,
    ):
        script.write(SCRIPT)
        lines.write("\n".join(paths))
        script.flush()
        lines.flush()
        options = f"-t1 -c{connections} -d{seconds:g}s --timeout 60s --latency"
        command = [find_wrk(), *options.split(), "-s", script.name]
        command += [f"http://127.0.0.1:{server.port}", "--", str(seed), lines.name]
        before = _cpu_seconds(server.pid)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        used = _cpu_seconds(server.pid) - before
    found = json.loads(done.stdout.splitlines()[-1])
    return Load(**found, cpu=used / (found["rps"] * seconds) * 1e6)


def users(n: int) -> list[str]:
    """Return the paths of the first users' lists."""
    return [f"/recommend/{user_id}" for user_id in range(1, n + 1)]


@contextmanager
def served(
    *command: str, environ: Mapping[str, str], patience: float = 30.0
) -> Iterator[Server]:
    """Run a server; `PORT` in its command is replaced."""
    port = free_port()
    begin = time.monotonic()
    words = [str(port) if word == "PORT" else word for word in command]
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        env=dict(environ),
        stdout=subprocess.DEVNULL,
    )
    try:
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > begin + patience:
                raise SystemExit(f"{' '.join(words)} does not answer")
            time.sleep(0.002)
        yield Server(port, process.pid, time.monotonic() - begin)
    finally:
        process.terminate()
        process.wait()


def megabytes(pid: int) -> float:
    """Return the memory of a process (VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _answers(port: int) -> bool:
    """Return whether a server answers over HTTP, with any status."""
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
    ):
        connection.sendall(b"GET /health HTTP/1.0\r\nHost: x\r\n\r\n")
        return connection.recv(5) == b"HTTP/"
    return False
