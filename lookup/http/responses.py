"""A response from one generation, with ETag, caching headers and gzip."""

import gzip
from functools import lru_cache
from hashlib import blake2b

from starlette.types import Message, Receive, Scope, Send

from lookup.store.generation import Generation

GZIP_MIN_BYTES = 4096
"""A shorter body fits a few packets: compressing costs more than it saves."""
GZIP_LEVEL = 5

REVALIDATE = b"no-cache"
"""Caches may store it but must ask: the next generation may come at any time."""
PRIVATE = b"private, no-cache"


class GenerationResponse:
    """A JSON body that never changes within its generation, so it can be cached."""

    __slots__ = ("_etag", "_headers", "body", "generation", "is_fallback", "route")

    def __init__(
        self,
        generation: Generation,
        body: bytes,
        *,
        route: str,
        is_private: bool,
        is_fallback: bool = False,
        gzipped: bool = False,
    ) -> None:
        self.generation = generation
        self.route = route
        self.is_fallback = is_fallback
        gzipped = gzipped and len(body) >= GZIP_MIN_BYTES
        # without a timestamp, so that all workers give the same body the same ETag
        self.body = gzip.compress(body, GZIP_LEVEL, mtime=0) if gzipped else body
        self._etag = b'"%s"' % blake2b(self.body, digest_size=12).hexdigest().encode()
        self._headers = [
            (b"etag", self._etag),
            (b"cache-control", PRIVATE if is_private else REVALIDATE),
        ]
        if len(body) >= GZIP_MIN_BYTES:
            self._headers.append((b"vary", b"Accept-Encoding"))
        if gzipped:
            self._headers.append((b"content-encoding", b"gzip"))

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Send the body, or 304 if the client has it."""
        scope["lookup.response"] = self  # for the metrics and the log
        if_none_match = dict(scope["headers"]).get(b"if-none-match")
        if if_none_match is not None and _matches(if_none_match, self._etag):
            await send(_start(304, self._headers))
            await send({"type": "http.response.body"})
            return
        length = b"%d" % len(self.body)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", length),
            *self._headers,
        ]
        await send(_start(200, headers))
        body = b"" if scope["method"] == "HEAD" else self.body
        await send({"type": "http.response.body", "body": body})


def accepts_gzip(scope: Scope) -> bool:
    """Return whether the client accepts gzip."""
    accepted = dict(scope["headers"]).get(b"accept-encoding")
    return accepted is not None and _includes_gzip(accepted)


@lru_cache(maxsize=64)
def _includes_gzip(accepted: bytes) -> bool:
    for part in accepted.lower().replace(b" ", b"").split(b","):
        name, _, quality = part.partition(b";q=")
        if name == b"gzip":
            return quality.strip(b"0.") != b"" or not quality
    return False


def _matches(if_none_match: bytes, etag: bytes) -> bool:
    """Return whether If-None-Match, a list of weak or strong tags or `*`, matches."""
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag in tags or tags == [b"*"]


def _start(status: int, headers: list[tuple[bytes, bytes]]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}
