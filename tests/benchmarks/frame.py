"""The command line, raw files and tables of the benchmarks of quality."""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from batch import warehouse
from batch.__main__ import N_NEAR, sample_window
from batch.commands.stopwatch import Stopwatch
from batch.features.candidates import Pairs
from batch.ingest import load, release


def parsed(
    description: str | None, more: Mapping[str, float] | None = None
) -> argparse.Namespace:
    """Read a benchmark's command line; `more` names further numbers with defaults."""
    arguments = parser(description)
    for name, usual in (more or {}).items():
        arguments.add_argument(f"--{name}", type=type(usual), default=usual)
    return arguments.parse_args()


def parser(description: str | None) -> argparse.ArgumentParser:
    """Build the arguments that every benchmark takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--raw", type=Path, default=Path("data/raw"))
    parser.add_argument("--json", action="store_true")
    return parser


@contextmanager
def staged(path: Path) -> Iterator[tuple[str, duckdb.DuckDBPyConnection]]:
    """Read a release; yield its name and a warehouse with the staging tables."""
    with tempfile.TemporaryDirectory() as scratch:
        raw = release.find(path, Path(scratch) / "unpacked")
        with warehouse.connect(Path(scratch) / "spill") as connection:
            load.read(connection, raw)
            yield raw.name, connection


def sample_windows(connection: duckdb.DuckDBPyConnection) -> list[Pairs]:
    """Sample the windows that the batch trains the evaluated model on."""
    watch = Stopwatch()
    return [
        sample_window(connection, watch, n_cuts=1, n_next=N_NEAR),
        sample_window(connection, watch, n_cuts=2),
    ]


def header(*cells: str) -> None:
    """Begin a table."""
    print(f"| {' | '.join(cells)} |")
    print(f"|{' --- |' * len(cells)}", flush=True)


def row(*cells: str | int | float) -> None:
    """Print one line of a table."""
    shown = (f"{c:.4f}" if isinstance(c, float) else str(c) for c in cells)
    print(f"| {' | '.join(shown)} |", flush=True)


def finish(arguments: argparse.Namespace, results: object) -> None:
    """End with one JSON line if that is asked for."""
    if arguments.json:
        print(json.dumps(results))
