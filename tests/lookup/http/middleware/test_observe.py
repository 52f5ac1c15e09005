"""Request ids, default headers and the access log."""

import logging

import httpx
import pytest

from lookup.http.middleware.observe import SANE_ID
from tests.lookup.serving import error

pytestmark = pytest.mark.anyio

PATHS = ["/recommend/42", "/popular", "/health", "/nothing", "/recommend/x", "/fail"]
PATHS += ["/metrics", "/openapi.json", "/items/51"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_response_has_an_id_and_security_headers(
    api: httpx.AsyncClient, published: None, path: str
) -> None:
    given = await api.get(path, headers={"X-Request-ID": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    made = set()
    for _ in range(3):
        headers = (await api.get(path)).headers
        made.add(headers["x-request-id"])
        assert headers.get_list("x-content-type-options") == ["nosniff"]
        assert headers.get_list("content-security-policy") == [
            "default-src 'none'; frame-ancestors 'none'"
        ]
        assert len(headers.get_list("cache-control")) == 1
        assert "server" not in headers
    assert len(made) == 3
    assert all(SANE_ID.fullmatch(request_id.encode()) for request_id in made)


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'a"b', "é", "<script>"])
async def test_ids_that_are_not_sane_are_replaced(
    api: httpx.AsyncClient, given: str
) -> None:
    headers = {b"X-Request-ID": given.encode()}
    response = await api.get("/health", headers=headers)
    assert response.headers["x-request-id"] != given


async def test_failures_are_logged(
    api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "lookup.requests"):
        response = await api.get("/popular")
        await api.get("/nothing")
    (record,) = caplog.records
    assert record.__dict__["request_id"] == response.headers["x-request-id"]
    assert record.__dict__["status"] == 503
    assert record.__dict__["route"] == "/popular"


async def test_bugs_are_logged_with_a_traceback(
    api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The client sees the request id only."""
    assert "secret" not in await error(api, "/fail", 500, "internal_error")
    bug = next(record for record in caplog.records if record.exc_info)
    assert "a bug with a secret" in str(bug.exc_info)
    assert bug.__dict__["request_id"]


async def test_requests_are_logged_where_that_is_set(
    api: httpx.AsyncClient, published: None, caplog: pytest.LogCaptureFixture
) -> None:
    """One line each, without the query and headers, where people put keys."""
    with caplog.at_level(logging.INFO, "lookup.requests"):
        await api.get("/recommend/42?k=2", headers={"X-API-Key": "hidden"})
    (record,) = [r for r in caplog.records if r.name == "lookup.requests"]
    fields = record.__dict__
    assert (fields["method"], fields["path"]) == ("GET", "/recommend/42")
    assert (fields["route"], fields["status"]) == ("/recommend/{user_id}", 200)
    assert 0 < fields["milliseconds"] < 5000
    assert "hidden" not in str(fields)
