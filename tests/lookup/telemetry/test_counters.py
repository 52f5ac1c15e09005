"""Numbers that several workers count, in real processes."""

import subprocess
import sys
from pathlib import Path

from lookup.telemetry.counters import Counters

WORK = """
import sys
from lookup.telemetry.counters import Counters
counters = Counters(3, sys.argv[1])
for _ in range(1000):
    counters.own[1] += 1
counters.own[2] += 2**40
print("done", flush=True)
sys.stdin.read()
"""


def worker(folder: Path) -> "subprocess.Popen[str]":
    """Start a worker that counts and then waits; return once it has counted."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    return process


def test_alone() -> None:
    """A single process needs no file."""
    counters = Counters(2)
    counters.own[0] += 5
    assert counters.total() == [5, 0]


def test_workers_count_together(tmp_path: Path) -> None:
    """Whoever is asked knows what all have counted."""
    ours = Counters(3, str(tmp_path))
    ours.own[0] += 7
    workers = [worker(tmp_path) for _ in range(3)]
    assert ours.total() == [7, 3000, 3 * 2**40]
    assert len(list(tmp_path.iterdir())) == 4
    for process in workers:
        process.kill()
        process.communicate()


def test_no_number_falls_when_a_worker_dies(tmp_path: Path) -> None:
    """Its successor counts on where it was, and files do not pile up."""
    ours = Counters(3, str(tmp_path))
    for number in range(1, 4):
        process = worker(tmp_path)
        assert ours.total()[1] == number * 1000
        process.kill()
        process.communicate()
        assert ours.total()[1] == number * 1000
    assert len(list(tmp_path.iterdir())) == 2
