"""A Compose project of its own, and helpers to ask and to break it."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    "MOVIELENS_URL",
    "TOP_N",
    "MAX_SHRINK",
    "K_DEFAULT",
    "REDIS_",
    "LOOKUP_",
    "MLFLOW_",
    "BATCH_",
)
"""Prefixes of settings, which a developer's shell may contain."""
SERVICES = ("redis", "mlflow", "lookup")
"""The services that keep running."""


@dataclass(frozen=True)
class Stack:
    """A project with its own ports and volumes."""

    raw: Path
    project: str = field(default_factory=lambda: f"movielens-{secrets.token_hex(4)}")
    lookup_port: int = field(default_factory=free_port)
    redis_port: int = field(default_factory=free_port)
    mlflow_port: int = field(default_factory=free_port)

    def compose(self, *arguments: str, **settings: str) -> str:
        """Run one command of Compose, which must succeed; return its stdout."""
        done = self.attempt(*arguments, **settings)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def attempt(
        self, *arguments: str, **settings: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run one command of Compose that may fail."""
        # not the developer's .env
        program = ["docker", "compose", "--progress", "quiet", "--env-file", os.devnull]
        return run([*program, *arguments], self._environment() | settings)

    def inside(
        self, service: str, command: str, *flags: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command of the shell in a service's container, which may fail."""
        return self.attempt("exec", "-T", *flags, service, "sh", "-c", command)

    def remove(self) -> None:
        """Remove the containers, the volumes and the images."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
        images = [self.image(name) for name in ("mlflow", "batch", "lookup")]
        subprocess.run(["docker", "image", "rm", *images], capture_output=True)

    def image(self, service: str) -> str:
        """Name the image that a service is built as."""
        return f"{self.project}-{service}"

    def container(self, service: str) -> dict[str, Any]:
        """Return what Docker knows about a service's container."""
        return inspected(self.compose("ps", "--all", "--quiet", service).strip())

    def health(self, service: str) -> str:
        """Return the status of a service's health check."""
        status: str = self.container(service)["State"]["Health"]["Status"]
        return status

    def is_well(self, service: str) -> bool:
        """Run a service's health check now."""
        container = self.container(service)
        kind, *words = container["Config"]["Healthcheck"]["Test"]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        return run(["docker", "exec", container["Id"], *command]).returncode == 0

    def kill_inside(self, service: str) -> int:
        """Kill all processes of a service; return its restarts so far.

        After `docker kill` an engine would not restart it.
        """
        container = self.container(service)
        restarts: int = container["RestartCount"]
        run(["docker", "exec", container["Id"], "sh", "-c", "kill -9 -1"])
        return restarts

    def wait_until_restarted(self, service: str, restarts: int) -> None:
        """Wait until a service runs once more than it was restarted."""

        def is_restarted() -> bool:
            container = self.container(service)
            is_running: bool = container["State"]["Running"]
            return container["RestartCount"] > restarts and is_running

        wait_until(is_restarted, seconds=60)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask the API."""
        url = f"http://127.0.0.1:{self.lookup_port}{path}"
        return httpx.get(url, headers=headers, timeout=10)

    def prod(self, **headers: str) -> httpx.Response:
        """Ask MLflow on its published port for `prod`."""
        path = "/api/2.0/mlflow/registered-models/alias?name=MovieLensXGB&alias=prod"
        url = f"http://127.0.0.1:{self.mlflow_port}{path}"
        return httpx.get(url, headers=headers, timeout=30)

    def status_of(self, path: str) -> int | None:
        """Return the status of the API's answer, None without one."""
        with suppress(httpx.TransportError):
            return self.get(path).status_code
        return None

    def wait_until_ready(self) -> dict[str, Any]:
        """Wait until the API can recommend; return what it serves."""
        wait_until(lambda: self.status_of("/ready") == httpx.codes.OK, seconds=60)
        served: dict[str, Any] = self.get("/ready").json()
        return served

    def _environment(self) -> dict[str, str]:
        inherited = [
            pair for pair in os.environ.items() if not pair[0].startswith(SETTINGS)
        ]
        return dict(inherited) | {
            "COMPOSE_PROJECT_NAME": self.project,
            "MOVIELENS_RAW": str(self.raw),
            "LOOKUP_BIND": "127.0.0.1",
            "LOOKUP_PORT": str(self.lookup_port),
            "REDIS_PORT": str(self.redis_port),
            "MLFLOW_PORT": str(self.mlflow_port),
        }


def succeeds(*program: str) -> bool:
    """Return whether a program exists and succeeds."""
    if shutil.which(program[0]) is None:
        return False
    return subprocess.run(program, capture_output=True).returncode == 0


def run(
    program: list[str], environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a program at the repository's root."""
    return subprocess.run(
        program, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=1800
    )


def checked(program: list[str], environment: Mapping[str, str] | None = None) -> str:
    """Run a program that must succeed; return its stdout."""
    done = run(program, environment)
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
    return done.stdout


def inspected(container: str) -> dict[str, Any]:
    """Return what Docker knows about a container."""
    (found,) = json.loads(checked(["docker", "inspect", container]))
    described: dict[str, Any] = found
    return described
