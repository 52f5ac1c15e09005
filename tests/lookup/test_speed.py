"""The benchmark runs; what it says on a quiet machine is in the README."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.benchmarks.load import find_wrk
from tests.lookup.programs import ROOT

KEYS = {"bare_rps", "hot_rps", "cold_rps", "hot_ratio", "cold_ratio", "p99_ratio"}
COMMAND = "-m tests.benchmarks.lookup --json --turns 2 --seconds 1"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk: apt-get install wrk")
def test_lookup_is_near_a_route_that_does_nothing() -> None:
    done = subprocess.run(
        [sys.executable, *COMMAND.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert {*KEYS, "compute_on_request_rps", "start_seconds"} <= set(found)
    assert found["hot_cpu"] < found["bare_cpu"] * 2
    assert found["cold_cpu"] < found["bare_cpu"] * 5
    assert found["worker_megabytes"] < 100


def test_without_wrk_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        find_wrk()
