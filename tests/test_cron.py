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

import pytest

from tests.conftest import wait_until
from tests.faults.batches import Clone
from tests.movielens import write_world

ROOT = Path(__file__).resolve().parent.parent
CLONE = "/srv/movielens-xgb"
LINE = (
    f"30 3 * * * cd {CLONE} && "
    "{ date -Is; .venv/bin/python -m batch run --quiet --json; } "
    ">> data/batch.log 2>&1"
)
WEEKLY = (
    f"30 1 * * 0 cd {CLONE} && "
    "{ date -Is; .venv/bin/python -m batch train --promote; } "
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
"""A daemon that sees this crontab alone, and no jobs of the machine."""

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""All mounts and processes end with the first process."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder like a clone after `make run`, with its own data and models."""
    folder = tmp_path / "clone"
    write_world(folder / "data/raw")
    for name in ("batch", "lookup", "sql"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def jail(tmp_path: Path) -> Path:
    """The folders that the daemon sees in place of the machine's."""
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
    """It finds Python, Redis, the model and the raw files there, and logs."""
    first = Clone(clone).json("run")  # trains, so that cron's run has nothing to do
    job = LINE.replace("30 3", "* *").replace(CLONE, str(clone))
    crontab = jail / "spool/root"
    crontab.write_text(f"{job}\n* * * * * env > {clone}/environment\n")
    crontab.chmod(0o600)
    log = clone / "data/batch.log"
    with cron(jail):
        wait_until(lambda: log.exists() and log.read_text().count("\n") > 1, 150)
    started, result = log.read_text().splitlines()[:2]
    assert datetime.fromisoformat(started).tzinfo is not None
    assert json.loads(result)["skipped"] is True
    assert json.loads(result)["generation"] == first["generation"]
    environment = (clone / "environment").read_text().splitlines()
    variables = dict(line.split("=", 1) for line in environment)
    assert variables["PATH"] == "/usr/bin:/bin"
    assert not {"VIRTUAL_ENV", "PYTHONPATH", "REDIS_URL"} & variables.keys()


def test_the_lines_have_no_bare_percent_sign() -> None:
    """To cron it ends the command; the rest would be its input."""
    assert "%" not in LINE + WEEKLY


@pytest.mark.slow
def test_the_weekly_line_says_what_was_decided(clone: Path) -> None:
    """As a shell runs it, after a first run."""
    Clone(clone).run("run")
    command = WEEKLY.partition("* * 0 ")[2].replace(CLONE, str(clone))
    done = subprocess.run(["sh", "-c", command], env={"PATH": "/usr/bin:/bin"})
    log = (clone / "data/batch.log").read_text()
    assert done.returncode == 0, log
    [decision] = [line for line in log.splitlines() if line.startswith("decision ")]
    assert (
        "version 2 is prod: it is not worse by more than chance, NDCG@10 " in decision
    )
    assert decision.endswith("to go back: python -m batch promote --version 1")


def may_unshare() -> bool:
    """Return whether this process may create namespaces."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode == 0


@contextmanager
def cron(jail: Path) -> Iterator[None]:
    """Run a cron daemon in its own namespaces."""
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
