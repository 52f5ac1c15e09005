"""Counters of several workers, in real processes."""

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


def test_a_single_process_needs_no_file() -> None:
    counters = Counters(2)
    counters.own[0] += 5
    assert counters.total() == [5, 0]


def test_workers_count_together_even_after_their_end(tmp_path: Path) -> None:
    """The successor of a killed worker takes its file."""
    ours = Counters(3, str(tmp_path))
    ours.own[0] += 7
    workers = [worker(tmp_path) for _ in range(2)]
    assert ours.total() == [7, 2000, 2 * 2**40]
    workers[0].kill()
    workers[0].communicate()
    assert ours.total() == [7, 2000, 2 * 2**40]
    workers.append(worker(tmp_path))
    assert ours.total() == [7, 3000, 3 * 2**40]
    assert len(list(tmp_path.iterdir())) == 3
    for process in workers[1:]:
        process.kill()
        process.communicate()
