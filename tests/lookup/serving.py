"""A client of the API on a real Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.requests import Request
from starlette.routing import Route

from lookup.app import create_app
from lookup.settings import Settings
from lookup.store.store import Store


@asynccontextmanager
async def serving(
    url: str, settings: Settings | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the app on a Redis."""
    store = Store(url)
    app = create_app(store, settings or Settings())

    async def fail(_: Request) -> None:
        raise RuntimeError("a bug with a secret")

    app.router.routes.append(Route("/fail", fail))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client
    await store.close()


async def ids(api: httpx.AsyncClient, path: str) -> list[int]:
    """Request a list and return its item_ids."""
    response = await api.get(path)
    assert response.status_code == 200, response.text
    return [item["item_id"] for item in response.json()["items"]]


async def error(api: httpx.AsyncClient, path: str, status: int, code: str) -> str:
    """Check the form of an error response and return its message."""
    response = await api.get(path)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    message: str = response.json()["error"]["message"]
    assert response.json() == {"error": {"code": code, "message": message}}
    return message
