"""The key that a request has to show where one is set."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lookup.http import errors, page

HEADER = "X-API-Key"
OPEN = frozenset({"/health", "/ready"}) | page.PATHS
"""What probes ask, which have no key, and the page, which asks a person for it."""


class KeyMiddleware:
    """Lets only those requests through that carry the key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self.key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401."""
        if scope["type"] != "http" or scope["path"] in OPEN or self._fits(scope):
            await self.app(scope, receive, send)
            return
        message = f"the header {HEADER} is missing or is not the key"
        headers = {"WWW-Authenticate": HEADER}
        answer = errors.response(401, "unauthorized", message, headers)
        await answer(scope, receive, send)

    def _fits(self, scope: Scope) -> bool:
        """Compare in a time that says nothing about the key."""
        given = Headers(scope=scope).get(HEADER, "").encode("latin-1")
        return hmac.compare_digest(given, self.key)
