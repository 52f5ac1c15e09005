"""Errors, methods, keys and a Redis that goes away, on a real Redis."""

import httpx
import pytest
import redis

from lookup.app import from_environment
from lookup.settings import Settings
from lookup.shared.env import SettingError
from tests.conftest import free_port, publish
from tests.lookup.serving import error, serving

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "path", ["/static", "/nothing", "/sessions", "/popular/", "/popular/4"]
)
async def test_unknown_routes(api: httpx.AsyncClient, path: str) -> None:
    """404 in the form of every error, no redirects."""
    assert path in await error(api, path, 404, "not_found")


@pytest.mark.parametrize("path", ["/ready", "/recommend/42", "/popular", "/"])
async def test_methods(api: httpx.AsyncClient, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        response = await api.request(method, path)
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
        assert response.json()["error"]["code"] == "method_not_allowed"
    response = await api.options(path)
    assert (response.status_code, response.content) == (204, b"")
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert (await api.options("/nothing")).status_code == 404


@pytest.mark.parametrize("path", ["/recommend/42", "/popular", "/items/50", "/ready"])
async def test_head_is_like_get(
    api: httpx.AsyncClient, published: None, path: str
) -> None:
    got = await api.get(path)
    for _ in range(2):
        response = await api.head(path)
        assert response.status_code == 200
        assert response.headers["content-length"] == got.headers["content-length"]
        assert response.headers.get("etag") == got.headers.get("etag")


async def test_nothing_published(api: httpx.AsyncClient) -> None:
    assert (await api.get("/health")).json() == {"status": "ok"}
    assert (await api.get("/metrics")).status_code == 200
    paths = ["/ready", "/recommend/42", "/popular", "/similar/50", "/items/50"]
    for path in (*paths, "/users/42", "/about"):
        assert "recs:current" in await error(api, path, 503, "no_generation")
    message = await error(api, "/recommend/42?k=0", 422, "invalid_parameter")
    assert message.endswith("an integer from 1 to the length of the stored lists")


async def test_ready(api: httpx.AsyncClient, published: None) -> None:
    assert (await api.get("/ready")).json() == {
        "status": "ready",
        "generation": "g1",
        "model_version": "3",
        "scored_at": "2026-11-24T01:30:00Z",
        "source": "personal",
    }


async def test_redis_gone() -> None:
    """503 with Retry-After at once; test_cache has its return."""
    async with serving(f"redis://127.0.0.1:{free_port()}/0") as api:
        assert (await api.get("/health")).status_code == 200
        for path in ("/ready", "/recommend/42", "/popular"):
            await error(api, path, 503, "redis_unavailable")
            assert (await api.get(path)).headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("key", "named"),
    [("recs:g1:meta", "recs:g1:meta"), ("recs:g1:items", "recs:g1:items 50")],
)
async def test_missing_keys_are_named(
    api: httpx.AsyncClient, redis_client: "redis.Redis", key: str, named: str
) -> None:
    publish(redis_client)
    redis_client.delete(key)
    assert named in await error(api, "/recommend/42", 503, "corrupt_generation")


@pytest.mark.parametrize("path", ["/recommend/42", "/popular", "/nothing", "/about"])
async def test_key_is_required(redis_url: str, published: None, path: str) -> None:
    """For every route except probes and the page, and before the cache."""
    own, bearer = b"X-API-Key", b"Authorization"
    key = "clé".encode()
    async with serving(redis_url, Settings(api_key="clé")) as api:
        for right in (
            *({own: key}, {bearer: b"Bearer " + key}, {bearer: b"bEARER  " + key}),
            *({own: key, bearer: b"Basic eDp5"}, {own: b"x", bearer: b"Bearer " + key}),
        ):
            assert (await api.get(path, headers=right)).status_code in {200, 404}
        for wrong in (
            *({}, {own: b"wrong"}, {own: b""}, {own: b"Bearer " + key}),
            *({bearer: b""}, {bearer: b"Bearer"}, {bearer: b"Bearer "}),
            *({bearer: key}, {bearer: b"Basic " + key}, {bearer: b"Bearer" + key}),
            *({bearer: b"Bearer x"}, {bearer: b"Bearer clx\xff"}),
        ):
            response = await api.get(path, headers=wrong)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "unauthorized"
            assert response.headers["www-authenticate"] == "Bearer"
        assert (await api.get("/health")).status_code == 200
        assert (await api.get("/ready")).status_code == 200


def test_environment_must_name_a_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(SettingError, match="REDIS_URL is not set"):
        from_environment()


def test_nothing_is_connected_before_the_first_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert from_environment().routes
