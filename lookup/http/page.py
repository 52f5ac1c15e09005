"""The web page, `lookup/static`, served by Starlette's StaticFiles."""

from os import PathLike, stat_result
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parents[1] / "static"
INDEX = "index.html"
PATHS = frozenset({"/", *(f"/static/{path.name}" for path in FOLDER.iterdir())})
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

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    async def index(self, request: Request) -> Response:
        """Return the page itself."""
        return await self.get_response(INDEX, request.scope)

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
