"""A Redis or an MLflow that a batch cannot work with: one line, and nothing is lost."""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import redis

from lookup.shared import contract
from tests.batch.ingest.file_server import Reply, serving
from tests.conftest import RedisServer, Tally, free_port, running, wait_until
from tests.faults.batches import Clone
from tests.faults.kills import Content, content
from tests.faults.proxy import proxy
from tests.test_end_to_end import write_world

pytestmark = pytest.mark.slow

SECONDS = 15
"""Until a batch must have said that it cannot."""

ANSWERS_LATE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
PASSWORD = "hunter2-not-to-be-shown"  # noqa: S105


@dataclass(frozen=True)
class Served:
    """A clone that has made its first run, and what its Redis serves since."""

    clone: Clone
    client: redis.Redis
    generation: str
    whole: Content

    def refusal(self, variables: Mapping[str, str], *words: str) -> str:
        """Run what must fail; return its one line, and see that nothing has changed."""
        clone = replace(self.clone, variables={**self.clone.variables, **variables})
        began_at = time.monotonic()
        said = clone.run(*(words or ("run", "--force")), code=1)
        assert time.monotonic() - began_at < SECONDS
        (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
        assert said.splitlines()[-1] == line, said
        assert "Traceback" not in said
        assert PASSWORD not in said
        assert self.client.get(contract.CURRENT) == self.generation
        assert content(self.client, self.generation) == self.whole
        assert not self.client.exists(contract.LOCK)
        return line

    def store(self, folder: Path, change: Callable[[Path], object]) -> dict[str, str]:
        """Copy MLflow's store, change its database, and address that."""
        database = folder / "mlflow.db"
        shutil.copy(self.clone.folder / "mlruns/mlflow.db", database)
        change(database)
        return {"MLFLOW_TRACKING_URI": f"sqlite:///{database}"}


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> Iterator[Served]:
    """Make the clone, and let it serve."""
    folder = tmp_path_factory.mktemp("clone")
    write_world(folder / "world")
    (folder / "mlruns").mkdir()
    shutil.copy(empty_store, folder / "mlruns/mlflow.db")
    with running(tmp_path_factory.mktemp("redis")) as server:
        variables = {"REDIS_URL": server.url, "MOVIELENS_RAW": "world"}
        clone = Clone(folder, variables)
        clone.run("run")
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            generation = str(client.get(contract.CURRENT))
            yield Served(clone, client, generation, content(client, generation))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[RedisServer]:
    """Another Redis than that which serves."""
    with running(tmp_path) as server:
        yield server


def redis_url(server: RedisServer, user: str = "") -> dict[str, str]:
    """Name a server in the settings."""
    return {"REDIS_URL": f"redis://{user}127.0.0.1:{server.port}/0"}


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "allkeys-random"])
def test_a_redis_that_drops_keys(
    served: Served, other: RedisServer, tally: Tally, policy: str
) -> None:
    """Its setting is named before anything is scored, and nothing is written there."""
    with redis.Redis.from_url(other.url) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", policy)
        line = served.refusal(redis_url(other))
        assert f"its maxmemory-policy is {policy}" in line
        assert line.endswith("set maxmemory-policy to noeviction")
        assert client.dbsize() == 0
    tally.faults()


