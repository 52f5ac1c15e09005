"""The cores and the memory of the machine, of a container, or of a part of either."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from batch import warehouse
from batch.machine import limits

MIB = 2**20
V1 = "/sys/fs/cgroup/cpu,cpuacct"
HUGE = str(2**63 - 4096)  # what version 1 says for no limit


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a machine with 8 cores and 16 GiB, and without cgroups."""
    monkeypatch.setattr(limits, "ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    sizes = {"SC_PHYS_PAGES": 4 * MIB, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    return tmp_path


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write files below a root, each of one line."""
    for name, line in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{line}\n")


CGROUPS: Mapping[str, tuple[Mapping[str, str], int, int]] = {
    "none": ({}, 8, 16 * 1024),
    "v2, unlimited": (
        {
            "/proc/self/cgroup": "0::/",
            "/sys/fs/cgroup/cpu.max": "max 100000",
            "/sys/fs/cgroup/memory.max": "max",
        },
        *(8, 16 * 1024),
    ),
    "v2, a container": (
        {
            "/proc/self/cgroup": "0::/",
            "/sys/fs/cgroup/cpu.max": "150000 100000",
            "/sys/fs/cgroup/memory.max": str(1024 * MIB),
        },
        *(2, 1024),
    ),
    "v2, less than a core, and throttled memory": (
        {
            "/proc/self/cgroup": "0::/",
            "/sys/fs/cgroup/cpu.max": "5000 100000",
            "/sys/fs/cgroup/memory.high": str(600 * MIB),
            "/sys/fs/cgroup/memory.max": str(700 * MIB),
        },
        *(1, 600),
    ),
    "v2, limits of the slices above": (
        {
            "/proc/self/cgroup": "0::/user.slice/batch.service",
            "/sys/fs/cgroup/user.slice/batch.service/cpu.max": "max 100000",
            "/sys/fs/cgroup/user.slice/batch.service/memory.max": str(2048 * MIB),
            "/sys/fs/cgroup/user.slice/cpu.max": "300000 100000",
            "/sys/fs/cgroup/user.slice/memory.max": str(1500 * MIB),
        },
        *(3, 1500),
    ),
    "v1, a path that only the host knows": (
        {
            "/proc/self/cgroup": "4:memory:/docker/f00\n3:cpu,cpuacct:/docker/f00",
            f"{V1}/cpu.cfs_quota_us": "400000",
            f"{V1}/cpu.cfs_period_us": "100000",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": str(900 * MIB),
        },
        *(4, 900),
    ),
    "v1, unlimited above a limit": (
        {
            "/proc/self/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job\n0::/",
            f"{V1}/cpu.cfs_quota_us": "-1",
            f"{V1}/cpu.cfs_period_us": "100000",
            f"{V1}/job/cpu.cfs_quota_us": "50000",
            f"{V1}/job/cpu.cfs_period_us": "25000",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": HUGE,
            "/sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(800 * MIB),
        },
        *(2, 800),
    ),
}


@pytest.mark.parametrize("case", CGROUPS)
def test_cgroups_are_respected(machine: Path, case: str) -> None:
    files, cores, mib = CGROUPS[case]
    write(machine, files)
    assert limits.cores() == cores
    assert limits.memory() == mib * MIB


def test_affinity_is_respected_where_the_system_has_it(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is missing on macOS."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5})
    assert limits.cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert limits.cores() == 6


@pytest.mark.parametrize(
    ("installed", "cores", "memory", "threads"),
    [
        (1024, 8, "512.0 MiB", 2),
        (4096, 8, "1.0 GiB", 4),
        (65536, 4, "1.5 GiB", 4),
        (65536, 64, "1.5 GiB", 6),
    ],
)
def test_duckdb_takes_a_share_of_the_machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    installed: int,
    cores: int,
    memory: str,
    threads: int,
) -> None:
    """As many threads as have the memory that cannot spill."""
    monkeypatch.setattr(limits, "memory", lambda: installed * MIB)
    monkeypatch.setattr(limits, "cores", lambda: cores)
    query = "select current_setting('memory_limit'), current_setting('threads')"
    with warehouse.connect(tmp_path) as connection:
        assert connection.sql(query).fetchall() == [(memory, threads)]
    with warehouse.connect(tmp_path, 700 * MIB, 5) as connection:
        assert connection.sql(query).fetchall() == [("700.0 MiB", 5)]


def test_the_libraries_keep_to_the_limits() -> None:
    """They read the numbers when they are loaded. BLAS always has one thread."""
    code = """
import os
os.sched_getaffinity = lambda _: {0, 1, 2}
import batch, numpy, pyarrow, threadpoolctl, xgboost
print("arrow", pyarrow.cpu_count())
for pool in threadpoolctl.threadpool_info():
    print(pool["user_api"], pool["num_threads"])
"""
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "3"}
    environ.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    found = set(done.stdout.splitlines())
    # macOS has a BLAS of its own, which threadpoolctl does not know
    assert found - {"blas 1"} == {"arrow 3", "openmp 3"}
