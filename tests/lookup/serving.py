"""The API on a real Redis, without a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.requests import Request
from starlette.routing import Route

from lookup.app import create_app
from lookup.settings import Settings
from lookup.store.store import Store

CACHE_BYTES = 1_000_000


@asynccontextmanager
async def serving(
    url: str, settings: Settings | None = None, *, cache_bytes: int = CACHE_BYTES
) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the API on a Redis."""
    store = Store(url, cache_bytes=cache_bytes)
    app = create_app(store, settings or Settings())

    async def fail(_: Request) -> None:
        raise RuntimeError("a bug with a secret")

    app.router.routes.append(Route("/fail", fail))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client
    await store.close()


async def ids(api: httpx.AsyncClient, path: str) -> list[int]:
    """Ask for a list and give its item_ids."""
    answer = await api.get(path)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


async def error(api: httpx.AsyncClient, path: str, status: int, code: str) -> str:
    """Make a bad request, check the form of the error, and give its message."""
    answer = await api.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["code"] == code
    message: str = body["error"]["message"]
    return message
