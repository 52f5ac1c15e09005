"""Serve the API: `python -m lookup`."""

import argparse
import contextlib
import errno
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TypeVar

import uvicorn
from uvicorn.supervisors import Multiprocess

from lookup.server.connection import Connection
from lookup.settings import Settings, root_path
from lookup.shared import embedded_redis
from lookup.shared.dotenv import environment
from lookup.shared.env import SettingError, positive_integer, without_password
from lookup.telemetry import counters

REDIS_FOLDER = Path("data/redis")
GRACE_SECONDS = 5
BACKLOG = 2048

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code."""
    flags = _parser().parse_args(arguments)
    # Otherwise SIGTERM would end the process before the embedded Redis has saved.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _raise_file_limit()
    try:
        if flags.root_path is not None:  # workers read it there
            os.environ["LOOKUP_ROOT_PATH"] = flags.root_path
        with environment() as environ:
            settings = Settings.from_environ(environ)
        with _listener(flags.host, flags.port) as listener, _redis(settings):
            # for the workers; only now, since the embedded Redis needs no secrets
            os.environ |= {**environ.from_file, **os.environ}
            return _serve(listener, flags.host, flags.workers)
    except (SettingError, embedded_redis.EmbeddedRedisError, OSError) as error:
        print(f"lookup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lookup", description="Serve recommendations over HTTP."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (%(default)s)")
    parser.add_argument(
        "--port", default=8000, type=_port, help="port, 0 for any (%(default)s)"
    )
    parser.add_argument(
        "--workers",
        default=1,
        type=partial(_checked, positive_integer, "--workers"),
        help="processes (%(default)s)",
    )
    parser.add_argument(
        "--root-path",
        type=partial(_checked, root_path, "--root-path"),
        help="path below which a proxy serves the API, such as /recs",
    )
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0 to 65535")
    return int(text)


def _checked(parse: Callable[[str, str], T], name: str, text: str) -> T:
    """Parse a flag like the setting, with argparse's error."""
    try:
        return parse(name, text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _raise_file_limit() -> None:
    """Raise the limit of open files, usually 1,024: each connection takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses its own hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listener(host: str, port: int) -> socket.socket:
    """Bind the port, before anything else is started; `::` takes IPv4, too."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        return socket.create_server(
            address,
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=family == socket.AF_INET6 and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        advice = "choose another with --port"
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            advice = "choose an address of this machine with --host"
            if ":" in host:
                advice += "; if IPv6 is off here, 0.0.0.0 takes all of IPv4"
        raise OSError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; {advice}"
        ) from error


@contextlib.contextmanager
def _redis(settings: Settings) -> Iterator[None]:
    """If REDIS_URL is not set, start the embedded Redis and set it for the workers."""
    if settings.redis_url is not None:
        _print(f"redis: {without_password(settings.redis_url)}")
        yield
        return
    with embedded_redis.redis(REDIS_FOLDER) as url:
        os.environ["REDIS_URL"] = url
        _print(f"redis: {url} (embedded; look inside: redis-cli -u {url})")
        yield


def _print(line: str) -> None:
    """Print a line; ignore a full disk, so that the server still starts."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _serve(listener: socket.socket, host: str, workers: int) -> int:
    """Run uvicorn until it is stopped; return the exit code."""
    name = f"[{host}]" if ":" in host else host
    port = listener.getsockname()[1]
    _print(f"serving http://{name}:{port}")
    config = uvicorn.Config(
        "lookup.app:from_environment",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http=Connection,
        ws="none",
        access_log=False,
        log_config=None,  # see telemetry/json_log.py
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # no answer depends on the client's address
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
    """Workers that ignore the Ctrl-C of a terminal; their parent stops them instead.

    A worker that is still importing would print a traceback.
    """

    def init_processes(self) -> None:
        """Start the workers, which inherit the blocked signal."""
        resource_tracker.ensure_running()  # its start would unblock the signal
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().init_processes()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


if __name__ == "__main__":
    sys.exit(main())
