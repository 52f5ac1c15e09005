"""The images and the Compose file, built and run as the README says."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from lookup import contract
from tests import movielens
from tests.conftest import free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("xgboost", "mlflow", "duckdb", "pyarrow", "numpy", "pandas", "batch")
SETTINGS = ("MOVIELENS_URL", "TOP_N", "K_DEFAULT", "LOOKUP_API_KEY")
SERVICES = ("redis", "mlflow", "lookup")
RUN = ("run", "--rm", "-T", "batch", "run", "--quiet", "--json")


@dataclass(frozen=True)
class Stack:
    """A Compose project beside any other, with ports and volumes of its own."""

    raw: Path
    project: str = field(default_factory=lambda: f"movielens-{secrets.token_hex(4)}")
    lookup_port: int = field(default_factory=free_port)
    redis_port: int = field(default_factory=free_port)
    mlflow_port: int = field(default_factory=free_port)

    def compose(self, *arguments: str) -> str:
        """Run one command of Compose and return what it printed."""
        # the .env of whoever works here is not for us
        program = ["docker", "compose", "--progress", "quiet", "--env-file", os.devnull]
        return checked([*program, *arguments], self._environment())

    def remove(self) -> None:
        """Remove the containers, the volumes and the images."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
        images = [self.image(name) for name in ("mlflow", "batch", "lookup")]
        subprocess.run(["docker", "image", "rm", *images], capture_output=True)

    def image(self, service: str) -> str:
        """Name the image that a service is built as."""
        return f"{self.project}-{service}"

    def container(self, service: str) -> dict[str, Any]:
        """Tell all about a service's container."""
        identity = self.compose("ps", "--all", "--quiet", service).strip()
        described: list[dict[str, Any]] = json.loads(
            checked(["docker", "inspect", identity])
        )
        return described[0]

    def get(self, path: str) -> httpx.Response:
        """Ask the API."""
        return httpx.get(f"http://127.0.0.1:{self.lookup_port}{path}", timeout=10)

    def prod(self, **headers: str) -> httpx.Response:
        """Ask MLflow, as its published port shows it, for the version in production."""
        path = "/api/2.0/mlflow/registered-models/alias?name=MovieLensXGB&alias=prod"
        url = f"http://127.0.0.1:{self.mlflow_port}{path}"
        return httpx.get(url, headers=headers, timeout=30)

    def status_of(self, path: str) -> int | None:
        """Tell with which status the API answers, None where it does not."""
        try:
            return self.get(path).status_code
        except httpx.TransportError:
            return None

    def wait_until_ready(self) -> dict[str, Any]:
        """Wait until the API can recommend; return what it serves."""
        wait_until(lambda: self.status_of("/ready") == httpx.codes.OK, seconds=60)
        served: dict[str, Any] = self.get("/ready").json()
        return served

    def _environment(self) -> dict[str, str]:
        environment = {
            name: value for name, value in os.environ.items() if name not in SETTINGS
        }
        return environment | {
            "COMPOSE_PROJECT_NAME": self.project,
            "MOVIELENS_RAW": str(self.raw),
            "LOOKUP_BIND": "127.0.0.1",
            "LOOKUP_PORT": str(self.lookup_port),
            "REDIS_PORT": str(self.redis_port),
            "MLFLOW_PORT": str(self.mlflow_port),
        }


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Bring everything up from nothing, once for all tests here."""
    if "docker" not in request.config.getoption("markexpr"):
        pytest.skip("NOT ASKED FOR: containers are tried with pytest -m docker")
    if not succeeds("docker", "info") or not succeeds("docker", "compose", "version"):
        pytest.skip("NO DOCKER: no engine answers, or it has no Compose v2")
    stack = Stack(movielens.ml_100k())
    try:
        stack.compose("up", "--detach", "--build")
        yield stack
    finally:
        stack.remove()


@pytest.fixture
def stack(project: Stack) -> Stack:
    """Give the project while it serves."""
    project.wait_until_ready()
    return project


def test_the_compose_file_is_valid_for_compose_v2() -> None:
    """Compose reads it, with settings and without any."""
    if not succeeds("docker", "compose", "version"):
        pytest.skip("NO COMPOSE: the docker compose plugin is not installed")
    config = ["docker", "compose", "--env-file", os.devnull, "config", "--quiet"]
    checked(config, cwd=ROOT)
    checked(config, os.environ | {"MOVIELENS_RAW": "data/raw", "TOP_N": "50"}, cwd=ROOT)


@pytest.mark.docker
def test_one_command_brings_up_what_redis_cli_shows(stack: Stack) -> None:
    """The batch has bootstrapped, and the API answers with what is in Redis."""
    answer = stack.get("/recommend/42?k=5").json()
    key = contract.user_key(answer["generation"], 42)
    listed = stack.compose("exec", "-T", "redis", "redis-cli", "LRANGE", key, "0", "4")
    found = [entry.split(":") for entry in listed.split()]
    assert [item["item_id"] for item in answer["items"]] == [int(i) for i, _ in found]
    assert [item["score"] for item in answer["items"]] == [float(s) for _, s in found]
    with redis.Redis(port=stack.redis_port, decode_responses=True) as client:
        assert client.get(contract.CURRENT) == answer["generation"]


@pytest.mark.docker
def test_every_service_becomes_healthy(stack: Stack) -> None:
    """The health checks pass, and the batch has ended well."""
    for service in SERVICES:
        wait_until(lambda name=service: health(stack, name) == "healthy", seconds=60)
    assert stack.container("batch")["State"]["ExitCode"] == 0


@pytest.mark.docker
def test_the_lookup_image_holds_nothing_of_the_batch(stack: Stack) -> None:
    """Of what the batch computes with, nothing can be imported."""
    code = (
        "import importlib.util, sys; "
        "print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    )
    program = ["docker", "run", "--rm", "--entrypoint", "python"]
    found = checked([*program, stack.image("lookup"), "-c", code, *HEAVY, "starlette"])
    assert found.strip() == "['starlette']"


@pytest.mark.docker
@pytest.mark.parametrize("name", ["batch", "lookup"])
def test_an_image_does_not_run_as_root(stack: Stack, name: str) -> None:
    """Even without Compose."""
    program = ["docker", "run", "--rm", "--entrypoint", "id", stack.image(name), "-u"]
    assert checked(program).strip() == "10001"


@pytest.mark.docker
@pytest.mark.parametrize("service", [*SERVICES, "batch"])
def test_a_container_is_locked_down(stack: Stack, service: str) -> None:
    """It cannot write to its image, has no capabilities and gains none."""
    host = stack.container(service)["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert stack.container(service)["Config"]["User"] not in ("", "root", "0")


@pytest.mark.docker
def test_only_this_machine_reaches_redis_and_mlflow(stack: Stack) -> None:
    """Neither of them asks for a password."""
    assert stack.compose("port", "redis", "6379").startswith("127.0.0.1:")
    assert stack.compose("port", "mlflow", "5000").startswith("127.0.0.1:")


@pytest.mark.docker
def test_mlflow_shows_prod_and_refuses_other_names(stack: Stack) -> None:
    """A page that resolves its own name to this machine learns nothing."""
    assert stack.prod().json()["model_version"]["aliases"] == ["prod"]
    assert stack.prod(host="evil.example").status_code == httpx.codes.FORBIDDEN


@pytest.mark.docker
def test_a_run_skips_and_a_forced_run_is_served(stack: Stack) -> None:
    """What cron calls does nothing twice, and the API follows without a restart."""
    before = stack.get("/ready").json()["generation"]
    skipped = json.loads(stack.compose(*RUN))
    assert (skipped["skipped"], skipped["generation"]) == (True, before)
    forced = json.loads(stack.compose(*RUN, "--force"))
    assert (forced["skipped"], forced["promoted"]) == (False, False)
    assert stack.get("/recommend/42").json()["generation"] == forced["generation"]
    assert forced["generation"] != before


@pytest.mark.docker
def test_without_redis_the_api_says_so_and_recovers(stack: Stack) -> None:
    """503 while Redis is away; the same answer as soon as it is back."""
    before = stack.get("/recommend/42").json()
    stack.compose("kill", "redis")
    try:
        refused = stack.get("/recommend/42")
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert "retry-after" in refused.headers
        assert stack.get("/health").status_code == httpx.codes.OK
    finally:
        stack.compose("start", "redis")
    stack.wait_until_ready()
    assert stack.get("/recommend/42").json() == before


@pytest.mark.docker
def test_the_volumes_outlive_the_containers(stack: Stack) -> None:
    """Down and up again: the same model and lists, and nothing is trained."""
    before = stack.wait_until_ready()
    stack.compose("down")
    stack.compose("up", "--detach")
    assert stack.wait_until_ready() == before
    assert stack.prod().json()["model_version"]["version"] == "1"
    assert "skipped        True" in stack.compose("logs", "--no-log-prefix", "batch")


def succeeds(*program: str) -> bool:
    """Tell whether a program is there and succeeds."""
    if shutil.which(program[0]) is None:
        return False
    return subprocess.run(program, capture_output=True).returncode == 0


def checked(
    program: list[str], environment: dict[str, str] | None = None, cwd: Path = ROOT
) -> str:
    """Run a program that must succeed; return its stdout."""
    done = subprocess.run(
        program, env=environment, cwd=cwd, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
    return done.stdout


def health(stack: Stack, service: str) -> str:
    """Tell what a service's health check says."""
    status: str = stack.container(service)["State"]["Health"]["Status"]
    return status
