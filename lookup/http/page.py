"""The web page, `lookup/static`, served by Starlette's StaticFiles."""

from hashlib import blake2b
from html import escape
from os import PathLike, stat_result
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from lookup.settings import PAGE_TITLE, Settings

FOLDER = Path(__file__).parents[1] / "static"
INDEX = "index.html"
FILES = frozenset(path.name for path in FOLDER.iterdir()) - {INDEX}
PATHS = frozenset({"/", *(f"/static/{name}" for name in FILES)})
"""The paths that need no API key: these files hold no secret."""

HEADERS = {
    "cache-control": "no-cache",
    # nothing from other sites and nothing inline: a title cannot become a script
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "accept-ranges": "none",
}


class Page(StaticFiles):
    """The files of the page, with headers for caches and browsers."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(directory=FOLDER)
        html = (FOLDER / INDEX).read_text(encoding="utf-8")
        if settings.root_path:
            # relative addresses lead astray at /recs, without the last slash
            html = html.replace('="./', f'="{settings.root_path}/')
        html = html.replace(f">{PAGE_TITLE}<", f">{escape(settings.page_title)}<")
        self._html = html.encode()
        self._etag = f'"{blake2b(self._html, digest_size=12).hexdigest()}"'

    async def index(self, request: Request) -> Response:
        """Return the page itself."""
        response: Response = HTMLResponse(self._html, headers={"etag": self._etag})
        if self.is_not_modified(response.headers, request.headers):
            response = NotModifiedResponse(response.headers)
        response.headers.update(HEADERS)
        return response

    def lookup_path(self, path: str) -> tuple[str, stat_result | None]:
        """Find a file; the page itself works at its own address only."""
        return super().lookup_path(path) if path in FILES else ("", None)

    def file_response(
        self,
        full_path: str | PathLike[str],
        stat_result: stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Add the headers, even to a 304: browsers update their stored copy from it."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        # Starlette would refuse a bad range in plain text, not as our JSON error
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"range"]
        return response
