"""The cost of a first run and of a rescoring, by the size of the release.

    python -m tests.benchmarks.scale [--shapes ml-100k,ml-1m] [--users N] [--json]
    python -m tests.benchmarks.scale --raw DIR_OR_ZIP [--json]

Raw files of each shape are generated, or the real ones of `--raw` are taken, and
`python -m batch run` is started in an empty folder: once, which trains, and once more
with `--force`, which only scores. Memory is the most that the batch's own process had
resident at any time; the redis-server is another process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks import frame
from tests.benchmarks.shapes import SHAPES

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("features", "train", "score", "publish", "total")


def main() -> None:
    """Print a table, and with `--json` one JSON line after it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default="ml-100k,ml-1m", metavar="NAME,NAME")
    parser.add_argument("--users", type=int, metavar="N")
    parser.add_argument("--raw", type=Path, metavar="DIR_OR_ZIP")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    unknown = set(arguments.shapes.split(",")) - SHAPES.keys()
    if unknown:
        parser.error(f"--shapes: {', '.join(sorted(unknown))}: not of {list(SHAPES)}")
    frame.header(
        *("release", "run", "users", "items", "pairs"),
        *(f"{stage}, s" for stage in STAGES),
        *("peak, MB", "scoring, s a million pairs", "peak, kB a million pairs"),
    )
    results: dict[str, dict[str, object]] = {}
    for name, raw in releases(arguments):
        for run, measured in measure(raw):
            results.setdefault(name, {})[run] = measured
            frame.row(name, run, *columns(measured))
    frame.finish(arguments, results)


def releases(arguments: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Give the raw files to run on, one release after the other."""
    if arguments.raw is not None:
        yield arguments.raw.name, arguments.raw.resolve()
        return
    for name in arguments.shapes.split(","):
        n_users = min(arguments.users or sys.maxsize, SHAPES[name].n_users)
        with tempfile.TemporaryDirectory() as folder:
            # in a process of its own, whose memory is not the batch's
            words = ("--shape", name, "--out", folder, "--users", str(n_users))
            command = [sys.executable, "-m", "tests.benchmarks.generate", *words]
            subprocess.run(command, cwd=ROOT, check=True)
            yield name, Path(folder)


def measure(raw: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Make a first run and another one in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield "first", run(raw, Path(folder))
        yield "again", run(raw, Path(folder), "--force")


def run(raw: Path, folder: Path, *words: str) -> dict[str, Any]:
    """Run the batch and ask the system for its memory.

    Raises:
        RuntimeError: the batch failed, and has printed why.
    """
    command = [sys.executable, "-m", "batch", "run", "--raw", str(raw), "--json"]
    settings = ("REDIS_URL", "MLFLOW_TRACKING_URI", "MOVIELENS_RAW", "TOP_N")
    environ = {name: text for name, text in os.environ.items() if name not in settings}
    process = subprocess.Popen(
        [*command, *words],
        cwd=folder,
        env=environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    # unlike that of getrusage, which is the largest of all children so far
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"batch run of {raw} ended with {process.returncode}")
    # macOS counts bytes, Linux kB
    unit = 1 if sys.platform == "darwin" else 1024
    return summary(json.loads(lines[-1]), usage.ru_maxrss * unit)


def summary(result: Mapping[str, Any], peak_bytes: int) -> dict[str, Any]:
    """Keep what is compared of the JSON that a run ends with."""
    millions = result["n_pairs"] / 1e6
    return {
        **{name: result[name] for name in ("n_users", "n_items", "n_pairs")},
        "seconds": {stage: result["seconds"][stage] for stage in STAGES},
        "peak_bytes": peak_bytes,
        "score_seconds_per_million_pairs": result["seconds"]["score"] / millions,
        "peak_bytes_per_million_pairs": peak_bytes / millions,
    }


def columns(measured: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a run."""
    return (
        *(f"{measured[name]:,}" for name in ("n_users", "n_items", "n_pairs")),
        *(f"{measured['seconds'][stage]:.1f}" for stage in STAGES),
        f"{measured['peak_bytes'] / 1e6:.0f}",
        f"{measured['score_seconds_per_million_pairs']:.2f}",
        f"{measured['peak_bytes_per_million_pairs'] / 1e3:.0f}",
    )


if __name__ == "__main__":
    main()
