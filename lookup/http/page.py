"""The page for people: files that never change while a worker lives."""

import gzip
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from lookup.http.responses import GZIP_LEVEL, is_among, takes_gzip

FOLDER = Path(__file__).parents[1] / "static"
INDEX = "index.html"
TYPES: Mapping[str, str] = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, and nothing inline: a title cannot become a script."""


class File:
    """One of the files, with what HTTP wants to know about it."""

    def __init__(self, path: Path) -> None:
        self._body = path.read_bytes()
        self._packed = gzip.compress(self._body, GZIP_LEVEL, mtime=0)
        digest = blake2b(self._body, digest_size=12).hexdigest()
        self._headers = {
            # of both forms, hence weak
            "etag": f'W/"{digest}"',
            "cache-control": "no-cache",
            "vary": "Accept-Encoding",
            "content-type": f"{TYPES[path.suffix]}; charset=utf-8",
        }
        if path.name == INDEX:
            self._headers["content-security-policy"] = POLICY
            self._headers["referrer-policy"] = "no-referrer"

    def answer(self, request: Request) -> Response:
        """Give the file, or say that the client has it."""
        known, etag = request.headers.get("if-none-match"), self._headers["etag"]
        if known is not None and is_among(known.encode("latin-1"), etag.encode()):
            return Response(status_code=304, headers=self._headers)
        if takes_gzip(request.scope):
            headers = {**self._headers, "content-encoding": "gzip"}
            return Response(self._packed, headers=headers)
        return Response(self._body, headers=self._headers)


FILES: Mapping[str, File] = {path.name: File(path) for path in FOLDER.iterdir()}
PATHS = frozenset({"/", *(f"/static/{name}" for name in FILES)})
"""Whoever may ask for the page may ask for its files: they are no secret."""


async def index(request: Request) -> Response:
    """Give the page."""
    return FILES[INDEX].answer(request)


async def file(request: Request) -> Response:
    """Give one of the files that the page consists of."""
    found = FILES.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return found.answer(request)
