"""An answer out of one generation, and what HTTP wants to know about it."""

import gzip
from functools import lru_cache
from hashlib import blake2b

from starlette.types import Message, Receive, Scope, Send

from lookup.store.generation import Generation

GZIP_LEAST = 4096
"""Below, an answer fits a few packets, and packing costs more than it saves."""
GZIP_LEVEL = 5

REVALIDATE = b"no-cache"
"""Caches may keep it and have to ask: the next generation comes when it comes."""
PRIVATE = b"private, no-cache"


class Answer:
    """A body that never changes, for everybody who asks the same of its generation."""

    __slots__ = ("_etag", "_headers", "body", "generation", "is_fallback", "route")

    def __init__(
        self,
        generation: Generation,
        body: bytes,
        *,
        route: str,
        is_private: bool,
        is_fallback: bool = False,
        takes_gzip: bool = False,
    ) -> None:
        self.generation = generation
        self.route = route
        self.is_fallback = is_fallback
        is_packed = takes_gzip and len(body) >= GZIP_LEAST
        # no time inside: the same body has the same ETag in each worker
        self.body = gzip.compress(body, GZIP_LEVEL, mtime=0) if is_packed else body
        # of the bytes that are sent, so it is right whatever they were made of
        self._etag = b'"%s"' % blake2b(self.body, digest_size=12).hexdigest().encode()
        self._headers = [
            (b"etag", self._etag),
            (b"cache-control", PRIVATE if is_private else REVALIDATE),
        ]
        if len(body) >= GZIP_LEAST:
            self._headers.append((b"vary", b"Accept-Encoding"))
        if is_packed:
            self._headers.append((b"content-encoding", b"gzip"))

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Send it, or say that the client has it."""
        scope["lookup.http.responses"] = self  # for whoever counts
        known = dict(scope["headers"]).get(b"if-none-match")
        if known is not None and is_among(known, self._etag):
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


def is_among(known: bytes, etag: bytes) -> bool:
    """Compare as If-None-Match does: a list, weak or strong, or any with `*`."""
    tags = [tag.strip().removeprefix(b"W/") for tag in known.split(b",")]
    return etag.removeprefix(b"W/") in tags or tags == [b"*"]


def takes_gzip(scope: Scope) -> bool:
    """Tell whether a client wants gzip."""
    wanted = dict(scope["headers"]).get(b"accept-encoding")
    return wanted is not None and _names_gzip(wanted)


@lru_cache(maxsize=64)
def _names_gzip(wanted: bytes) -> bool:
    for part in wanted.lower().replace(b" ", b"").split(b","):
        name, _, quality = part.partition(b";q=")
        if name == b"gzip":
            return quality.strip(b"0.") != b"" or not quality
    return False


def _start(status: int, headers: list[tuple[bytes, bytes]]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}
