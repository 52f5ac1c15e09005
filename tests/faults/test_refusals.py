"""A Redis or an MLflow that a batch cannot work with: one line, and nothing changes."""

import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.batch.ingest.file_server import Reply, serving
from tests.conftest import KEYS, RedisServer, free_port
from tests.faults.batches import Clone
from tests.faults.kills import Site, content
from tests.faults.proxy import proxy

pytestmark = pytest.mark.slow

SECONDS = 15
"""Within which a batch must have reported that it cannot work."""

ANSWERS_LATE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
PASSWORD = "hunter2-not-to-be-shown"  # noqa: S105


def clone_with(site: Site, variables: Mapping[str, str]) -> Clone:
    """Return a clone with the site's raw files and models, and settings of its own.

    It has a folder of its own: a run removes the files of generations that its Redis
    does not hold.
    """
    folder = site.clone.folder / "other"
    folder.mkdir(exist_ok=True)
    shared = {
        "MOVIELENS_RAW": str(site.clone.folder / "world.zip"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{site.clone.folder}/mlruns/mlflow.db",
    }
    return Clone(folder, {**site.clone.variables, **shared, **variables})


def refusal(site: Site, variables: Mapping[str, str]) -> str:
    """Run what must fail and change nothing; return its one line."""
    former, began_at = site.served, time.monotonic()
    line = clone_with(site, variables).failure("run", "--force")
    assert time.monotonic() - began_at < SECONDS
    assert PASSWORD not in line
    assert site.served == former
    site.check_served(site.length)
    assert not site.client.exists(KEYS.lock)
    return line


def redis_url(server: RedisServer, user: str = "", database: int = 0) -> dict[str, str]:
    """Name a server in the settings."""
    return {"REDIS_URL": f"redis://{user}127.0.0.1:{server.port}/{database}"}


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "allkeys-random"])
def test_a_redis_that_drops_keys(
    site: Site, own_server: RedisServer, policy: str
) -> None:
    """The setting is named before anything is scored, and nothing is written."""
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", policy)
        line = refusal(site, redis_url(own_server))
        assert f"its maxmemory-policy is {policy}" in line
        assert line.endswith("set maxmemory-policy to noeviction")
        assert client.dbsize() == 0


def test_a_redis_that_would_drop_keys_if_it_had_a_limit(
    site: Site, own_server: RedisServer
) -> None:
    """It has none: the run goes on, with a warning."""
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    said = clone_with(site, redis_url(own_server)).run("run")
    assert "has the maxmemory-policy allkeys-lru; with a maxmemory" in said


def test_a_redis_that_is_full(site: Site, own_server: RedisServer) -> None:
    """It serves the former lists, and nothing half-written is left."""
    variables = redis_url(own_server)
    clone = clone_with(site, variables)
    clone.run("run")
    with redis.Redis.from_url(own_server.url, decode_responses=True) as client:
        generation = str(client.get(KEYS.current))
        before = content(client, generation)
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", used + 60_000)
        assert "it is full: give it more memory" in refusal(site, variables)
        assert client.get(KEYS.current) == generation
        assert content(client, generation) == before
        client.config_set("maxmemory", 0)
        clone.run("run", "--force")
        names = map(str, client.scan_iter("recs:*"))
        held = set(client.zrange(KEYS.generations, 0, -1))
        assert {KEYS.generation_of(name) for name in names} == {None, *held}


def test_a_redis_that_is_a_replica(site: Site, own_server: RedisServer) -> None:
    """The message names its primary, which the user meant."""
    primary = site.clone.variables["REDIS_URL"].rsplit(":", 1)[1].split("/")[0]
    with redis.Redis.from_url(own_server.url) as client:
        client.replicaof("127.0.0.1", primary)
    line = refusal(site, redis_url(own_server))
    assert f"is a replica of 127.0.0.1 port {primary}" in line
    assert "name the primary in REDIS_URL" in line


def test_a_redis_that_wants_another_password(
    site: Site, own_server: RedisServer
) -> None:
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("requirepass", "right")
    for user in ("", f":{PASSWORD}@", f"nobody:{PASSWORD}@"):
        line = refusal(site, redis_url(own_server, user))
        assert "are user and password in REDIS_URL right?" in line


@pytest.mark.parametrize(
    "rights", ["~recs:* +@all -eval -script", "~x:* +@all", "+ping"]
)
def test_a_redis_whose_user_may_not_write(
    site: Site, own_server: RedisServer, rights: str
) -> None:
    with redis.Redis.from_url(own_server.url) as client:
        rule = ["ACL", "SETUSER", "batch", "on", f">{PASSWORD}", *rights.split()]
        client.execute_command(*rule)
        line = refusal(site, redis_url(own_server, f"batch:{PASSWORD}@"))
        assert "give its user the right to read and write recs:*" in line
        assert client.get(KEYS.current) is None


