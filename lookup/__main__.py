"""Serve the API: `python -m lookup`."""

import argparse
import contextlib
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from pathlib import Path

import uvicorn
from uvicorn.supervisors import Multiprocess

from lookup.server.connection import Connection
from lookup.shared import embedded_redis
from lookup.shared.env import (
    SettingError,
    Settings,
    positive_integer,
    without_password,
)
from lookup.telemetry import counters

REDIS_FOLDER = Path("data/redis")
GRACE_SECONDS = 5
BACKLOG = 2048


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit code."""
    flags = _parser().parse_args(arguments)
    # A stop is a stop, whoever asks for it: by default, and by uvicorn's wish too once
    # it is done, SIGTERM would end us on the spot and with another exit code.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _allow_connections()
    try:
        settings = Settings.from_environ(os.environ)
        with _listener(flags.host, flags.port) as listener, _redis(settings):
            return _serve(listener, flags.host, flags.workers)
    except (SettingError, embedded_redis.EmbeddedRedisError, OSError) as error:
        print(f"lookup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _allow_connections() -> None:
    """Take as many as the system may give, for us and our workers.

    Each is an open file, and what is allowed before one asks is often 1,024.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS has a most that it refuses
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lookup", description="Serve recommendations over HTTP."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (%(default)s)")
    parser.add_argument(
        "--port", default=8000, type=_port, help="port, 0 for any (%(default)s)"
    )
    parser.add_argument(
        "--workers", default=1, type=_workers, help="processes (%(default)s)"
    )
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0 to 65535")
    return int(text)


def _workers(text: str) -> int:
    try:
        return positive_integer("--workers", text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _listener(host: str, port: int) -> socket.socket:
    """Take the port before anything else is started.

    Raises OSError, with what to do, if somebody else has it.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            "choose another with --port"
        ) from error


@contextlib.contextmanager
def _redis(settings: Settings) -> Iterator[None]:
    """See to it that REDIS_URL names a server, for us and for our workers."""
    if settings.redis_url is not None:
        _tell(f"redis: {without_password(settings.redis_url)}")
        yield
        return
    with embedded_redis.redis(REDIS_FOLDER) as url:
        os.environ["REDIS_URL"] = url
        _tell(f"redis: {url} (embedded; look inside: redis-cli -u {url})")
        yield


def _tell(line: str) -> None:
    """Print a line; that a disk is full is no reason not to serve.

    Unbuffered: Python would try again at exit, and change the exit code.
    """
    if sys.stdout is not None:  # else the descriptor may be anything's
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), f"{line}\n".encode())


def _serve(listener: socket.socket, host: str, workers: int) -> int:
    """Answer requests until told to stop; return the exit code."""
    name = f"[{host}]" if ":" in host else host
    port = listener.getsockname()[1]
    _tell(f"serving http://{name}:{port}")
    config = uvicorn.Config(
        "lookup.app:from_environment",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http=Connection,
        ws="none",
        access_log=False,
        log_config=None,  # ours is
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # nothing here depends on where a request came from
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    if workers == 1:
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
        return int(not server.started)
    with tempfile.TemporaryDirectory(prefix="lookup-") as folder:
        os.environ[counters.FOLDER] = folder
        parent = _Workers(config, [listener])
        parent.run()
    return int(any(p.exitcode not in {0, -signal.SIGTERM} for p in parent.processes))


class _Workers(Multiprocess):
    """Workers that leave Ctrl-C to their parent, which the terminal tells as well.

    They would answer one that comes while they still import with a traceback.
    """

    def init_processes(self) -> None:
        """Start the workers, who inherit what is blocked here."""
        resource_tracker.ensure_running()  # it would unblock it when it starts
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().init_processes()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


if __name__ == "__main__":
    sys.exit(main())
