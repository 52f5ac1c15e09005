"""The minimum for Starlette: one route that returns a constant.

    python -m tests.benchmarks.bare PORT N_BYTES

Served by plain uvicorn, with the event loop and the parser of the lookup.
"""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def create_app(n_bytes: int) -> Starlette:
    """Return an app whose responses have so many bytes."""
    body = b"x" * n_bytes

    async def constant(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/recommend/{user_id}", constant)])


def main() -> None:
    port, n_bytes = map(int, sys.argv[1:])
    app = create_app(n_bytes)
    uvicorn.run(
        app, port=port, access_log=False, log_level="warning", server_header=False
    )


if __name__ == "__main__":
    main()
