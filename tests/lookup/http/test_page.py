"""The page's files, as HTTP gives them."""

import re
from pathlib import Path

import httpx
import pytest

from lookup.http import page
from lookup.settings import Settings
from tests.lookup.serving import serving

pytestmark = pytest.mark.anyio

PATHS = sorted(page.PATHS)


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_is_given_once(redis_url: str, path: str) -> None:
    """Then only asked about; packed where the client unpacks."""
    async with serving(redis_url) as api:
        answer = await api.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].endswith("; charset=utf-8")
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
        plain = await api.get(path, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == answer.content
        known = {"if-none-match": answer.headers["etag"]}
        again = await api.get(path, headers=known)
        assert (again.status_code, again.content) == (304, b"")


async def test_the_policy_allows_nothing_inline(redis_url: str) -> None:
    async with serving(redis_url) as api:
        answer = await api.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", answer.text)


async def test_the_files_need_no_key_and_nothing_else_goes_with_them(
    redis_url: str,
) -> None:
    """What the page asks, it asks with the key that it was given."""
    async with serving(redis_url, Settings(api_key="key")) as api:
        for path in PATHS:
            assert (await api.get(path)).status_code == 200
        for path in ("/about", "/static/../about", "/static/secret", "/users/1"):
            assert (await api.get(path)).status_code == 401


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpage.py", "page.css/"])
async def test_there_are_no_other_files(api: httpx.AsyncClient, name: str) -> None:
    answer = await api.get(f"/static/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_nothing_is_fetched_from_elsewhere_and_no_title_becomes_html() -> None:
    """No CDN, and no way from text to elements."""
    for path in page.FOLDER.iterdir():
        text = path.read_text(encoding="utf-8").replace(
            "http://www.w3.org/2000/svg", ""
        )
        assert not re.search(
            r"https?://|innerHTML|outerHTML|insertAdjacent|eval\(", text
        )


def test_what_the_page_names_is_there() -> None:
    named = set(
        re.findall(r'"(/static/[^"]+)"', Path(page.FOLDER, page.INDEX).read_text())
    )
    assert named
    assert named <= page.PATHS
