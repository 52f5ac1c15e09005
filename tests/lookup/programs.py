"""Lookups as people start them."""

import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx

from tests.conftest import free_port, wait_until

ROOT = Path(__file__).parents[2]
TLS = ssl.create_default_context()
"""Made once: httpx would make one for each connection, which takes 20 ms."""
Start = Callable[..., "subprocess.Popen[str]"]
Served = tuple[int, "subprocess.Popen[str]"]


def command(*flags: object) -> list[str]:
    """Give the command that starts a lookup."""
    return [sys.executable, "-m", "lookup", *map(str, flags)]


def environment(**settings: str) -> dict[str, str]:
    """Give the settings of a test, and none of the machine's."""
    others = ("REDIS_URL", "K_DEFAULT")
    rest = {
        name: value
        for name, value in os.environ.items()
        if name not in others and not name.startswith("LOOKUP_")
    }
    return {**rest, "PYTHONPATH": str(ROOT), **settings}


def ask(port: int, path: str, host: str = "127.0.0.1") -> httpx.Response:
    """Ask a lookup on a new connection."""
    return httpx.get(f"http://{host}:{port}{path}", timeout=5, verify=TLS)


def wait_for(port: int, host: str = "127.0.0.1") -> None:
    """Wait until a lookup answers."""

    def answers() -> bool:
        with suppress(httpx.HTTPError):
            return ask(port, "/health", host).status_code == 200
        return False

    wait_until(answers)


def started(start: Start, *flags: object, **settings: str) -> Served:
    """Start a lookup on a free port, wait until it answers; give both."""
    port = free_port()
    program = start("--port", port, *flags, **settings)
    wait_for(port)
    return port, program
