"""The API for the tests of its parts."""

from collections.abc import AsyncIterator

import httpx
import pytest
import redis

from tests.conftest import publish
from tests.lookup.serving import CACHE_BYTES, serving


@pytest.fixture(params=[0, CACHE_BYTES], ids=["uncached", "cached"])
async def api(
    redis_url: str, request: pytest.FixtureRequest
) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the app on the session's Redis, with a cache and without."""
    async with serving(redis_url, cache_bytes=request.param) as client:
        yield client


@pytest.fixture
def published(redis_client: "redis.Redis") -> None:
    """Publish the small generation."""
    publish(redis_client)
