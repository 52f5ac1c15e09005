"""The command line, raw files and tables of the benchmarks of quality."""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from batch import warehouse
from batch.commands.stopwatch import Stopwatch
from batch.commands.train import sample_windows
from batch.features import tables
from batch.ingest import load, release
from batch.model import base_margin, train
from batch.model.train import Trained


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


def trained(connection: duckdb.DuckDBPyConnection) -> Trained:
    """Train the evaluated model of a release as `train` does.

    Afterwards the connection holds the tables as of the hold-out's cutoff.
    """
    windows = sample_windows(connection, Stopwatch())
    tables.build(connection, n_cuts=1)
    weights = base_margin.fit(connection)
    found = train.train(windows, weights=weights)
    base_margin.write(found.booster, weights)
    return found


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
