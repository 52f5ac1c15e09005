"""The routes, each parameter and each error, on a real Redis."""

from typing import Any

import httpx
import pytest
import redis

from lookup.app import from_environment
from lookup.settings import Settings
from lookup.shared.env import SettingError
from tests.conftest import POPULAR, USERS, RedisServer, free_port, publish
from tests.lookup.serving import error, ids, serving

pytestmark = pytest.mark.anyio


async def test_body_is_the_contract_s(api: httpx.AsyncClient, published: None) -> None:
    """Byte for byte: keys, their order, compact, UTF-8 as it is."""
    answer = await api.get("/recommend/42?k=2")
    assert answer.headers["content-type"] == "application/json"
    assert answer.content.decode() == (
        '{"user_id":42,"k":2,"generation":"g1","model_version":"3",'
        '"scored_at":"2026-11-24T01:30:00Z","source":"personal","items":['
        '{"rank":1,"item_id":50,"title":"Star Wars (1977)",'
        '"genres":["Action","Sci-Fi"],"year":1977,"score":3.1416},'
        '{"rank":2,"item_id":73,"title":"Misérables, Les (1995)",'
        '"genres":["Drama"],"year":1995,"score":2.5}]}'
    )


async def test_popular_is_the_same_without_a_user(
    api: httpx.AsyncClient, published: None
) -> None:
    """One list for everybody."""
    body = (await api.get("/popular?k=1")).json()
    assert list(body) == [
        "k",
        "generation",
        "model_version",
        "scored_at",
        "source",
        "items",
    ]
    assert body["source"] == "popular"
    assert body["items"][0]["item_id"] == POPULAR[0][0]


async def test_redis_cli_sees_what_is_served(
    api: httpx.AsyncClient, redis_client: "redis.Redis", published: None
) -> None:
    """`LRANGE recs:g1:user:42 0 2` is `/recommend/42?k=3`."""
    texts: Any = redis_client.lrange("recs:g1:user:42", 0, 2)
    expected = [int(text.split(":")[0]) for text in texts]
    assert await ids(api, "/recommend/42?k=3") == expected


async def test_default_k_is_the_setting_s(
    redis_url: str, redis_client: "redis.Redis"
) -> None:
    """Unless the lists are shorter than that."""
    publish(redis_client, top_n=5)
    async with serving(redis_url, Settings(k_default=2)) as api:
        assert (await api.get("/recommend/42")).json()["k"] == 2
        assert len(await ids(api, "/popular")) == 2
    async with serving(redis_url, Settings(k_default=100)) as api:
        assert (await api.get("/recommend/42")).json()["k"] == 5
        assert len(await ids(api, "/recommend/42")) == 5


async def test_fewer_than_k(api: httpx.AsyncClient, published: None) -> None:
    """All there are, even none."""
    assert await ids(api, "/recommend/7?k=5") == [258, 50]
    body = (await api.get("/recommend/13?k=5")).json()
    assert (body["source"], body["items"], body["k"]) == ("personal", [], 5)


async def test_unknown_user_gets_the_popular(
    api: httpx.AsyncClient, published: None
) -> None:
    """Somebody new gets something, unless it is not wanted."""
    body = (await api.get("/recommend/999?k=2")).json()
    assert (body["user_id"], body["source"]) == (999, "popular")
    assert [item["item_id"] for item in body["items"]] == [181, 50]
    assert await ids(api, "/recommend/999?k=2&fallback=popular") == [181, 50]
    message = await error(api, "/recommend/999?fallback=none", 404, "unknown_user")
    assert "999" in message
    assert await ids(api, "/recommend/7?fallback=none") == [258, 50]
    assert await ids(api, "/recommend/13?fallback=none") == []


@pytest.mark.parametrize("size", [1, 2, 3, 5])
async def test_pages_make_up_the_list(
    api: httpx.AsyncClient, published: None, size: int
) -> None:
    """Paging misses nothing and repeats nothing, and ranks go on."""
    found = []
    for offset in range(0, 5, size):
        path = f"/recommend/42?k={size}&offset={offset}"
        found += (await api.get(path)).json()["items"]
    assert [item["item_id"] for item in found] == [item for item, _ in USERS[42]]
    assert [item["rank"] for item in found] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("path", ["/recommend/42", "/recommend/13", "/recommend/999"])
