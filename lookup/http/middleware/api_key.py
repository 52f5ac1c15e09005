"""Checks the API key, where one is set."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lookup.http import errors, page

HEADER = "X-API-Key"
OPEN = frozenset({"/health", "/ready"}) | page.PATHS
"""Paths that need no key: probes have none, and the page asks a person for it."""


class ApiKeyMiddleware:
    """Passes on only the requests that carry the key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self.key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or respond with 401."""
        app = self.app
        if scope["type"] == "http" and scope["path"] not in OPEN:
            # in constant time, which reveals nothing about the key
            given = Headers(scope=scope).get(HEADER, "").encode("latin-1")
            if not hmac.compare_digest(given, self.key):
                message = f"the header {HEADER} is missing or is not the key"
                headers = {"WWW-Authenticate": HEADER}
                app = errors.response(401, "unauthorized", message, headers)
        await app(scope, receive, send)
