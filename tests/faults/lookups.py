"""Lookups for tests of faults."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from lookup.app import create_app
from lookup.server.connection import Connection
from lookup.settings import Settings
from lookup.store.store import Store
from tests.conftest import free_port, wait_until
from tests.lookup.programs import command, environment, wait_for


@dataclass(frozen=True)
class Lookup:
    """A running lookup."""

    port: int
    pid: int
    log: Path

    def logged(self) -> str:
        return self.log.read_text(errors="replace")


@contextmanager
def lookup(folder: Path, *flags: object, **settings: str) -> Iterator[Lookup]:
    """Run `python -m lookup` for a block, in which it must not end."""
    port, log = free_port(), folder / f"lookup-{free_port()}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command("--port", port, *flags),
            cwd=folder,
            env=environment(**settings),
            stdout=file,
            stderr=file,
        )
    try:
        wait_for(port)
        yield Lookup(port, process.pid, log)
        assert process.poll() is None, log.read_text()
    finally:
        process.kill()
        process.wait()


@contextmanager
def lookup_in_here(url: str) -> Iterator[int]:
    """Serve from a thread, so that a test can change limits; give the port."""
    app = create_app(Store(url), Settings())
    port = free_port()
    config = uvicorn.Config(
        app, port=port, http=Connection, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield port
    finally:
        server.should_exit = True
        thread.join()
