"""Headers for caches, compression and pages of other origins."""

import httpx
import pytest
import redis

from lookup.http.responses import GZIP_MIN_BYTES
from lookup.settings import Settings
from tests.conftest import ITEMS, publish
from tests.lookup.serving import serving

pytestmark = pytest.mark.anyio

PLAIN = {"Accept-Encoding": "identity"}
GZIP = {"Accept-Encoding": "br, gzip"}


@pytest.fixture
def long_list(redis_client: "redis.Redis") -> None:
    """Publish a list that is worth compressing."""
    pairs = [(item_id, 1.0) for item_id in range(1, 101)]
    items = {item_id: ITEMS[50] for item_id, _ in pairs}
    publish(redis_client, users={42: pairs}, popular=pairs, items=items, top_n=100)


async def test_etag_answers_if_none_match(
    api: httpx.AsyncClient, published: None
) -> None:
    etag = (await api.get("/recommend/42")).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = await api.get("/recommend/42", headers={"If-None-Match": known})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag
        assert response.headers["cache-control"] == "private, no-cache"
        assert "content-type" not in response.headers
    for known in ('"other"', etag[:-2] + '"', ""):
        response = await api.get("/recommend/42", headers={"If-None-Match": known})
        assert response.status_code == 200


async def test_etags_differ_by_request_and_generation(
    api: httpx.AsyncClient, redis_client: "redis.Redis", published: None
) -> None:
    paths = ["/recommend/42", "/recommend/42?k=2", "/recommend/7", "/popular"]
    paths += ["/items/50", "/items/73", "/recommend/998", "/recommend/999"]
    before = [(await api.get(path)).headers["etag"] for path in paths]
    assert len(set(before)) == len(paths)
    assert before == [(await api.get(path)).headers["etag"] for path in paths]
    publish(redis_client, "g2")
    after = [(await api.get(path)).headers["etag"] for path in paths]
    assert not set(after) & set(before)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/recommend/42", "private, no-cache"),
        ("/popular", "no-cache"),
        ("/items/50", "no-cache"),
        ("/ready", "no-store"),
        ("/recommend/x", "no-store"),
        ("/nothing", "no-store"),
    ],
)
async def test_cache_control(
    api: httpx.AsyncClient, published: None, path: str, expected: str
) -> None:
    assert (await api.get(path)).headers["cache-control"] == expected


async def test_long_lists_are_compressed(
    api: httpx.AsyncClient, long_list: None
) -> None:
    """Each form has its own length and ETag."""
    url = "/recommend/42?k=100"
    for _ in range(2):
        plain = await api.get(url, headers=PLAIN)
        packed = await api.get(url, headers=GZIP)
        assert plain.json() == packed.json()
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) < len(plain.content) / 5
        assert packed.headers["etag"] != plain.headers["etag"]
        assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
        assert len(plain.content) > GZIP_MIN_BYTES
    known = {"If-None-Match": packed.headers["etag"]}
    assert (await api.get(url, headers={**known, **GZIP})).status_code == 304
    assert (await api.get(url, headers={**known, **PLAIN})).status_code == 200


@pytest.mark.parametrize("accepted", ["gzip;q=0", "br", "identity", "gzip;q=0.0", ""])
async def test_only_clients_that_accept_gzip_get_it(
    api: httpx.AsyncClient, long_list: None, accepted: str
) -> None:
    response = await api.get("/popular?k=100", headers={"Accept-Encoding": accepted})
    assert "content-encoding" not in response.headers
    short = await api.get("/popular?k=5", headers=GZIP)
    assert not {"content-encoding", "vary"} & set(short.headers)


async def test_all_workers_send_the_same_etag(redis_url: str, long_list: None) -> None:
    tags = set()
    for _ in range(2):
        async with serving(redis_url) as api:
            response = await api.get("/popular?k=100", headers=GZIP)
            tags.add(response.headers["etag"])
    assert len(tags) == 1


async def test_other_origins_may_not_ask_by_default(
    api: httpx.AsyncClient, published: None
) -> None:
    for path in ("/popular", "/recommend/42", "/nothing"):
        response = await api.get(path, headers={"Origin": "https://shop.example"})
        assert not [name for name in response.headers if name.startswith("access-")]


async def test_named_origins_may_ask(redis_url: str, published: None) -> None:
    """With the key too, and they see the headers that they need."""
    shop, other = "https://shop.example", "https://x.y"
    preflight = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-api-key, authorization",
    }
    settings = Settings(api_key="key", cors_origins=(shop,))
    async with serving(redis_url, settings) as api:
        allowed = await api.options(
            "/recommend/42", headers={**preflight, "Origin": shop}
        )
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == shop
        assert "X-API-Key" in allowed.headers["access-control-allow-headers"]
        for _ in range(2):
            headers = {"Origin": shop, "X-API-Key": "key"}
            response = await api.get("/recommend/42", headers=headers)
            assert response.status_code == 200
            assert response.headers["access-control-allow-origin"] == shop
            assert "ETag" in response.headers["access-control-expose-headers"]
        headers = {**preflight, "Origin": other}
        refused = await api.options("/recommend/42", headers=headers)
        assert (refused.status_code, refused.text) == (400, "Disallowed CORS origin")
        stranger = await api.get(
            "/popular", headers={"Origin": other, "X-API-Key": "key"}
        )
        for response in (refused, stranger):
            assert "access-control-allow-origin" not in response.headers
