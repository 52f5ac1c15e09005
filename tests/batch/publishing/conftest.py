"""A cluster of three nodes, and clients of it and of one server."""

from collections.abc import Iterator

import pytest
import redis

from batch.publishing import connections
from batch.publishing.connections import Client
from tests.cluster import Cluster, clustered
from tests.conftest import KEYS


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster a worker."""
    with clustered(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Cluster:
    """The cluster, emptied for this test."""
    running_cluster.flush()
    return running_cluster


@pytest.fixture
def single(redis_client: redis.Redis) -> Client:
    """A client of one server."""
    return Client(redis_client, KEYS)


@pytest.fixture(params=["redis_url", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of one server, and of a cluster."""
    server = request.getfixturevalue(request.param)
    return str(getattr(server, "url", server))


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client as the batch opens it."""
    with connections.connect(url) as client:
        yield client
