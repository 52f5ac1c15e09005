"""What a first run and a rescoring cost, by the size of the release.

    python -m tests.benchmarks.scale [--shapes ml-100k,ml-1m] [--users N] [--json]
    python -m tests.benchmarks.scale --raw DIR_OR_ZIP [--json]

Raw files of each shape are generated, or the real ones of `--raw` are taken, and
`python -m batch run` is started in an empty folder: once, which trains, and once more
with `--force`, which only scores. Memory is the most that the batch's own process had
resident at any time; the redis-server is another one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import frame
from tests.benchmarks.shapes import SHAPES

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("features", "train", "score", "publish", "total")
MILLION = 1_000_000


@dataclass(frozen=True)
class Measured:
    """One run of the batch.

    Attributes:
        n_users: who were scored.
        n_items: of the catalogue.
        n_pairs: how many were scored.
        seconds: by stage, and the total.
        peak_bytes: the most that was resident.
    """

    n_users: int
    n_items: int
    n_pairs: int
    seconds: Mapping[str, float]
    peak_bytes: int

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return asdict(self) | {
            "score_seconds_per_million_pairs": self.score_seconds_per_million,
            "peak_bytes_per_million_pairs": self.bytes_per_million,
        }

    @property
    def score_seconds_per_million(self) -> float:
        """How long a million pairs take to be scored, their features in it."""
        return self.seconds["score"] / max(self.n_pairs, 1) * MILLION

    @property
    def bytes_per_million(self) -> float:
        """How much memory there was for a million pairs."""
        return self.peak_bytes / max(self.n_pairs, 1) * MILLION


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
        "release", "run", "users", "items", "pairs", *(f"{s}, s" for s in STAGES),
        "peak, MB", "scoring, s a million pairs", "peak, kB a million pairs",
    )  # fmt: skip
    results: dict[str, dict[str, object]] = {}
    for name, raw in releases(arguments):
        for run, measured in measure(raw):
            results.setdefault(name, {})[run] = measured.as_dict()
            frame.row(name, run, *columns(measured))
    frame.finish(arguments, results)


def releases(arguments: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Give the raw files that are asked for, one release after the other."""
    if arguments.raw is not None:
        yield arguments.raw.name, arguments.raw.resolve()
        return
    for name in arguments.shapes.split(","):
        with generated(name, arguments.users) as folder:
            yield name, folder


@contextmanager
def generated(name: str, n_users: int | None) -> Iterator[Path]:
    """Generate a release, in a process of its own, whose memory is not the batch's."""
    with tempfile.TemporaryDirectory() as scratch:
        wanted = min(n_users or SHAPES[name].n_users, SHAPES[name].n_users)
        words = ("--shape", name, "--out", scratch, "--users", str(wanted))
        command = [sys.executable, "-m", "tests.benchmarks.generate", *words]
        subprocess.run(command, cwd=ROOT, check=True)
        yield Path(scratch)


def measure(raw: Path) -> Iterator[tuple[str, Measured]]:
    """Make a first run and another one in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield "first", run(raw, Path(folder))
        yield "again", run(raw, Path(folder), "--force")


def run(raw: Path, folder: Path, *words: str) -> Measured:
    """Start the batch, wait for its end, and ask the system for its memory.

    Raises:
        RuntimeError: the batch failed; it has said why.
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
    return told(json.loads(lines[-1]), resident(usage.ru_maxrss))


def resident(maximum: int) -> int:
    """Turn what the system says of memory into bytes: macOS counts these at once."""
    return maximum if sys.platform == "darwin" else maximum * 1024


def told(result: Mapping[str, Any], peak_bytes: int) -> Measured:
    """Keep what is compared of the JSON that a run ends with."""
    return Measured(
        n_users=result["n_users"],
        n_items=result["n_items"],
        n_pairs=result["n_pairs"],
        seconds={stage: result["seconds"][stage] for stage in STAGES},
        peak_bytes=peak_bytes,
    )


def columns(measured: Measured) -> tuple[str, ...]:
    """Give what a table tells of a run, in its order."""
    return (
        f"{measured.n_users:,}",
        f"{measured.n_items:,}",
        f"{measured.n_pairs:,}",
        *(f"{measured.seconds[stage]:.1f}" for stage in STAGES),
        f"{measured.peak_bytes / 1e6:.0f}",
        f"{measured.score_seconds_per_million:.2f}",
        f"{measured.bytes_per_million / 1e3:.0f}",
    )


if __name__ == "__main__":
    main()
