"""The API for the tests of its parts."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import redis

from lookup.settings import Settings
from lookup.store import client, store
from tests.conftest import publish
from tests.lookup.programs import Start, command, environment
from tests.lookup.serving import serving


@pytest.fixture(params=[0, 1], ids=["uncached", "cached"])
async def api(
    redis_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app on the session's Redis, with a cache and without."""
    for name in ("TIMEOUT_SECONDS", "CONNECT_SECONDS"):  # the machine may be busy
        monkeypatch.setattr(client, name, 10.0)
    monkeypatch.setattr(store, "MOVING_SECONDS", 10.0)
    async with serving(redis_url, Settings(cache_mb=request.param)) as served:
        yield served


@pytest.fixture
def published(redis_client: "redis.Redis") -> None:
    """Publish the small generation."""
    publish(redis_client)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a lookup in an empty folder."""
    programs = []

    def start(*flags: object, **settings: str) -> "subprocess.Popen[str]":
        program = subprocess.Popen(
            command(*flags),
            cwd=tmp_path,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C can be sent to all of it
        )
        programs.append(program)
        return program

    yield start
    for program in programs:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()
