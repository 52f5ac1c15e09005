"""Request ids, default headers, metrics and the access log."""

import logging
import re
import secrets
import time
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lookup.http import errors
from lookup.http.responses import GenerationResponse
from lookup.telemetry.metrics import OTHER, Metrics

log = logging.getLogger("lookup.requests")

Header = tuple[bytes, bytes]

REQUEST_ID = b"x-request-id"
SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
"""A client's id that is safe in a header and in the log."""

DEFAULT_HEADERS: tuple[Header, ...] = (
    (b"cache-control", b"no-store"),
    # no other page may embed or run a response
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
)
"""Added where a response does not set them. Few: each takes time to check."""

PREFIX = secrets.token_hex(6).encode()
NUMBER = count()


class ObserveMiddleware:
    """Assigns request ids, records metrics and the access log, turns bugs into 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add headers to its response."""
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
        except Exception as error:
            extra = {"request_id": request_id.decode()}
            log.exception("unexpected exception", extra=extra)
            if not status:
                await errors.from_exception(error)(scope, receive, send_on)
        finally:
            self._record(scope, status, time.perf_counter() - begin, request_id)

    def _record(
        self, scope: Scope, status: int, seconds: float, request_id: bytes
    ) -> None:
        response: GenerationResponse | None = scope.get("lookup.response")
        route = (
            response.route if response else getattr(scope.get("route"), "path", OTHER)
        )
        is_fallback = response is not None and response.is_fallback
        self.metrics.request(route, status, seconds, is_fallback=is_fallback)
        level = logging.WARNING if status >= 500 else logging.INFO
        if log.isEnabledFor(level):
            # log neither the query nor headers: people put keys there
            fields = {
                "request_id": request_id.decode(),
                "method": scope["method"],
                "path": scope["path"],
                "route": route,
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
                "client": (scope.get("client") or (None,))[0],
            }
            log.log(level, "request", extra=fields)


def _request_id(scope: Scope) -> bytes:
    """Return the id that the client sent if it is sane, else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and SANE_ID.fullmatch(value):
            given: bytes = value
            return given
    return new_id()


def new_id() -> bytes:
    """Return an id that no other request has."""
    return b"%s-%x" % (PREFIX, next(NUMBER))


def completed(headers: list[Header], request_id: bytes) -> list[Header]:
    """Add the request id, and the default headers that are missing."""
    names = {name for name, _ in headers}
    defaults = [header for header in DEFAULT_HEADERS if header[0] not in names]
    return [*headers, *defaults, (REQUEST_ID, request_id)]
