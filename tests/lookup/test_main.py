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

from lookup.__main__ import main
from lookup.shared import embedded_redis
from tests.conftest import answers, free_port, publish, wait_until
from tests.lookup.programs import Start, ask, command, environment, started, wait_for

pytestmark = pytest.mark.slow


def refusal(cwd: Path, program: list[str], **settings: str) -> str:
    """Run a lookup that does not start; give the one line that says why."""
    done = subprocess.run(
        program,
        cwd=cwd,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def embedded(program: "subprocess.Popen[str]") -> tuple[str, int]:
    """Give the URL of the embedded Redis, as printed, and its port."""
    assert program.stdout is not None
    line = program.stdout.readline()
    url = line.split()[1]
    assert f"redis-cli -u {url}" in line
    return url, int(url.rsplit(":", 1)[1].split("/")[0])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_and_ends(
    start: Start,
    redis_url: str,
    redis_client: "redis.Redis",
    workers: int,
    number: signal.Signals,
) -> None:
    publish(redis_client)
    port, program = started(start, "--workers", workers, REDIS_URL=redis_url)
    answer = ask(port, "/recommend/42?k=2")
    assert [item["item_id"] for item in answer.json()["items"]] == [50, 73]
    if number == signal.SIGINT:
        os.killpg(program.pid, number)  # as a terminal does
    else:
        program.send_signal(number)
    out, err = program.communicate(timeout=10)
    assert program.returncode == 0, err
    assert "Traceback" not in err
    assert f"serving http://127.0.0.1:{port}" in out
    assert not answers(port)


def test_embedded_default(start: Start, tmp_path: Path) -> None:
    """Without REDIS_URL the workers share an embedded Redis, whose URL is printed."""
    port, program = started(start, "--workers", 2)
    url, redis_port = embedded(program)
    assert ask(port, "/recommend/42").json()["error"]["code"] == "no_generation"
    with redis.Redis.from_url(url) as client:
        publish(client)
    for _ in range(10):
        assert ask(port, "/recommend/42").status_code == 200
    program.terminate()
    program.communicate(timeout=10)
    assert program.returncode == 0
    assert (tmp_path / "data" / "redis" / "dump.rdb").exists()
    assert not answers(redis_port)


def test_a_killed_parent_takes_its_workers_along(start: Start, tmp_path: Path) -> None:
    """The embedded Redis is left for the next user to find and end."""
    port, program = started(start, "--workers", 2)
    url, redis_port = embedded(program)
    program.kill()
    wait_until(lambda: not answers(port))
    with embedded_redis.redis(tmp_path / "data" / "redis") as found:
        assert found == url
    assert not answers(redis_port)


def test_serves_without_redis_and_names_the_real_port(start: Start) -> None:
    program = start("--port", 0, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert program.stdout is not None
    lines = [program.stdout.readline() for _ in range(2)]
    port = int(lines[1].rsplit(":", 1)[1])
    wait_for(port)
    begin = time.monotonic()
    answer = ask(port, "/recommend/42")
    assert time.monotonic() - begin < 0.9
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("host", "name", "answering"),
    [
        ("::", "[::]", ["127.0.0.1", "[::1]"]),
        ("::1", "[::1]", ["[::1]"]),
        ("0.0.0.0", "0.0.0.0", ["127.0.0.1"]),  # noqa: S104
        ("localhost", "localhost", ["localhost"]),
    ],
)
def test_hosts(
    start: Start, host: str, name: str, answering: list[str], workers: int
) -> None:
    """Of IPv6 and IPv4, each as it is written in an address."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    flags = ("--host", host, "--port", 0, "--workers", workers)
    program = start(*flags, REDIS_URL=url)
    assert program.stdout is not None
    line = [program.stdout.readline() for _ in range(2)][1]
    assert line.startswith(f"serving http://{name}:")
    port = int(line.rsplit(":", 1)[1])
    for other in answering:
        wait_for(port, other)


def test_a_host_of_another_machine_is_an_error_that_names_the_flag(
    tmp_path: Path,
) -> None:
    for host in ("2001:db8::1", "192.0.2.1", "nothing.invalid"):
        line = refusal(tmp_path, command("--host", host, "--port", 0))
        assert f"cannot listen on {host}" in line
        assert "--host" in line
    assert "if IPv6 is off" in refusal(tmp_path, command("--host", "2001:db8::1"))


def test_workers_know_the_root_path(start: Start, redis_url: str) -> None:
    """The flag wins over the environment."""
    flags = ("--workers", 2, "--root-path", "/recs/")
    settings = {"REDIS_URL": redis_url, "LOOKUP_ROOT_PATH": "/other"}
    port, _ = started(start, *flags, **settings)
    for _ in range(10):
        assert ask(port, "/recs/health").status_code == 200
        assert ask(port, "/other/health").status_code == 404


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """With what to do; nothing else is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refusal(tmp_path, command("--port", port))
    assert f"port {port}" in line
    assert "--port" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("K_DEFAULT", "ten"), ("REDIS_URL", "localhost")]
)
def test_a_bad_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    line = refusal(tmp_path, command("--port", 0), **{name: value})
    assert f"{name}={value!r}" in line


def test_a_missing_redis_server_is_an_error_with_the_command_that_installs_one(
    tmp_path: Path,
) -> None:
    program = (
        f"import sys; sys.executable = {str(tmp_path / 'python')!r}\n"
        "from lookup.__main__ import main; sys.exit(main(['--port', '0']))"
    )
    line = refusal(tmp_path, [sys.executable, "-c", program], PATH=str(tmp_path))
    assert "install" in line


@pytest.mark.parametrize(
    "flags",
    [
        *("--port x", "--port 65536", "--workers 0", "--host", "--nothing", "extra"),
        *("--root-path recs", "--root-path /..", "--root-path /metrics"),
    ],
)
def test_wrong_usage_is_2(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(flags.split())
    assert caught.value.code == 2
    assert "usage: python -m lookup" in capsys.readouterr().err


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
