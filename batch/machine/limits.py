"""How many cores and how much memory this process may use.

That is what the machine has, or less where its scheduler or a control group (cgroup)
says so: a container's `--cpus` and `--memory`, a service's `CPUQuota` and `MemoryMax`.
Standard library only.
"""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
"""Where `proc` and `sys` are mounted."""


def cores() -> int:
    """Return how many cores this process may use; a quota of 1.5 counts as two."""
    most = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # macOS does not have it
        most = len(os.sched_getaffinity(0))
    for folder in _cgroups():
        quota = _numbers(folder, "cpu.max") or _numbers(
            folder, "cpu.cfs_quota_us", "cpu.cfs_period_us"
        )
        if len(quota) == 2:  # microseconds of CPU time in a period of microseconds
            most = min(most, -(-quota[0] // quota[1]))
    return max(1, most)


def memory() -> int:
    """Return how many bytes of memory this process may use."""
    most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for folder in _cgroups():
        # the kernel slows a process down above `high` and kills it at the others
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            most = min([most, *_numbers(folder, name)])
    return most


def _cgroups() -> Iterator[Path]:
    """Yield the folders of this process's cgroups and of those that they are in.

    A container may see its own cgroup at the top, while the kernel names it by a path
    that exists only outside. So each folder on the path may be missing.
    """
    try:
        lines = (ROOT / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux, or /proc is hidden
        return
    for line in lines:
        # "0::/app" in version 2, "4:cpu,cpuacct:/app" in version 1
        _, controllers, path = line.split(":", 2)
        below = Path(path.lstrip("/"))
        for part in (below, *below.parents):
            yield ROOT / "sys/fs/cgroup" / controllers / part


def _numbers(folder: Path, *names: str) -> list[int]:
    """Read the numbers in files; none where a file is missing or says `max` or -1."""
    try:
        texts = [(folder / name).read_text() for name in names]
        numbers = [int(word) for text in texts for word in text.split()]
    except (OSError, ValueError):
        return []
    return numbers if min(numbers, default=-1) >= 0 else []