def test_a_redis_that_would_drop_keys_if_it_had_a_limit(
    served: Served, other: RedisServer
) -> None:
    """It does not now: the run goes on, with a warning."""
    with redis.Redis.from_url(other.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    clone = replace(
        served.clone, variables={**served.clone.variables, **redis_url(other)}
    )
    assert "has the maxmemory-policy allkeys-lru; with a maxmemory" in clone.run("run")


def test_a_redis_that_is_full(served: Served, other: RedisServer, tally: Tally) -> None:
    """What it served before it still serves, and nothing half-written is left."""
    variables = redis_url(other)
    clone = replace(served.clone, variables={**served.clone.variables, **variables})
    clone.run("run")
    with redis.Redis.from_url(other.url, decode_responses=True) as client:
        generation = str(client.get(contract.CURRENT))
        before = content(client, generation)
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", used + 60_000)
        assert "it is full: give it more memory" in served.refusal(variables)
        assert client.get(contract.CURRENT) == generation
        assert content(client, generation) == before
        client.config_set("maxmemory", 0)
        clone.run("run", "--force")
        names = map(str, client.scan_iter("recs:*"))
        held = set(client.zrange(contract.GENERATIONS, 0, -1))
        assert {contract.generation_of(name) for name in names} == {None, *held}
    tally.faults()


def test_a_redis_that_is_a_replica(
    served: Served, other: RedisServer, tally: Tally
) -> None:
    """Its primary is named, which the user meant."""
    primary = served.clone.variables["REDIS_URL"].rsplit(":", 1)[1].split("/")[0]
    with redis.Redis.from_url(other.url) as client:
        client.replicaof("127.0.0.1", primary)
        line = served.refusal(redis_url(other))
    assert f"is a replica of 127.0.0.1 port {primary}" in line
    assert "name it in REDIS_URL" in line
    tally.faults()


def test_a_redis_that_wants_another_password(
    served: Served, other: RedisServer, tally: Tally
) -> None:
    """Neither the wrong one nor the right one is shown."""
    with redis.Redis.from_url(other.url) as client:
        client.config_set("requirepass", "right")
    for user in ("", f":{PASSWORD}@", f"nobody:{PASSWORD}@"):
        line = served.refusal(redis_url(other, user))
        assert "are user and password in REDIS_URL right?" in line
    tally.faults(3)


@pytest.mark.parametrize(
    "rights", ["~recs:* +@all -eval -script", "~x:* +@all", "+ping"]
)
def test_a_redis_whose_user_may_not_write(
    served: Served, other: RedisServer, tally: Tally, rights: str
) -> None:
    """The rights that are wanted are named."""
    with redis.Redis.from_url(other.url) as client:
        rule = ["ACL", "SETUSER", "batch", "on", f">{PASSWORD}", *rights.split()]
        client.execute_command(*rule)
        line = served.refusal(redis_url(other, f"batch:{PASSWORD}@"))
        assert "give its user the right to read and write recs:*" in line
        assert client.get(contract.CURRENT) is None
    tally.faults()


def test_what_is_no_redis(served: Served, tmp_path: Path, tally: Tally) -> None:
    """Nobody is there, or somebody who answers HTTP, or a name that is none."""
    nobody = {"REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0"}
    assert "is the server up and REDIS_URL right?" in served.refusal(nobody)
    with serving(Reply(b"hello")) as web:
        line = served.refusal({"REDIS_URL": f"redis://127.0.0.1:{web.port}/0"})
        assert f"Redis at redis://127.0.0.1:{web.port}/0 failed" in line
    nowhere = {"REDIS_URL": "redis://no.such.host.invalid:6379/0"}
    assert "is the server up and REDIS_URL right?" in served.refusal(nowhere)
    tally.faults(3)


def test_a_redis_without_that_database(
    served: Served, other: RedisServer, tally: Tally
) -> None:
    url = f"redis://127.0.0.1:{other.port}/99"
    assert "is the database in REDIS_URL right?" in served.refusal({"REDIS_URL": url})
    tally.faults()


WEB: dict[str, tuple[Reply, str]] = {
    "500": (Reply(b"oops", 500), "the server answered 500; is MLFLOW_TRACKING_URI"),
    "502 of a gateway": (Reply(b"<html>bad gateway</html>", 502), "answered 502"),
    "401": (Reply(b'{"message": "who?"}', 401), "MLFLOW_TRACKING_URI"),
    "a page": (Reply(b"<html><style>p{}</style>hello</html>"), "MLFLOW_TRACKING_URI"),
    "nothing": (Reply(b""), "MLFLOW_TRACKING_URI"),
    "less than it says": (Reply(b"{", length=99), "the connection broke"),
    "half of JSON": (Reply(b'{"model_version": {'), "MLFLOW_TRACKING_URI"),
    "a version that is none": (
        Reply(b'{"model_version": {"name": "MovieLensXGB", "version": "../1"}}'),
        "it says that this is version '../1'",
    ),
}


@pytest.mark.parametrize("fault", WEB)
def test_a_server_that_is_no_mlflow(served: Served, tally: Tally, fault: str) -> None:
    """What it says is told, without its markup."""
    reply, expected = WEB[fault]
    with serving(reply) as web:
        uri = f"http://user:{PASSWORD}@127.0.0.1:{web.port}"
        line = served.refusal({"MLFLOW_TRACKING_URI": uri, **ANSWERS_LATE})
    assert f"in MLflow at http://…@127.0.0.1:{web.port}: " in line
    assert expected in line
    assert "<" not in line
    tally.faults()


def test_a_server_that_redirects_for_ever(served: Served, tally: Tally) -> None:
    with serving(Reply(status=302, to="/again")) as web:
        uri = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{web.port}"}
        line = served.refusal(uri | ANSWERS_LATE)
    assert "the server redirects without end" in line
    tally.faults()


def test_a_server_that_never_answers(served: Served, tally: Tally) -> None:
    """Or of which nobody is there, or whose line is cut."""
    with serving(Reply(b"{}")) as web, proxy(web.port) as line:
        line.is_deaf = True
        uri = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{line.port}"}
        said = served.refusal(uri | ANSWERS_LATE)
        line.well()
    assert "no answer in time" in said
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT is how many seconds it has" in said
    said = served.refusal({"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"})
    assert "connection refused" in said
    tally.faults(2)


def test_a_host_that_does_not_exist(served: Served, tally: Tally) -> None:
    uri = {"MLFLOW_TRACKING_URI": "http://no.such.host.invalid:5000"}
    assert "no such host" in served.refusal(uri | ANSWERS_LATE)
    tally.faults()


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
    "another version": (of_no_known_version, "of another version of MLflow; take the"),
    "a table is gone": (without_tables, "restore it from a copy, or move it away"),
    "malformed": (malformed, "restore it from a copy, or move it away"),
    "no database": (lambda path: path.write_text("hello"), "restore it from a copy"),
    "a folder": (a_folder, "may this user read and write there?"),
}


@pytest.mark.parametrize("fault", STORES)
def test_a_store_that_is_of_no_use(
    served: Served, tmp_path: Path, tally: Tally, fault: str
) -> None:
    """What is wrong with which database, and what to do; it stays as it is."""
    change, expected = STORES[fault]
    variables = served.store(tmp_path, change)
    line = served.refusal(variables)
    assert f"in MLflow at sqlite:///{tmp_path}/mlflow.db" in line
    assert expected in line
    tally.faults()


@contextmanager
def holding(database: Path) -> Iterator[None]:
    """Let another process hold a database, as a backup may that hangs."""
    program = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1]);"
        "c.execute('begin exclusive'); print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        ["python3", "-c", program, database], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    try:
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()


def test_a_store_that_another_holds(
    served: Served, tmp_path: Path, tally: Tally
) -> None:
    variables = served.store(tmp_path, lambda _: None)
    with holding(tmp_path / "mlflow.db"):
        line = served.refusal(variables)
    assert "its database is locked; another process holds it" in line
    wait_until(lambda: not (tmp_path / "mlflow.db-journal").exists())
    tally.faults()
