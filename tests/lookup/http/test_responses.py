"""What caches and clients are told about an answer."""

import gzip

import httpx
import pytest
import redis

from lookup.http.responses import GZIP_LEAST
from lookup.settings import Settings
from tests.conftest import ITEMS, publish
from tests.lookup.serving import serving

pytestmark = pytest.mark.anyio

LONG = [(item_id, 1.0) for item_id in range(1, 101)]
PLAIN = {"Accept-Encoding": "identity"}


def publish_long(client: "redis.Redis", name: str = "g1") -> None:
    """Publish a list that is worth packing."""
    items = {item_id: ITEMS[50] for item_id, _ in LONG}
    publish(client, name, users={42: LONG}, popular=LONG, items=items, top_n=100)


async def test_etag_answers_if_none_match(
    api: httpx.AsyncClient, published: None
) -> None:
    """Who has it is told so, in all the ways that HTTP knows."""
    etag = (await api.get("/recommend/42")).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = await api.get("/recommend/42", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
        assert answer.headers["cache-control"] == "private, no-cache"
        assert "content-type" not in answer.headers
    for known in ('"other"', etag[:-2] + '"', ""):
        answer = await api.get("/recommend/42", headers={"If-None-Match": known})
        assert answer.status_code == 200


async def test_etags_differ_by_request_and_generation(
    api: httpx.AsyncClient, redis_client: "redis.Redis", published: None
) -> None:
    """No two different answers share one, and the same answer keeps its own."""
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
        ("/health", "no-store"),
        ("/ready", "no-store"),
        ("/recommend/x", "no-store"),
        ("/nothing", "no-store"),
    ],
)
async def test_caches_ask_again(
    api: httpx.AsyncClient, published: None, path: str, expected: str
) -> None:
    """A generation may end at any time; what is one user's is for nobody else."""
    assert (await api.get(path)).headers["cache-control"] == expected


async def test_long_lists_are_packed(
    api: httpx.AsyncClient, redis_client: "redis.Redis"
) -> None:
    """For those who take it; each form with a length and an ETag of its own."""
    publish_long(redis_client)
    url = "/recommend/42?k=100"
    for _ in range(2):
        plain = await api.get(url, headers=PLAIN)
        packed = await api.get(url, headers={"Accept-Encoding": "br, gzip"})
        assert plain.json() == packed.json()
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) < len(plain.content) / 5
        assert packed.headers["etag"] != plain.headers["etag"]
        assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
        assert len(plain.content) > GZIP_LEAST
    known = {"If-None-Match": packed.headers["etag"], "Accept-Encoding": "gzip"}
    assert (await api.get(url, headers=known)).status_code == 304
    assert (await api.get(url, headers={**known, **PLAIN})).status_code == 200


@pytest.mark.parametrize("wanted", ["gzip;q=0", "br", "identity", "gzip;q=0.0", ""])
async def test_nobody_gets_gzip_who_does_not_take_it(
    api: httpx.AsyncClient, redis_client: "redis.Redis", wanted: str
) -> None:
    """However they say so."""
    publish_long(redis_client)
    headers = {"Accept-Encoding": wanted}
    answer = await api.get("/popular?k=100", headers=headers)
    assert "content-encoding" not in answer.headers


async def test_short_lists_are_not_packed(
    api: httpx.AsyncClient, published: None
) -> None:
    """It would cost more than it saves."""
    answer = await api.get("/recommend/42", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert "vary" not in answer.headers


async def test_packed_bytes_are_the_same_each_time(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    """Each worker packs for itself, and their ETags are to agree."""
    publish_long(redis_client)
    tags = set()
    for _ in range(2):
        async with serving(redis_url) as api:
            answer = await api.get(
                "/popular?k=100", headers={"Accept-Encoding": "gzip"}
            )
            tags.add(answer.headers["etag"])
    assert len(tags) == 1
    assert gzip.compress(b"x", mtime=0) == gzip.compress(b"x", mtime=0)


async def test_pages_elsewhere_may_not_ask_by_default(
    api: httpx.AsyncClient, published: None
) -> None:
    """Nothing allows them to."""
    headers = {"Origin": "https://shop.example"}
    for path in ("/popular", "/recommend/42", "/nothing"):
        answer = await api.get(path, headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-")]


async def test_pages_may_ask_whose_origin_is_named(
    redis_url: str, published: None
) -> None:
    """Those and no others, with the key too, and they see what they need."""
    settings = Settings(api_key="key", cors_origins=("https://shop.example",))
    async with serving(redis_url, settings) as api:
        asked = {
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "x-api-key",
        }
        beforehand = await api.options("/recommend/42", headers=asked)
        assert beforehand.status_code == 200
        allowed = beforehand.headers
        assert allowed["access-control-allow-origin"] == "https://shop.example"
        assert "x-api-key" in allowed["access-control-allow-headers"].lower()
        for _ in range(2):
            headers = {"Origin": "https://shop.example", "X-API-Key": "key"}
            answer = await api.get("/recommend/42", headers=headers)
            assert answer.status_code == 200
            origin = answer.headers["access-control-allow-origin"]
            assert origin == "https://shop.example"
            assert "ETag" in answer.headers["access-control-expose-headers"]
        stranger = {**asked, "Origin": "https://x.y"}
        refused = await api.options("/recommend/42", headers=stranger)
        assert refused.status_code == 422
        assert refused.json()["error"] == {
            "code": "invalid_request",
            "message": "Disallowed CORS origin",
        }
        assert "access-control-allow-origin" not in refused.headers
        other = await api.get("/popular", headers={**headers, "Origin": "https://x.y"})
        assert "access-control-allow-origin" not in other.headers