@pytest.mark.parametrize("offset", [5, 100, 10**18 - 1])
async def test_beyond_the_end_is_nothing(
    api: httpx.AsyncClient, published: None, path: str, offset: int
) -> None:
    """And a known user is still known there."""
    body = (await api.get(f"{path}?offset={offset}")).json()
    assert body["items"] == []
    assert body["source"] == ("popular" if path.endswith("999") else "personal")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("genre=Drama", [73, 258]),
        ("genre=dRAMA", [73, 258]),
        ("genre=Drama&genre=Action", [50, 73, 181, 258]),
        ("genre=Sci-Fi&exclude=50", [258]),
        ("genre=Western", []),
        ("exclude=50,181", [73, 258, 267]),
        ("exclude=50&exclude=181", [73, 258, 267]),
        ("exclude=999999", [50, 73, 181, 258, 267]),
        ("genre=Action&k=1&offset=1", [181]),
        ("exclude=50&k=2&offset=2", [258, 267]),
        ("genre=Action&offset=2", []),
    ],
)
async def test_filters_work_within_the_list(
    api: httpx.AsyncClient, published: None, parameters: str, expected: list[int]
) -> None:
    """Filtered first, then cut: offset and rank count what is left."""
    assert await ids(api, f"/recommend/42?{parameters}") == expected


async def test_filters_work_on_the_popular(
    api: httpx.AsyncClient, published: None
) -> None:
    """Also where they stand in for a list of one's own."""
    assert await ids(api, "/popular?genre=drama") == [258, 73]
    assert await ids(api, "/recommend/999?exclude=181&k=1") == [50]
    body = (await api.get("/popular?offset=1&k=2&exclude=50")).json()
    assert [item["rank"] for item in body["items"]] == [2, 3]


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("/recommend/0", "user_id='0'"),
        ("/recommend/-1", "user_id='-1'"),
        ("/recommend/4.5", "user_id='4.5'"),
        ("/recommend/x", "user_id='x'"),
        ("/recommend/+5", "user_id='+5'"),
        ("/recommend/%20", "user_id=' '"),
        ("/recommend/42%0A", "user_id='42\\n'"),
        ("/recommend/٤٢", "user_id='٤٢'"),
        ("/recommend/" + "1" * 1001, "user_id='1111"),
        ("/recommend/" + "9" * 5000, "user_id='9999"),
        ("/recommend/42?k=0", "k='0': expected an integer from 1 to 5"),
        ("/recommend/42?k=6", "k='6': expected an integer from 1 to 5"),
        ("/recommend/42?k=-1", "k='-1'"),
        ("/recommend/42?k=5.0", "k='5.0'"),
        ("/recommend/42?k=x", "k='x'"),
        ("/recommend/42?k=+5", "k=' 5'"),
        ("/recommend/42?k=٥", "k='٥'"),
        ("/recommend/42?k=" + "1" * 5000, "k='1111"),
        ("/recommend/42?k=", "k=''"),
        ("/recommend/42?k", "k=''"),
        ("/recommend/42?k=5&k=5", "k is given 2 times"),
        ("/recommend/42?offset=-1", "offset='-1'"),
        ("/recommend/42?offset=x", "offset='x'"),
        ("/recommend/42?offset=" + "1" * 19, "offset='1111"),
        ("/recommend/42?offset=1&offset=1", "offset is given 2 times"),
        ("/recommend/42?genre=", "genre=''"),
        ("/recommend/42?genre=Drama&genre=", "genre=''"),
        ("/recommend/42?exclude=", "exclude=''"),
        ("/recommend/42?exclude=50,,181", "exclude=''"),
        ("/recommend/42?exclude=50,x", "exclude='x'"),
        ("/recommend/42?fallback=", "fallback=''"),
        ("/recommend/42?fallback=no", "fallback='no': expected 'popular' or 'none'"),
        ("/recommend/42?fallback=none&fallback=none", "fallback is given 2 times"),
        ("/recommend/42?K=5", "'K' is no parameter; known: k, offset, genre, exclude"),
        ("/popular?k=6", "k='6': expected an integer from 1 to 5"),
        ("/popular?fallback=none", "'fallback' is no parameter; known: k, offset"),
    ],
)
async def test_bad_parameters_are_quoted(
    api: httpx.AsyncClient, published: None, path: str, quoted: str
) -> None:
    """422, with the name, the value and what was expected."""
    await api.get("/ready")  # so that the longest list is known
    assert quoted in await error(api, path, 422, "invalid_parameter")


async def test_bad_k_is_422_before_anything_is_known(api: httpx.AsyncClient) -> None:
    """Nothing published is no excuse."""
    message = await error(api, "/recommend/42?k=0", 422, "invalid_parameter")
    assert message == "k='0': expected an integer from 1 to the length of the " + (
        "stored lists"
    )


@pytest.mark.parametrize(
    "path",
    ["/static", "/nothing", "/recommend", "/recommend/", "/popular/", "/recommend/4/2"],
)
async def test_unknown_routes(api: httpx.AsyncClient, path: str) -> None:
    """404 in the form of every error, no redirects."""
    assert path in await error(api, path, 404, "not_found")