def test_an_address_without_a_redis(site: Site, own_server: RedisServer) -> None:
    """Nothing listens there, or something that speaks HTTP, or the name is unknown."""
    nothing = {"REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0"}
    assert "is the server up and REDIS_URL right?" in refusal(site, nothing)
    with serving(Reply(b"hello")) as web:
        line = refusal(site, {"REDIS_URL": f"redis://127.0.0.1:{web.port}/0"})
        assert f"Redis at redis://127.0.0.1:{web.port}/0 failed" in line
    nowhere = {"REDIS_URL": "redis://no.such.host.invalid:6379/0"}
    assert "is the server up and REDIS_URL right?" in refusal(site, nowhere)
    database = redis_url(own_server, database=99)
    assert "is the database in REDIS_URL right?" in refusal(site, database)


WEB: dict[str, tuple[Reply, str]] = {
    "500": (Reply(b"oops", 500), "500 error responses); is MLFLOW_"),
    "502 of a gateway": (
        Reply(b"<html>bad gateway</html>", 502),
        "502 error responses",
    ),
    "401": (Reply(b'{"message": "who?"}', 401), "who?"),
    "a page": (Reply(b"<html><style>p{}</style>hello</html>"), "MLFLOW_TRACKING_URI"),
    "nothing": (Reply(b""), "the server answered with version ''"),
    "less than it says": (Reply(b"{", length=99), "Connection broken"),
    "half of JSON": (Reply(b'{"model_version": {'), "MLFLOW_TRACKING_URI"),
    "a version that is none": (
        Reply(b'{"model_version": {"name": "MovieLensXGB", "version": "../1"}}'),
        "the server answered with version '../1'",
    ),
}


@pytest.mark.parametrize("fault", WEB)
def test_a_server_that_is_no_mlflow(site: Site, fault: str) -> None:
    """Its message is passed on without markup."""
    reply, expected = WEB[fault]
    with serving(reply) as web:
        uri = f"http://user:{PASSWORD}@127.0.0.1:{web.port}"
        line = refusal(site, {"MLFLOW_TRACKING_URI": uri, **ANSWERS_LATE})
    assert f"in MLflow at http://…@127.0.0.1:{web.port}: " in line
    assert expected in line
    assert "<" not in line


def test_a_server_that_redirects_for_ever(site: Site) -> None:
    with serving(Reply(status=302, to="/again")) as web:
        uri = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{web.port}"}
        line = refusal(site, uri | ANSWERS_LATE)
    assert "Exceeded 30 redirects" in line


def test_a_server_that_never_answers(site: Site) -> None:
    """One that takes connections, and one that refuses them."""
    with serving(Reply(b"{}")) as web, proxy(web.port) as line:
        line.is_deaf = True
        uri = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{line.port}"}
        said = refusal(site, uri | ANSWERS_LATE)
        line.well()
    assert "timed out" in said
    said = refusal(site, {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"})
    assert "Connection refused" in said


def test_a_host_that_does_not_exist(site: Site) -> None:
    uri = {"MLFLOW_TRACKING_URI": "http://no.such.host.invalid:5000"}
    assert "Failed to resolve" in refusal(site, uri | ANSWERS_LATE)


def store(site: Site, folder: Path, change: Callable[[Path], object]) -> dict[str, str]:
    """Copy the site's MLflow database, change the copy, and return its address."""
    source, database = site.clone.folder / "mlruns/mlflow.db", folder / "mlflow.db"
    database.write_bytes(source.read_bytes())
    change(database)
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{database}"}


def of_no_known_version(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("update alembic_version set version_num = 'f00f00f00f00'")


def without_tables(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("drop table registered_model_aliases")


def malformed(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    database.write_bytes(content)


def a_folder(database: Path) -> None:
    database.unlink()
    database.mkdir()


STORES: dict[str, tuple[Callable[[Path], object], str]] = {
    "another version": (of_no_known_version, "of another version of MLflow; install"),
    "a table is gone": (without_tables, "no such table"),
    "malformed": (malformed, "database disk image is malformed"),
    "no database": (lambda path: path.write_text("hello"), "file is not a database"),
    "a folder": (a_folder, "unable to open database file"),
}


@pytest.mark.parametrize("fault", STORES)
def test_a_store_that_is_of_no_use(site: Site, tmp_path: Path, fault: str) -> None:
    change, expected = STORES[fault]
    variables = store(site, tmp_path, change)
    line = refusal(site, variables)
    assert f"in MLflow at sqlite:///{tmp_path}/mlflow.db" in line
    assert expected in line


def test_a_store_that_another_process_locks(site: Site, tmp_path: Path) -> None:
    variables = store(site, tmp_path, lambda _: None)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("begin exclusive")
        line = refusal(site, variables)
    assert "its database is locked; another process holds it" in line
