"""Behind proxies that serve the API below a path, stripping it or not."""

import httpx
import pytest

from lookup.app import PAGE, PATHS, STATIC
from lookup.http import page
from lookup.settings import ROUTES, Settings
from tests.lookup.serving import error, ids, serving
from tests.lookup.telemetry.test_metrics import samples

pytestmark = pytest.mark.anyio

ROOTS = ("/recs", "/shop.v2/recs-1_~")


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("is_stripped", [True, False])
async def test_all_routes_answer(
    redis_url: str, published: None, root: str, is_stripped: bool
) -> None:
    """Probes and page without the key, everything else with it, once by the cache."""
    below = "" if is_stripped else root
    right = {"Authorization": "Bearer key"}
    async with serving(redis_url, Settings(api_key="key", root_path=root)) as api:
        for path in ("/health", "/ready", *page.PATHS):
            assert (await api.get(below + path)).status_code == 200
        for path in ("/popular", "/metrics", "/static/secret", "/openapi.json"):
            assert (await api.get(below + path)).status_code == 401
        api.headers.update(right)
        for _ in range(2):
            assert await ids(api, f"{below}/recommend/42?k=2") == [50, 73]
        assert await ids(api, f"{below}/popular?k=1") == [181]
        schema = (await api.get(f"{below}/openapi.json")).json()
        assert schema["servers"] == [{"url": root}]
        assert (await api.post(f"{below}/popular")).status_code == 405
        await error(api, f"{below}/popular/", 404, "not_found")
        api.base_url = httpx.URL(f"http://api{below}")
        found = await samples(api)
    assert found["lookup_requests_total", "/recommend/{user_id}", "200"] == 2
    assert found["lookup_requests_total", "/popular", "200"] == 1
    assert found["lookup_requests_total", "/static", "200"] == len(page.PATHS) - 1
    assert found["lookup_requests_total", "/", "200"] == 1


@pytest.mark.parametrize("path", ["", "/", "/recs", "/recs/"])
async def test_the_page_names_its_files_with_or_without_the_last_slash(
    redis_url: str, path: str
) -> None:
    async with serving(redis_url, Settings(root_path="/recs")) as api:
        shown = await api.get(path)
        assert shown.status_code == 200
        assert 'src="/recs/static/page.js"' in shown.text
        assert 'href="/recs/openapi.json"' in shown.text
        assert '"./' not in shown.text
        again = await api.get(path, headers={"If-None-Match": shown.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/recsx",
        "/recs/recs/popular",
        "/%2Frecs/popular",
        "/recs//popular",
        "/recs/recs/",
    ],
)
async def test_only_one_whole_root_path_is_removed(redis_url: str, path: str) -> None:
    async with serving(redis_url, Settings(root_path="/recs")) as api:
        await error(api, path, 404, "not_found")


async def test_an_encoded_path_is_the_same_path(
    redis_url: str, published: None
) -> None:
    async with serving(redis_url, Settings(root_path="/recs")) as api:
        for path in ("/%72ecs/popular", "/recs%2Fpopular", "/recs/%70opular"):
            assert await ids(api, f"{path}?k=1") == [181]


def test_no_root_path_can_begin_like_a_route() -> None:
    assert {path.split("/")[1] for path in (*PATHS, STATIC)} <= ROUTES
    assert PAGE == "/"
