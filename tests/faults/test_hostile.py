"""Every request gets a response in form, and Redis gets no other commands."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from lookup.shared import contract
from lookup.shared.contract import About, History
from tests.conftest import KEYS, RedisServer, publish
from tests.faults import hostile
from tests.faults.lookups import lookup
from tests.lookup.programs import ask

OURS = re.compile(
    r"recs:(current|blocked|forgotten)|recs:g1:(meta|items|popular|trending|new|about)"
    r"|recs:g1:(user|because|history|similar|next):[1-9][0-9]{0,999}"
)
"""The keys that a request may make a lookup read."""
VERBS = {"GET", "LRANGE", "HGETALL", "SMEMBERS"}
KEY = "Geheim-0815"


@contextmanager
def monitored(port: int) -> Iterator[list[list[str]]]:
    """Collect all commands that a Redis gets within a block, by their words."""
    commands: list[list[str]] = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as monitor:
        monitor.sendall(b"MONITOR\r\n")
        reader = monitor.makefile("rb")
        assert reader.readline() == b"+OK\r\n"
        yield commands
        with socket.create_connection(("127.0.0.1", port), timeout=10) as other:
            other.sendall(b'ECHO "the end"\r\n')
            assert other.recv(100)
        for line in reader:
            words = re.findall(r'"((?:[^"\\]|\\.)*)"', line.decode())
            if words == ["ECHO", "the end"]:
                break
            commands.append(words)


@pytest.mark.parametrize("key", ["", KEY])
def test_hostile_requests_get_responses_in_form(
    tmp_path: Path, own_server: RedisServer, key: str
) -> None:
    """Also where they are not HTTP. Redis and the log notice nothing."""
    with redis.Redis.from_url(own_server.url) as client:
        publish(client)
        history = contract.encode_history(History(1, [(50, 5.0)], [(50, 5.0)]))
        client.set(KEYS.of("g1").history(42), history)
        about = About(3, 9, ["Action"], [7, 42], None, {})
        client.set(KEYS.of("g1").about, contract.encode_about(about))
    requests = hostile.corpus()
    settings = {"REDIS_URL": own_server.url, "LOOKUP_API_KEY": key}
    with lookup(tmp_path, **settings) as served, monitored(own_server.port) as commands:
        for name, data in requests.items():
            is_whole = name not in hostile.GARBAGE
            answers = hostile.exchange(served.port, data, is_whole=is_whole)
            assert all(answer.is_as_agreed() for answer in answers), (name, answers)
            assert answers or not is_whole, name
            if key and is_whole:
                open_to_all = {200, 401, 422}
                assert {answer.status for answer in answers} <= open_to_all, name
        assert ask(served.port, "/health").status_code == 200
        log = served.logged()
    assert commands or key
    for verb, *rest in commands:
        assert verb in VERBS, (verb, rest)
        assert OURS.fullmatch(rest[0]), (verb, rest)
    assert "Traceback" not in log
    # it starts, and then serves a generation: garbage does not fill the log
    assert len(log.splitlines()) <= 3, log


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize(
    "nonsense",
    [b"\x00\x01\r\n\r\n", b"GET http://x HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"],
)
def test_garbage_takes_no_response_from_requests_before_it(
    tmp_path: Path, own_server: RedisServer, n: int, nonsense: bytes
) -> None:
    with redis.Redis.from_url(own_server.url) as client:
        publish(client)
    requests = b"GET /recommend/42?k=2 HTTP/1.1\r\nHost: x\r\n\r\n" * n
    with lookup(tmp_path, REDIS_URL=own_server.url) as served:
        answers = hostile.exchange(served.port, requests + nonsense)
        assert [answer.status for answer in answers] == [200] * n
        (refused,) = hostile.exchange(served.port, nonsense)
    assert (refused.status, refused.headers["connection"]) == (422, "close")
    assert refused.is_as_agreed()


@pytest.mark.parametrize("mode", ["errors", "requests"])
def test_a_key_is_never_logged_wherever_a_client_puts_it(
    tmp_path: Path, redis_url: str, redis_client: "redis.Redis", mode: str
) -> None:
    publish(redis_client)
    key = KEY.encode()
    spelled = b"".join(b"%%%02X" % byte for byte in key)
    attempts = [
        hostile.get(b"/recommend/42?key=" + key),
        hostile.get(b"/recommend/42?X-API-Key=" + spelled, b"X-API-Key: " + key),
        hostile.get(b"/recommend/" + key, b"X-API-Key: " + key),
        hostile.get(b"/" + spelled, b"X-API-Key: " + key),
        hostile.get(b"/popular", b"X-Request-ID: " + key),
        hostile.get(b"/popular", b"X-API-Key : " + key),
        hostile.get(b"/popular", b"X-API-Key: " + key + b"\x00"),
        hostile.get(b"/popular", b"X-API-Key: " + key + b"x"),
        hostile.get(b"/popular", b"X-API-Key: " + key.lower()),
        hostile.get(b"/popular", b"X-API-Key: wrong", b"X-API-Key: " + key),
        hostile.get(b"/popular", b"Authorization: Bearer " + key),
        hostile.get(b"/popular", b"Referer: http://x/?key=" + key),
        hostile.get(b"/popular", b"Cookie: key=" + key),
        b"GET /popular HTTP/1.1\r\n" + key + b"\r\n\r\n",
        key,
        hostile.get(b"http://x:" + key + b"@y/recommend/42", b"X-API-Key: " + key),
    ]
    settings = {"LOOKUP_API_KEY": KEY, "LOOKUP_LOG": mode}
    with lookup(tmp_path, REDIS_URL=redis_url, **settings) as served:
        statuses = [
            answer.status
            for data in attempts
            for answer in hostile.exchange(served.port, data, is_whole=False)
        ]
        right = hostile.get(b"/popular", b"X-API-Key: " + key)
        assert hostile.exchange(served.port, right)[0].status == 200
        log = served.logged()
    assert set(statuses) == {200, 401, 404, 422}  # 200: sent as Bearer
    assert KEY.lower() not in log.lower()