@pytest.mark.parametrize("path", ["/health", "/ready", "/recommend/42", "/popular"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_wrong_methods(api: httpx.AsyncClient, path: str, method: str) -> None:
    """405 says what would be right."""
    answer = await api.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert answer.json()["error"]["code"] == "method_not_allowed"


async def test_options_say_what_is_right(api: httpx.AsyncClient) -> None:
    """Nothing is done; what is not there stays unknown."""
    answer = await api.options("/recommend/42")
    assert (answer.status_code, answer.content) == (204, b"")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert (await api.options("/nothing")).status_code == 404


@pytest.mark.parametrize("path", ["/recommend/42", "/popular", "/items/50", "/ready"])
async def test_head_is_like_get(
    api: httpx.AsyncClient, published: None, path: str
) -> None:
    """Monitors may ask that way, and see what GET would say."""
    got = await api.get(path)
    for _ in range(2):
        answer = await api.head(path)
        assert answer.status_code == 200
        assert answer.headers["content-length"] == got.headers["content-length"]
        assert answer.headers.get("etag") == got.headers.get("etag")


async def test_nothing_published(api: httpx.AsyncClient) -> None:
    """Healthy, not ready, and the lists say why."""
    assert (await api.get("/health")).json() == {"status": "ok"}
    for path in ("/ready", "/recommend/42", "/popular"):
        assert "recs:current" in await error(api, path, 503, "no_generation")


async def test_ready(api: httpx.AsyncClient, published: None) -> None:
    """Says what is served."""
    assert (await api.get("/ready")).json() == {
        "status": "ready",
        "generation": "g1",
        "model_version": "3",
        "scored_at": "2026-11-24T01:30:00Z",
    }


async def test_redis_gone() -> None:
    """503 with Retry-After at once; health stays."""
    async with serving(f"redis://127.0.0.1:{free_port()}/0") as api:
        assert (await api.get("/health")).status_code == 200
        for path in ("/ready", "/recommend/42", "/popular"):
            await error(api, path, 503, "redis_unavailable")
            assert (await api.get(path)).headers["retry-after"] == "1"


@pytest.mark.slow
async def test_redis_gone_and_back(own_server: RedisServer) -> None:
    """The same process serves, refuses and serves again."""
    async with serving(own_server.url) as api:
        for _ in range(2):
            with redis.Redis.from_url(own_server.url) as client:
                publish(client)
            assert await ids(api, "/recommend/7") == [258, 50]
            own_server.kill()
            await error(api, "/recommend/7", 503, "redis_unavailable")
            own_server.start()


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("recs:g1:meta", "recs:g1:meta"),
        ("recs:g1:items", "recs:g1:items 50"),
    ],
)
async def test_missing_parts_are_503(
    api: httpx.AsyncClient, redis_client: "redis.Redis", key: str, named: str
) -> None:
    """What the batch did not write whole is named, not served in part."""
    publish(redis_client)
    redis_client.delete(key)
    assert named in await error(api, "/recommend/42", 503, "corrupt_generation")


async def test_garbled_list_is_503(
    api: httpx.AsyncClient, redis_client: "redis.Redis", published: None
) -> None:
    """The message names the key, and there is no traceback in it."""
    redis_client.lset("recs:g1:user:42", 0, "garbled")
    message = await error(api, "/recommend/42", 503, "corrupt_generation")
    assert "recs:g1:user:42" in message
    assert "Traceback" not in message
    assert await ids(api, "/recommend/7") == [258, 50]


async def test_bugs_are_500(api: httpx.AsyncClient) -> None:
    """A client sees the form of errors and nothing of the inside."""
    message = await error(api, "/fail", 500, "internal_error")
    assert "secret" not in message


@pytest.mark.parametrize("path", ["/recommend/42", "/popular", "/nothing", "/about"])
async def test_key_is_wanted(redis_url: str, published: None, path: str) -> None:
    """Every route but the probes' and the page's files wants it."""
    async with serving(redis_url, Settings(api_key="clé")) as api:
        for headers in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}):
            answer = await api.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "unauthorized"
            assert answer.headers["www-authenticate"]
        right = {b"X-API-Key": "clé".encode()}
        assert (await api.get(path, headers=right)).status_code != 401


async def test_probes_need_no_key(redis_url: str, published: None) -> None:
    """An orchestrator has none."""
    async with serving(redis_url, Settings(api_key="key")) as api:
        assert (await api.get("/health")).status_code == 200
        assert (await api.get("/ready")).status_code == 200


def test_environment_must_name_a_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factory has no embedded default, and says who has."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(SettingError, match="REDIS_URL is not set"):
        from_environment()


def test_environment_makes_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is connected before somebody asks."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("K_DEFAULT", "3")
    assert from_environment().state.settings.k_default == 3
