"""One Compose project for all tests of containers: it takes minutes to bring up."""

from collections.abc import Iterator

import pytest

from tests import movielens
from tests.containers.stack import Stack, succeeds


@pytest.fixture(scope="session")
def project(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Bring everything up from nothing."""
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
