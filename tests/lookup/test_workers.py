"""Several workers behind one port."""

import json
import os
import signal
import subprocess
import threading
import time

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import KEYS, RedisServer, publish, wait_until
from tests.lookup.programs import Served, Start, ask, started

pytestmark = pytest.mark.slow


@pytest.fixture
def served(start: Start, redis_url: str, redis_client: "redis.Redis") -> Served:
    """Serve two generations with two workers; give the port and the parent."""
    publish(redis_client, "g1", model_version="1")
    publish(redis_client, "g2", model_version="2", current=False)
    return started(start, "--workers", 2, REDIS_URL=redis_url)


def generation(port: int) -> str:
    """Ask on a new connection, which any worker may take, for the generation."""
    body = ask(port, "/recommend/42?k=1").json()
    assert body["model_version"] == body["generation"][1:]
    name: str = body["generation"]
    return name


def counted(port: int) -> dict[str, float]:
    """Give the requests for lists, by status, as one worker reports them."""
    families = text_string_to_metric_families(ask(port, "/metrics").text)
    return {
        sample.labels["status"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "lookup_requests_total"
        and sample.labels["route"] == "/recommend/{user_id}"
    }


def workers_of(pid: int) -> list[int]:
    """Find the workers of a lookup, without the helper of multiprocessing."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, command in lines if "spawn_main" in command]


def test_all_workers_see_a_flip_within_a_second(
    served: Served, redis_client: "redis.Redis"
) -> None:
    """However hot the list is in their caches."""
    port, _ = served
    for name in ("g2", "g1", "g2"):
        for _ in range(20):
            generation(port)
        redis_client.set(KEYS.current, name)
        time.sleep(0.25)
        assert {generation(port) for _ in range(40)} == {name}


def test_all_workers_leave_out_an_item_within_a_second_of_its_being_blocked(
    served: Served, redis_client: "redis.Redis"
) -> None:
    port, _ = served

    def first() -> int:
        item: dict[str, int] = ask(port, "/recommend/42?k=1").json()["items"][0]
        return item["item_id"]

    for _ in range(2):
        assert {first() for _ in range(20)} == {50}
        redis_client.sadd(KEYS.blocked, 50)
        time.sleep(0.25)
        assert {first() for _ in range(40)} == {73}
        redis_client.srem(KEYS.blocked, 50)
        time.sleep(0.25)


def test_metrics_are_those_of_all_workers_even_killed_ones(served: Served) -> None:
    port, program = served
    for n in (30, 60):
        for _ in range(30):
            generation(port)
        ask(port, "/recommend/x")
        assert [counted(port) for _ in range(10)] == [{"200": n, "422": n / 30}] * 10
    wait_until(lambda: len(workers_of(program.pid)) == 2)
    before = workers_of(program.pid)
    os.kill(before[0], signal.SIGKILL)

    def is_replaced() -> bool:
        now = workers_of(program.pid)
        return len(now) == 2 and before[0] not in now

    wait_until(is_replaced, 20)
    assert generation(port) == "g1"
    assert [counted(port) for _ in range(20)] == [{"200": 61, "422": 2}] * 20


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_that_waits_for_redis_is_answered_before_the_end(
    start: Start, own_server: RedisServer, workers: int
) -> None:
    with redis.Redis.from_url(own_server.url) as client:
        publish(client)
    port, program = started(start, "--workers", workers, REDIS_URL=own_server.url)
    assert own_server.process is not None
    own_server.pause()
    answers: list[httpx.Response] = []
    thread = threading.Thread(
        target=lambda: answers.append(ask(port, "/recommend/42?k=2"))
    )
    thread.start()
    time.sleep(0.3)
    program.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    own_server.process.send_signal(signal.SIGCONT)
    thread.join()
    assert answers[0].status_code == 200
    assert len(answers[0].json()["items"]) == 2
    program.communicate(timeout=10)
    assert program.returncode == 0


def test_the_log_is_json_and_never_shows_the_key(
    start: Start, redis_url: str, redis_client: "redis.Redis"
) -> None:
    publish(redis_client)
    settings = {"LOOKUP_LOG": "requests", "LOOKUP_API_KEY": "secret-key"}
    port, program = started(start, REDIS_URL=redis_url, **settings)
    headers = {"X-API-Key": "secret-key", "X-Request-ID": "mine"}
    url = f"http://127.0.0.1:{port}"
    httpx.get(f"{url}/recommend/42?k=2", headers=headers)
    httpx.get(f"{url}/recommend/secret-key?x=secret-key", headers=headers)
    httpx.get(f"{url}/popular", headers={"X-API-Key": "wrong"})
    program.terminate()
    out, err = program.communicate(timeout=10)
    assert "secret-key" not in out + err
    lines = [json.loads(line) for line in err.splitlines()]
    requests = [line for line in lines if line.get("path", "/health") != "/health"]
    assert [line["status"] for line in requests] == [200, 422, 401]
    assert requests[0]["request_id"] == "mine"
