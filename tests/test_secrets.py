"""Secrets in files: the programs read them, and print them nowhere."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import redis

from tests.conftest import RedisServer, publish, running
from tests.faults.batches import Clone
from tests.faults.lookups import lookup
from tests.lookup.programs import environment

Given = Callable[[Path, RedisServer], Mapping[str, str]]
PASSWORD = "hidden-pässword"  # noqa: S105 (of a server of this test alone)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[RedisServer]:
    """Give a Redis that asks for a password and holds the small generation."""
    with running(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            publish(client)
            client.config_set("requirepass", PASSWORD)
        yield server


def in_url(folder: Path, server: RedisServer) -> dict[str, str]:
    """Put the URL with the password into a file with a line end."""
    path = folder / "redis_url"
    path.write_text(f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0\n")
    return {"REDIS_URL_FILE": str(path)}


def apart(folder: Path, server: RedisServer) -> dict[str, str]:
    """Put the password into a file, and not into the URL."""
    path = folder / "redis_password"
    path.write_text(PASSWORD)
    return {"REDIS_URL": server.url, "REDIS_PASSWORD_FILE": str(path)}


@contextmanager
def tracking_server() -> Iterator[tuple[str, list[str | None]]]:
    """Refuse every request, as an MLflow server, and note its credentials."""
    authorizations: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorizations.append(self.headers["Authorization"])
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", authorizations
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("given", [in_url, apart])
def test_the_lookup_reads_them_and_so_do_its_workers(
    tmp_path: Path, guarded: RedisServer, given: Given
) -> None:
    (tmp_path / "key").write_text("a-key\n")
    files = {**given(tmp_path, guarded), "LOOKUP_API_KEY_FILE": "key"}
    with lookup(tmp_path, "--workers", 2, **files) as served:
        url = f"http://127.0.0.1:{served.port}/recommend/42"
        assert httpx.get(url).status_code == 401
        answer = httpx.get(url, headers={"X-API-Key": "a-key"})
        assert answer.status_code == 200
        assert PASSWORD not in served.logged()


def test_lines_of_a_file_env_reach_the_workers_and_are_printed_nowhere(
    tmp_path: Path, guarded: RedisServer
) -> None:
    lines = {**apart(tmp_path, guarded), "LOOKUP_API_KEY": "a-key", "K_DEFAULT": "9"}
    lines |= {"PAGE_TITLE": "'My $hop'", "REDIS_IMAGE": '"redis:${TAG}"'}
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    (tmp_path / ".env").write_text(text)
    with lookup(tmp_path, "--workers", 2, K_DEFAULT="1") as served:
        url = f"http://127.0.0.1:{served.port}"
        for _ in range(10):
            assert httpx.get(f"{url}/recommend/42").status_code == 401
            headers = {"X-API-Key": "a-key"}
            answer = httpx.get(f"{url}/recommend/42", headers=headers).json()
            assert len(answer["items"]) == 1
            assert "<h1>My $hop</h1>" in httpx.get(url).text
        assert "a-key" not in served.logged()
        assert PASSWORD not in served.logged()


@pytest.mark.parametrize("given", [in_url, apart])
def test_the_batch_reads_them_and_shows_the_address_without_them(
    tmp_path: Path, guarded: RedisServer, given: Given
) -> None:
    batch = Clone(tmp_path, given(tmp_path, guarded)).start("status", "--json")
    assert batch.wait() == 0, batch.said
    status = json.loads(batch.out)
    assert status["generation"] == "g1"
    assert status["redis_url"] == f"redis://…@127.0.0.1:{guarded.port}/0"
    assert PASSWORD not in batch.said


def test_mlflow_is_given_the_credentials(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hidden\n")
    with tracking_server() as (address, authorizations):
        settings = {
            "MLFLOW_TRACKING_URI": address,
            "MLFLOW_TRACKING_USERNAME": "batch",
            "MLFLOW_TRACKING_PASSWORD_FILE": "password",
        }
        line = Clone(tmp_path, settings).failure("promote", "--version", "1")
    expected = "Basic " + base64.b64encode(b"batch:hidden").decode()
    assert set(authorizations) == {expected}
    assert "hidden" not in line


@pytest.mark.parametrize("program", ["batch", "lookup"])
def test_a_file_that_is_not_there_ends_the_program_with_one_line(
    tmp_path: Path, program: str
) -> None:
    words = ["status"] if program == "batch" else ["--port", "0"]
    done = subprocess.run(
        [sys.executable, "-m", program, *words],
        cwd=tmp_path,
        env=environment(REDIS_URL_FILE="nowhere"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "REDIS_URL_FILE='nowhere': cannot be read: No such file" in done.stderr
    assert len(done.stderr.splitlines()) == 1
