"""The images and the Compose file, built and run as the README says."""

import json
import os
from pathlib import Path

import httpx
import pytest
import redis

from tests.conftest import KEYS, wait_until
from tests.containers.stack import SERVICES, Stack, checked, succeeds

pytestmark = pytest.mark.docker

HEAVY = ("xgboost", "mlflow", "duckdb", "pyarrow", "numpy", "pandas", "batch")
RUN = ("run", "--rm", "-T", "batch", "run", "--quiet", "--json")


def test_the_compose_file_is_valid_for_compose_v2() -> None:
    """Compose reads it, with settings and without any."""
    if not succeeds("docker", "compose", "version"):
        pytest.skip("NO COMPOSE: the docker compose plugin is not installed")
    config = ["docker", "compose", "--env-file", os.devnull, "config", "--quiet"]
    checked(config)
    checked(config, os.environ | {"MOVIELENS_RAW": "data/raw", "TOP_N": "50"})


def test_one_command_brings_up_what_redis_cli_shows(stack: Stack) -> None:
    """The batch has bootstrapped, and the API answers with what is in Redis."""
    answer = stack.get("/recommend/42?k=5").json()
    key = KEYS.of(answer["generation"]).user(42)
    listed = stack.compose("exec", "-T", "redis", "redis-cli", "LRANGE", key, "0", "4")
    found = [entry.split(":") for entry in listed.split()]
    assert [item["item_id"] for item in answer["items"]] == [int(i) for i, _ in found]
    assert [item["score"] for item in answer["items"]] == [float(s) for _, s in found]
    with redis.Redis(port=stack.redis_port, decode_responses=True) as client:
        assert client.get(KEYS.current) == answer["generation"]


def test_every_service_becomes_healthy(stack: Stack) -> None:
    """The health checks pass, and the batch has ended well."""
    for service in SERVICES:
        wait_until(lambda name=service: stack.health(name) == "healthy", seconds=60)
    assert stack.container("batch")["State"]["ExitCode"] == 0


def test_the_lookup_image_holds_nothing_of_the_batch(stack: Stack) -> None:
    """None of the batch's libraries can be imported."""
    code = (
        "import importlib.util, sys; "
        "print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    )
    program = ["docker", "run", "--rm", "--entrypoint", "python"]
    found = checked([*program, stack.image("lookup"), "-c", code, *HEAVY, "starlette"])
    assert found.strip() == "['starlette']"


@pytest.mark.parametrize("name", ["batch", "lookup"])
def test_an_image_does_not_run_as_root(stack: Stack, name: str) -> None:
    """Even without Compose."""
    program = ["docker", "run", "--rm", "--entrypoint", "id", stack.image(name), "-u"]
    assert checked(program).strip() == "10001"


def test_mlflow_shows_prod_and_refuses_other_names(stack: Stack) -> None:
    """A page that resolves its own name to this machine learns nothing."""
    assert stack.prod().json()["model_version"]["aliases"] == ["prod"]
    assert stack.prod(host="evil.example").status_code == httpx.codes.FORBIDDEN


def test_a_run_skips_and_a_forced_run_is_served(stack: Stack) -> None:
    """The second run skips, and the API follows a forced one without a restart."""
    before = stack.get("/ready").json()["generation"]
    skipped = json.loads(stack.compose(*RUN))
    assert (skipped["skipped"], skipped["generation"]) == (True, before)
    forced = json.loads(stack.compose(*RUN, "--force"))
    assert (forced["skipped"], forced["promoted"]) == (False, False)
    assert stack.get("/recommend/42").json()["generation"] == forced["generation"]
    assert forced["generation"] != before


def test_the_volumes_outlive_the_containers(stack: Stack) -> None:
    """Down and up again: the same model and lists, no training."""
    before = stack.wait_until_ready()
    stack.compose("down")
    stack.compose("up", "--detach")
    assert stack.wait_until_ready() == before
    assert stack.prod().json()["model_version"]["version"] == "1"
    assert "skipped        True" in stack.compose("logs", "--no-log-prefix", "batch")


def test_a_batch_that_fails_keeps_the_api_from_nothing(
    stack: Stack, tmp_path: Path
) -> None:
    """Even where `up` has a new one to start: it serves the lists before."""
    before = stack.wait_until_ready()
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "u.data").write_text("1\t1\t9\t881250949\n")
    tmp_path.chmod(0o755)
    try:
        stack.compose("up", "--detach", MOVIELENS_RAW=str(raw), K_DEFAULT="3")
        assert stack.container("batch")["State"]["ExitCode"] == 1
        assert stack.wait_until_ready() == before
        assert len(stack.get("/recommend/42").json()["items"]) == 3
    finally:
        stack.compose("up", "--detach")
    assert stack.wait_until_ready() == before


def test_secrets_are_read_from_files_and_shown_nowhere(
    stack: Stack, tmp_path: Path
) -> None:
    """With a password for Redis, of any characters, and a key for the API."""
    texts = {"REDIS_PASSWORD": "p\"a $w`ör'd\\#", "LOOKUP_API_KEY": "the-key"}
    for name, text in texts.items():
        (tmp_path / name).write_text(f"{text}\n")
    tmp_path.chmod(0o755)
    files = {f"{name}_FILE": str(tmp_path / name) for name in texts}
    try:
        stack.compose("up", "--detach", **files)
        wait_until(lambda: stack.health("redis") == "healthy", seconds=60)
        stack.wait_until_ready()
        assert stack.get("/recommend/42").status_code == httpx.codes.UNAUTHORIZED
        answer = stack.get("/recommend/42", **{"X-API-Key": texts["LOOKUP_API_KEY"]})
        assert answer.status_code == httpx.codes.OK
        with (
            redis.Redis(port=stack.redis_port) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()
        password = texts["REDIS_PASSWORD"]
        with redis.Redis(port=stack.redis_port, password=password) as client:
            assert client.ping()
        status = stack.compose("run", "--rm", "-T", "batch", "status", **files)
        assert "redis://…@redis:6379/0" in status
        shown = [json.dumps(stack.container(name)) for name in (*SERVICES, "batch")]
        shown.append(stack.compose("logs", **files))
        for text in texts.values():
            assert not [page for page in shown if json.dumps(text)[1:-1] in page]
    finally:
        stack.compose("up", "--detach")
    assert stack.wait_until_ready()
    assert stack.get("/recommend/42").status_code == httpx.codes.OK
