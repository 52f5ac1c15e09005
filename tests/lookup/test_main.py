"""`python -m lookup` as people start it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from tests.conftest import answers, free_port, publish, wait_until
from tests.lookup.programs import Start, ask, command, environment, wait_for

pytestmark = pytest.mark.slow


def refused(*flags: object, cwd: Path, **settings: str) -> tuple[int, str]:
    """Run a lookup that does not start; give its exit code and stderr."""
    done = subprocess.run(
        command(*flags),
        cwd=cwd,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_and_ends(
    start: Start,
    redis_url: str,
    redis_client: "redis.Redis",
    workers: int,
    number: signal.Signals,
) -> None:
    """From the first answer to a clean end, as a terminal or a container asks for."""
    publish(redis_client)
    port = free_port()
    program = start("--port", port, "--workers", workers, REDIS_URL=redis_url)
    wait_for(port)
    answer = ask(port, "/recommend/42?k=2")
    assert [item["item_id"] for item in answer.json()["items"]] == [50, 73]
    if number == signal.SIGINT:
        os.killpg(program.pid, number)  # a terminal tells the whole group
    else:
        program.send_signal(number)
    out, err = program.communicate(timeout=10)
    assert program.returncode == 0, err
    assert "Traceback" not in err
    assert f"serving http://127.0.0.1:{port}" in out
    assert not answers(port)


def test_embedded_default(start: Start, tmp_path: Path) -> None:
    """No REDIS_URL: the workers share a Redis of their own, whose URL is printed."""
    port = free_port()
    program = start("--port", port, "--workers", 2)
    assert program.stdout is not None
    first = program.stdout.readline()
    url = first.split()[1]
    assert f"redis-cli -u {url}" in first
    wait_for(port)
    assert ask(port, "/recommend/42").json()["error"]["code"] == "no_generation"
    with redis.Redis.from_url(url) as client:
        publish(client)
    for _ in range(10):
        assert ask(port, "/recommend/42").status_code == 200
    program.terminate()
    program.communicate(timeout=10)
    assert program.returncode == 0
    assert (tmp_path / "data" / "redis" / "dump.rdb").exists()
    assert not answers(int(url.rsplit(":", 1)[1].split("/")[0]))


def test_killed_parent_leaves_nothing(start: Start) -> None:
    """Neither workers on the port nor a Redis."""
    port = free_port()
    program = start("--port", port, "--workers", 2)
    assert program.stdout is not None
    url = program.stdout.readline().split()[1]
    wait_for(port)
    program.kill()
    wait_until(lambda: not answers(port))
    wait_until(lambda: not answers(int(url.rsplit(":", 1)[1].split("/")[0])))


def test_serves_without_redis(start: Start) -> None:
    """It starts and says what is missing."""
    port = free_port()
    start("--port", port, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    wait_for(port)
    begin = time.monotonic()
    answer = ask(port, "/recommend/42")
    assert time.monotonic() - begin < 0.5
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_port_zero_is_any(start: Start, redis_url: str) -> None:
    """The line that says where it serves has the real port."""
    program = start("--port", 0, REDIS_URL=redis_url)
    assert program.stdout is not None
    lines = [program.stdout.readline() for _ in range(2)]
    wait_for(int(lines[1].rsplit(":", 1)[1]))


def test_port_in_use_is_one_line(tmp_path: Path) -> None:
    """Says which, what to do, and starts nothing."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = refused("--port", port, cwd=tmp_path)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert f"port {port}" in err
    assert "--port" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("settings", "quoted"),
    [
        ({"K_DEFAULT": "ten"}, "K_DEFAULT='ten'"),
        ({"REDIS_URL": "localhost"}, "REDIS_URL='localhost'"),
    ],
)
def test_bad_setting_is_one_line(
    tmp_path: Path, settings: dict[str, str], quoted: str
) -> None:
    """Names it and its value."""
    code, err = refused("--port", 0, cwd=tmp_path, **settings)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert quoted in err


def test_missing_redis_server_is_one_line(tmp_path: Path) -> None:
    """Names the command that gets one."""
    bare = tmp_path / "bin"
    bare.mkdir()
    (bare / "python").symlink_to(sys.executable)
    program = (
        f"import sys; sys.executable = {str(bare / 'python')!r}\n"
        "from lookup.__main__ import main; sys.exit(main(['--port', '0']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(PATH=str(bare)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "install" in done.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--port", "x"),
        ("--port", "65536"),
        ("--workers", "0"),
        ("--host",),
        ("--nothing",),
        ("extra",),
    ],
)
def test_wrong_usage_is_2(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """And says how it is used."""
    code, err = refused(*flags, cwd=tmp_path)
    assert code == 2
    assert "usage: python -m lookup" in err


def test_help(tmp_path: Path) -> None:
    """Names the flags."""
    done = subprocess.run(
        command("--help"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(flag in done.stdout for flag in ("--host", "--port", "--workers"))


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    """The lookup's image has none of the batch's packages."""
    program = (
        "import sys, lookup.__main__, lookup.app\n"
        "heavy = {'xgboost', 'mlflow', 'duckdb', 'pyarrow', 'numpy', 'pandas'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), check=True
    )
