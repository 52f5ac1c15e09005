"""Post the outcome of a command to NOTIFY_URL."""

import json
import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from batch.commands import Result
from batch.settings import is_web_address
from lookup.shared.env import SettingError, secret

TIMEOUT_SECONDS = 5.0
"""The time limit in all, the look-up of the host's name included."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notifier:
    """Where outcomes are posted, and whether only failures are.

    The address may hold a token, so only its host is ever logged.
    """

    url: str = field(repr=False)
    is_always: bool

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self | None:
        """Read NOTIFY_URL and NOTIFY_ALWAYS; return None if no URL is set.

        Raises:
            SettingError: one of them cannot be used.
        """
        always = environ.get("NOTIFY_ALWAYS") or "0"
        if always not in ("0", "1"):
            raise SettingError(f"NOTIFY_ALWAYS={always!r}: expected 0 or 1")
        url = secret(environ, "NOTIFY_URL")
        if url and not is_web_address(url):
            raise SettingError(
                "NOTIFY_URL (hidden, since it may hold a token): expected an http(s) "
                "address without user and password"
            )
        return cls(url, always == "1") if url else None

    def send(self, command: str, exit_code: int, outcome: Result) -> None:
        """Post an outcome if it is wanted; log a failure instead of raising it."""
        if exit_code == 0 and not self.is_always:
            return
        host, problem = urlsplit(self.url).hostname, ["no answer in time"]

        def post() -> None:
            try:
                self._post({"command": command, "exit_code": exit_code, **outcome})
                problem.clear()
            except Exception as error:
                problem[:] = [str(error).replace(self.url, "…") or type(error).__name__]

        # a thread, since no time limit of a socket covers the look-up of a name
        sender = threading.Thread(target=post, daemon=True)
        with suppress(KeyboardInterrupt):  # the exit code stays
            sender.start()
            sender.join(TIMEOUT_SECONDS)
        if problem:
            log.warning("could not notify %s (NOTIFY_URL): %s", host, problem[0])

    def _post(self, body: Result) -> None:
        request = Request(  # noqa: S310 - http(s), checked when it was read
            self.url,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "User-Agent": "movielens-xgb"},
        )
        with build_opener(_NoRedirects).open(request, timeout=TIMEOUT_SECONDS):
            pass


class _NoRedirects(HTTPRedirectHandler):
    """Makes a redirect an error: urllib would turn the POST into a GET."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Return no request, so that urllib raises HTTPError."""
