"""Several workers behind one port, and what they are asked while they end."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from lookup.shared import contract
from tests.conftest import RedisServer, free_port, publish, wait_until
from tests.lookup.programs import Start, ask, wait_for

pytestmark = pytest.mark.slow

SECOND = 1.0


@pytest.fixture
def port(start: Start, redis_url: str, redis_client: "redis.Redis") -> Iterator[int]:
    """Serve two generations with two workers, each of which has answered."""
    publish(redis_client, "g1", model_version="1")
    publish(redis_client, "g2", model_version="2", current=False)
    port = free_port()
    start("--port", port, "--workers", 2, REDIS_URL=redis_url)
    wait_for(port)
    yield port


def served(port: int) -> str:
    """Ask on a connection of its own, so that any worker may answer."""
    body = ask(port, "/recommend/42?k=1").json()
    assert body["model_version"] == body["generation"][1:]
    generation: str = body["generation"]
    return generation


def counted(port: int) -> dict[str, float]:
    """Sum the requests for lists that any worker tells of, by status."""
    families = text_string_to_metric_families(ask(port, "/metrics").text)
    return {
        sample.labels["status"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "lookup_requests_total"
        and sample.labels["route"] == "/recommend/{user_id}"
    }


def workers_of(pid: int) -> list[int]:
    """Find the workers of a lookup: not the helper of multiprocessing."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, command in lines if "spawn_main" in command]


def test_flip_and_rollback_are_seen_by_all(
    port: int, redis_client: "redis.Redis"
) -> None:
    """Within a second, whoever answers, however hot the list."""
    for name in ("g2", "g1", "g2"):
        for _ in range(20):
            served(port)
        redis_client.set(contract.CURRENT, name)
        time.sleep(SECOND / 4)
        assert {served(port) for _ in range(40)} == {name}


def test_flips_under_load_never_mix(port: int, redis_client: "redis.Redis") -> None:
    """Each answer is of one generation while it changes under both workers."""
    done = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(served(port))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        redis_client.set(contract.CURRENT, f"g{1 + number % 2}")
        time.sleep(0.05)
    done.set()
    for thread in threads:
        thread.join()
    assert seen == {"g1", "g2"}


def test_metrics_are_those_of_all_workers(port: int) -> None:
    """Whoever is asked tells of all, and a number never falls."""
    before = 0.0
    for n in (30, 60):
        for _ in range(30):
            served(port)
        ask(port, "/recommend/x")
        for _ in range(10):
            found = counted(port)
            assert found["200"] == n
            assert found["422"] >= before
            before = found["422"]


def test_metrics_survive_a_worker(
    start: Start, redis_url: str, redis_client: "redis.Redis"
) -> None:
    """One that is killed is replaced, and what it had counted is not lost."""
    publish(redis_client, "g1", model_version="1")
    port = free_port()
    program = start("--port", port, "--workers", 2, REDIS_URL=redis_url)
    wait_for(port)
    for _ in range(40):
        served(port)
    wait_until(lambda: len(workers_of(program.pid)) == 2)
    before = workers_of(program.pid)
    os.kill(before[0], signal.SIGKILL)

    def is_replaced() -> bool:
        now = workers_of(program.pid)
        return len(now) == 2 and before[0] not in now

    wait_until(is_replaced, 20)
    assert served(port) == "g1"
    assert {counted(port)["200"] for _ in range(20)} == {41}


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_in_flight_is_finished(
    start: Start, own_server: RedisServer, workers: int
) -> None:
    """A request that waits for Redis when the end is asked for gets its answer."""
    with redis.Redis.from_url(own_server.url) as client:
        publish(client)
    port = free_port()
    program = start("--port", port, "--workers", workers, REDIS_URL=own_server.url)
    wait_for(port)
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


def test_log_is_json_and_never_shows_the_key(
    start: Start, redis_url: str, redis_client: "redis.Redis"
) -> None:
    """A line a request where that is asked for, with the id that the client gave."""
    publish(redis_client)
    port = free_port()
    settings = {"LOOKUP_LOG": "requests", "LOOKUP_API_KEY": "secret-key"}
    program = start("--port", port, REDIS_URL=redis_url, **settings)
    wait_for(port)
    headers = {"X-API-Key": "secret-key", "X-Request-ID": "mine"}
    url = f"http://127.0.0.1:{port}"
    httpx.get(f"{url}/recommend/42?k=2", headers=headers)
    httpx.get(f"{url}/recommend/secret-key?x=secret-key", headers=headers)
    httpx.get(f"{url}/popular", headers={"X-API-Key": "wrong"})
    program.terminate()
    out, err = program.communicate(timeout=10)
    assert "secret-key" not in out + err
    lines = [json.loads(line) for line in err.splitlines()]
    (first,) = [line for line in lines if line.get("path") == "/recommend/42"]
    assert (first["request_id"], first["status"]) == ("mine", 200)
    assert [line["status"] for line in lines if "status" in line][-3:] == [
        200,
        422,
        401,
    ]
