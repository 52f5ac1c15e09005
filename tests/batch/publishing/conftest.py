"""A cluster of three nodes, and clients of it and of one server."""

from collections.abc import Iterator

import pytest

from batch.publishing import connections
from batch.publishing.connections import Client
from tests.cluster import Cluster, clustered


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


@pytest.fixture(params=["redis_url", "cluster"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client as the batch opens it, of one server and of a cluster."""
    server = request.getfixturevalue(request.param)
    with connections.connect(getattr(server, "url", server)) as client:
        yield client
