"""The page's files over HTTP."""

import re

import httpx
import pytest

from lookup.http import page
from lookup.settings import Settings
from tests.lookup.serving import serving

pytestmark = pytest.mark.anyio

PATHS = sorted(page.PATHS)


@pytest.mark.parametrize("path", PATHS)
async def test_files_are_revalidated(redis_url: str, path: str) -> None:
    async with serving(redis_url) as api:
        response = await api.get(path, headers={"range": "bytes=99999999-"})
        kind = path.rpartition(".")[2].replace("js", "javascript").strip("/") or "html"
        assert response.status_code == 200
        assert kind in response.headers["content-type"]
        assert response.headers["x-content-type-options"] == "nosniff"
        etag = response.headers["etag"]
        again = await api.get(path, headers={"if-none-match": etag})
        assert (again.status_code, again.content) == (304, b"")
        for headers in (response.headers, again.headers):
            assert headers["cache-control"] == "no-cache"
            # also on a 304, from which browsers take what they store
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; ")
            assert "unsafe" not in policy
        refused = await api.post(path)
        assert refused.status_code == 405
        assert refused.json()["error"]["code"] == "method_not_allowed"


async def test_files_need_no_key_and_nothing_else_goes_with_them(
    redis_url: str,
) -> None:
    async with serving(redis_url, Settings(api_key="key")) as api:
        for path in PATHS:
            assert (await api.get(path)).status_code == 200
        for path in ("/about", "/static/../about", "/static/secret", "/users/1"):
            assert (await api.get(path)).status_code == 401


async def test_title_and_heading_are_those_of_the_setting(redis_url: str) -> None:
    async with serving(redis_url, Settings(page_title='<"Books" & more>')) as api:
        text = (await api.get("/")).text
        for tag in ("title", "h1"):
            assert f"<{tag}>&lt;&quot;Books&quot; &amp; more&gt;</{tag}>" in text
        assert "MovieLens-XGB" not in text
        schema = (await api.get("/openapi.json")).json()
        assert schema["info"]["title"] == '<"Books" & more>'


@pytest.mark.parametrize(
    "name", ["nothing.js", "index.html", "..%2fapp.py", "", ".", "%00"]
)
async def test_there_are_no_other_files(api: httpx.AsyncClient, name: str) -> None:
    response = await api.get(f"/static/{name}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


def test_nothing_comes_from_other_sites_and_no_title_becomes_html() -> None:
    for path in page.FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        text = text.replace("http://www.w3.org/2000/svg", "")
        bad = r"https?://|innerHTML|outerHTML|insertAdjacent|eval\("
        assert not re.search(bad, text)


def test_the_page_has_nothing_inline_and_its_files_exist() -> None:
    text = (page.FOLDER / page.INDEX).read_text()
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", text)
    addresses = re.findall(r'(?:href|src|action)="([^"#][^"]*)"', text)
    assert all(address.startswith("./") for address in addresses)
    paths = {address[1:].partition("?")[0] for address in addresses}
    named = paths - {"/openapi.json"}
    assert named
    assert named <= page.PATHS
