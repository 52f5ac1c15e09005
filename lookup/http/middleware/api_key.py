"""Checks the API key, where one is set."""

import hmac
from collections.abc import Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from lookup.http import errors, page

HEADERS = ("X-API-Key", "Authorization")
"""Headers that may carry the key, the second as `Bearer KEY`."""
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
        if scope["type"] == "http" and not self._may_pass(scope):
            message = (
                "the key is missing or wrong: expected X-API-Key: KEY or "
                "Authorization: Bearer KEY"
            )
            headers = {"WWW-Authenticate": "Bearer"}
            app = errors.response(401, "unauthorized", message, headers)
        await app(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if scope["path"] in OPEN:
            return True
        # in constant time, which reveals nothing about the key
        return any(hmac.compare_digest(given, self.key) for given in _given(scope))


def _given(scope: Scope) -> Iterator[bytes]:
    """Yield the keys that a request carries; a proxy may need one header for itself."""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            yield value
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            yield value[7:].strip()
