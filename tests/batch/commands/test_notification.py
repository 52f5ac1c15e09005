"""NOTIFY_URL, on a real HTTP server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import redis

from batch.commands import notification
from batch.commands.notification import Notifier
from lookup.shared.env import SettingError
from tests.conftest import publish
from tests.faults.batches import Clone
from tests.movielens import write_world

TOKEN = "/hooks/secret-token"  # noqa: S105


class Receiver(HTTPServer):
    """Notes what is posted, and answers with a status, or never."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status: int | None = 200
        self.requests: list[tuple[str, str, str | None, dict[str, object]]] = []
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}{TOKEN}"


class Handler(BaseHTTPRequestHandler):
    """Answers for the receiver."""

    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = self.headers["Content-Type"]
        self.server.requests.append((self.command, self.path, kind, body))
        if self.server.status is None:
            self.server.released.wait(60)
            return
        self.send_response(self.server.status)
        self.send_header("Location", self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path, None, {}))
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("words", "top_n", "code", "problem"),
    [
        (("run", "--raw", "nowhere"), "", 1, "nowhere"),
        (("train", "--raw", "nowhere"), "", 1, "nowhere"),
        (("run", "--raw", "nowhere", "--debug"), "", 1, "nowhere"),
        (("run",), "many", 1, "TOP_N='many'"),
        (("run", "--raw", "world"), "", 75, "another batch holds"),
    ],
)
def test_a_failure_is_posted_once(
    tmp_path: Path,
    receiver: Receiver,
    redis_client: "redis.Redis",
    redis_url: str,
    words: tuple[str, ...],
    top_n: str,
    code: int,
    problem: str,
) -> None:
    """With the line of stderr, whatever the failure was."""
    write_world(tmp_path / "world")
    (tmp_path / ".env").write_text(f"NOTIFY_URL={receiver.url}\nTOP_N={top_n}\n")
    redis_client.set("recs:lock", "machine:1:token")
    said = Clone(tmp_path, {"REDIS_URL": redis_url}).run(*words, code=code)
    [(method, path, kind, body)] = receiver.requests
    assert (method, path, kind) == ("POST", TOKEN, "application/json")
    assert list(body) == ["command", "exit_code", "error"]
    assert (body["command"], body["exit_code"]) == (words[0], code)
    assert problem in str(body["error"])
    assert f"error: {body['error']}" in said
    assert TOKEN not in said


def test_other_commands_notify_nobody(
    tmp_path: Path, receiver: Receiver, redis_client: "redis.Redis", redis_url: str
) -> None:
    publish(redis_client)
    variables = {"REDIS_URL": redis_url, "NOTIFY_URL": receiver.url}
    clone = Clone(tmp_path, {**variables, "NOTIFY_ALWAYS": "1"})
    clone.run("blocked")
    clone.failure("block", "9999")
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("always", "code", "n"), [(True, 0, 1), (True, 1, 1), (False, 0, 0), (False, 75, 1)]
)
def test_a_result_is_posted_as_it_is(
    receiver: Receiver, always: bool, code: int, n: int
) -> None:
    Notifier(receiver.url, always).send("run", code, {"generation": "g1"})
    body = {"command": "run", "exit_code": code, "generation": "g1"}
    assert [request[-1] for request in receiver.requests] == [body] * n


@pytest.mark.parametrize("status", [302, 307, 404, 500, None])
def test_a_receiver_that_fails_is_a_warning_without_the_token(
    receiver: Receiver,
    status: int | None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notification, "TIMEOUT_SECONDS", 5 if status else 0.5)
    receiver.status = status
    Notifier(receiver.url, is_always=False).send("run", 1, {"error": "x"})
    assert [request[0] for request in receiver.requests] == ["POST"]
    [line] = caplog.messages
    assert line.startswith("could not notify 127.0.0.1 (NOTIFY_URL): ")
    assert str(status or "no answer in time") in line or "timed out" in line
    assert "secret-token" not in line


def test_a_failing_notification_does_not_change_the_exit_code(tmp_path: Path) -> None:
    variables = {"NOTIFY_URL": f"http://127.0.0.1:1{TOKEN}"}
    said = Clone(tmp_path, variables).run("run", "--raw", "nowhere", code=1)
    assert "could not notify 127.0.0.1 (NOTIFY_URL): " in said
    assert TOKEN not in said


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NOTIFY_URL": "hooks.example/t0ken"}, "NOTIFY_URL .hidden"),
        ({"NOTIFY_URL": "https://me:t0ken@hooks.example"}, "NOTIFY_URL .hidden"),
        ({"NOTIFY_URL": "http://x/\0t0ken"}, "NOTIFY_URL .hidden"),
        ({"NOTIFY_ALWAYS": "yes"}, "NOTIFY_ALWAYS='yes': expected 0 or 1"),
    ],
)
def test_bad_ones_are_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        Notifier.read(variables)
    assert "t0ken" not in str(caught.value)
