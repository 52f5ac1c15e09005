"""Secrets in files: what needs them gets them, and nothing prints them."""

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
    """Give its URL, with the password, in a file that ends as an editor would."""
    path = folder / "redis_url"
    path.write_text(f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0\n")
    return {"REDIS_URL_FILE": str(path)}


def apart(folder: Path, server: RedisServer) -> dict[str, str]:
    """Give the password in a file, and the URL without it."""
    path = folder / "redis_password"
    path.write_text(PASSWORD)
    return {"REDIS_URL": server.url, "REDIS_PASSWORD_FILE": str(path)}


def batch(
    folder: Path, *words: str, **settings: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command of the batch."""
    command = [sys.executable, "-m", "batch", *words]
    environ = environment(**settings)
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120
    )


@contextmanager
def tracking_server() -> Iterator[tuple[str, list[str | None]]]:
    """Refuse all, as a server of MLflow, and note who they said they were."""
    said: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said.append(self.headers["Authorization"])
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", said
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


@pytest.mark.parametrize("given", [in_url, apart])
def test_the_batch_reads_it_and_tells_the_address_without_it(
    tmp_path: Path, guarded: RedisServer, given: Given
) -> None:
    done = batch(tmp_path, "status", "--json", **given(tmp_path, guarded))
    told = json.loads(done.stdout)
    assert told["generation"] == "g1"
    assert told["redis_url"] == f"redis://…@127.0.0.1:{guarded.port}/0"
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.slow
def test_mlflow_is_given_the_credentials(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hidden\n")
    with tracking_server() as (address, said):
        done = batch(
            tmp_path,
            *("promote", "--version", "1"),
            MLFLOW_TRACKING_URI=address,
            MLFLOW_TRACKING_USERNAME="batch",
            MLFLOW_TRACKING_PASSWORD_FILE="password",  # noqa: S106 (a file's name)
        )
    assert done.returncode == 1
    assert set(said) == {"Basic " + base64.b64encode(b"batch:hidden").decode()}
    assert "hidden" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1


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
