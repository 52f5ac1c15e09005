"""What is noted of each request, and what each answer carries."""

import logging
import re
import secrets
import time
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lookup.http import errors
from lookup.http.responses import Answer
from lookup.telemetry.metrics import OTHER, Metrics

log = logging.getLogger("lookup.requests")

Header = tuple[bytes, bytes]

REQUEST_ID = b"x-request-id"
SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
"""What may stand in a header and in a log, and is no burden to either."""

USUAL: tuple[Header, ...] = (
    (b"cache-control", b"no-store"),
    # a page that embeds or runs what we answer is none of ours
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
)
"""The headers of an answer that says nothing else. Few: each takes time to check."""

PREFIX = secrets.token_hex(6).encode()
NUMBER = count()


class ObserveMiddleware:
    """Gives each request an id, counts it, logs it, and answers what nobody foresaw."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with a few headers more."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin = time.perf_counter()
        request_id = _request_id(scope)
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = completed(message["headers"], request_id)
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        except Exception:
            log.exception("a bug of ours", extra={"request_id": request_id.decode()})
            if not status:
                await errors.of_bug()(scope, receive, send_on)
        finally:
            self._note(scope, status, time.perf_counter() - begin, request_id)

    def _note(
        self, scope: Scope, status: int, seconds: float, request_id: bytes
    ) -> None:
        answer: Answer | None = scope.get("lookup.http.responses")
        route = answer.route if answer else getattr(scope.get("route"), "path", OTHER)
        is_fallback = answer is not None and answer.is_fallback
        self.metrics.request(route, status, seconds, is_fallback=is_fallback)
        level = logging.WARNING if status >= 500 else logging.INFO
        if log.isEnabledFor(level):
            # no query and no headers: they are where keys are put
            noted = {
                "request_id": request_id.decode(),
                "method": scope["method"],
                "path": scope["path"],
                "route": route,
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
                "client": (scope.get("client") or (None,))[0],
            }
            log.log(level, "request", extra=noted)


def _request_id(scope: Scope) -> bytes:
    """Take the id that the client gave if it is sane, else make one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and SANE_ID.fullmatch(value):
            given: bytes = value
            return given
    return new_id()


def new_id() -> bytes:
    """Make an id that no other request has."""
    return b"%s-%x" % (PREFIX, next(NUMBER))


def completed(headers: list[Header], request_id: bytes) -> list[Header]:
    """Add the id, and each usual header that is not there."""
    names = {name for name, _ in headers}
    usual = [header for header in USUAL if header[0] not in names]
    return [*headers, *usual, (REQUEST_ID, request_id)]
