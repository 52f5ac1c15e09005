"""The crontab line of the README, under a real cron daemon."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.movielens import write_world

ROOT = Path(__file__).resolve().parent.parent
CLONE = "/srv/movielens-xgb"
LINE = (
    f"30 3 * * * cd {CLONE} && "
    "{ date -Is; .venv/bin/python -m batch run --quiet --json; } "
    ">> data/batch.log 2>&1"
)
"""What the README tells people to add with `crontab -e`."""

PRIVATE_CRON = """
set -e
mount --bind "$1/spool" /var/spool/cron/crontabs
mount --bind "$1/empty" /etc/cron.d
mount --bind "$1/none" /etc/crontab
mount --bind "$1/run" /run
exec cron -f
"""
"""A daemon that sees our crontab alone, and the jobs of this machine not at all."""

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""What is mounted, and every process, ends with the first one, however that ends."""

PATIENCE_SECONDS = 150


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a folder like a clone after `make run`, with data and models of its own."""
    folder = tmp_path / "clone"
    write_world(folder / "data/raw")
    for name in ("batch", "lookup", "sql"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def jail(tmp_path: Path) -> Path:
    """Give the folders that the private daemon sees instead of the machine's."""
    for reason, holds in (
        ("no cron daemon is installed", shutil.which("cron")),
        ("only root may start a cron daemon", os.geteuid() == 0),
        ("this machine grants no namespaces of its own", may_unshare()),
    ):
        if not holds:
            pytest.skip(f"NO CRON: {reason}")
    folder = tmp_path / "jail"
    for name in ("spool", "empty", "run"):
        (folder / name).mkdir(parents=True)
    (folder / "none").touch()
    return folder


@pytest.mark.slow
def test_the_line_of_the_readme_rescores_in_crons_bare_environment(
    jail: Path, clone: Path
) -> None:
    """Cron's run finds Python, Redis, the model and the raw files, and logs."""
    first = bootstrap(clone)
    job = LINE.replace("30 3", "* *").replace(CLONE, str(clone))
    write_crontab(jail, job, f"* * * * * env > {clone}/environment")
    log = clone / "data/batch.log"
    with cron(jail):
        wait_for_line(log, 2)
    started, told = log.read_text().splitlines()[:2]
    assert datetime.fromisoformat(started).tzinfo is not None
    assert json.loads(told)["skipped"] is True
    assert json.loads(told)["generation"] == first["generation"]
    assert bare((clone / "environment").read_text())


def test_the_line_has_no_bare_percent_sign() -> None:
    """To cron it ends the command; what follows would be the command's input."""
    assert "%" not in LINE


def may_unshare() -> bool:
    """Tell whether we may have namespaces of our own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode == 0


def bootstrap(clone: Path) -> dict[str, Any]:
    """Do the first run, that trains, so that cron's has nothing to do."""
    names = {"REDIS_URL", "MLFLOW_TRACKING_URI", "MOVIELENS_RAW", "TOP_N"}
    done = subprocess.run(
        [".venv/bin/python", "-m", "batch", "run", "--quiet", "--json"],
        cwd=clone,
        env={name: value for name, value in os.environ.items() if name not in names},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert result["promoted"] is True
    return result


def write_crontab(jail: Path, *jobs: str) -> None:
    """Put a crontab where cron looks for root's; others may not write there."""
    crontab = jail / "spool/root"
    crontab.write_text("".join(f"{job}\n" for job in jobs))
    crontab.chmod(0o600)


@contextmanager
def cron(jail: Path) -> Iterator[None]:
    """Run a cron daemon of our own."""
    daemon = subprocess.Popen(
        [*NAMESPACES, "sh", "-c", PRIVATE_CRON, "cron", str(jail)],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    try:
        time.sleep(0.5)
        assert daemon.poll() is None, "cron ended at once"
        yield
    finally:
        daemon.kill()
        daemon.wait()


def wait_for_line(log: Path, number: int) -> None:
    """Wait until a log has so many whole lines."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not log.exists() or log.read_text().count("\n") < number:
        said = log.read_text() if log.exists() else "nothing"
        assert time.monotonic() < deadline, f"cron's job said {said}"
        time.sleep(0.2)


def bare(environment: str) -> bool:
    """Tell whether an environment is cron's and nothing of ours."""
    variables = dict(line.split("=", 1) for line in environment.splitlines())
    ours = {"VIRTUAL_ENV", "PYTHONPATH", "MOVIELENS_RAW", "REDIS_URL"}
    return variables["PATH"] == "/usr/bin:/bin" and not ours & variables.keys()
