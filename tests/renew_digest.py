"""Test the compiled scorer with the SQL as it is, and note what it was tested with.

    python -m tests.renew_digest

Compares every feature of every unseen item of each user with the SQL, to the last bit,
and the lists with those of xgboost, in drawn worlds and in MovieLens-100K (the folder
that MOVIELENS_TEST_RAW names, else ../shared/data/ml-100k). Where all are equal, it
writes their digests to batch/scoring/tested_sql.json; else it names the features that
differ, writes nothing and exits with 1.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batch import warehouse
from batch.features import base_scores, candidates, tables
from batch.features.columns import FEATURES
from batch.ingest import load, release
from batch.model import base_margin, train
from batch.scoring import compiled, forest, rank, tested_sql
from tests import movielens, worlds
from tests.batch.scoring.cells import MAX_VALUES, differing_cells
from tests.benchmarks.generate import generate
from tests.benchmarks.shapes import SHAPES
from tests.worlds import Connection, Cutoff

CUTOFFS = (Cutoff(0), Cutoff(1), Cutoff(2), Cutoff(1, n_next=3))
N_GENERATED = 60


def main() -> int:
    """Test, and write the digests if all is equal; return the exit code."""
    for name, connection in tested_worlds():
        user_ids = warehouse.user_ids(connection)
        n_pairs = candidates.n_unseen(connection)
        print(f"{name}: {len(user_ids)} users, {n_pairs:,} pairs", flush=True)
        if wrong := differences(connection, user_ids):
            print(
                f"error: the compiled scorer differs from the SQL: {wrong}; "
                "batch/README.md says how to teach it a feature",
                file=sys.stderr,
            )
            return 1
    write()
    return 0


def write() -> None:
    """Write the digests of what is now tested."""
    text = json.dumps(tested_sql.digests(), indent=1, sort_keys=True)
    tested_sql.FILE.write_text(text + "\n", encoding="utf-8")
    print(f"wrote {tested_sql.FILE}")


def tested_worlds() -> Iterator[tuple[str, Connection]]:
    """Yield names, and connections with the tables as of a cutoff."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with warehouse.connect(folder / "spill") as connection:
            worlds.stage(connection, worlds.ragged())
            worlds.name_alike(connection)
            for cutoff in CUTOFFS:
                tables.build(connection, *cutoff, merges_films=cutoff == Cutoff(0))
                yield f"a ragged world, {cutoff}", connection
            generate(SHAPES["ml-100k"], folder / "generated", N_GENERATED)
            load.read(connection, release.find(folder / "generated", folder))
            tables.build(connection, n_cuts=0)
            yield "a generated release", connection
            try:
                real = movielens.ml_100k()
            except pytest.skip.Exception as skipped:
                print(skipped, file=sys.stderr)
                return
            load.read(connection, release.find(real, folder))
            tables.build(connection, n_cuts=0, merges_films=True)
            yield str(real), connection


def differences(connection: Connection, user_ids: Sequence[int]) -> str:
    """Say in what the compiled scorer differs from the SQL; nothing if it does not."""
    try:
        return differing_values(connection, user_ids) or differing_lists(
            connection, user_ids
        )
    except KeyError as error:  # columns.py names what scorer_users.sql does not give
        return str(error.args[0])


def differing_values(connection: Connection, user_ids: Sequence[int]) -> str:
    """Name the features that differ in some cell."""
    size = max(1, MAX_VALUES // warehouse.count(connection, "stg_items"))
    for start in range(0, len(user_ids), size):
        wrong = differing_cells(connection, user_ids[start : start + size])
        if wrong:
            return ", ".join(f"{name} in {n} cells" for name, n in wrong.items())
    return ""


def differing_lists(connection: Connection, user_ids: Sequence[int]) -> str:
    """Name a user whose list differs, with a model of many features."""
    pairs = candidates.pairs(connection, user_ids[:30])
    drawn = np.random.default_rng(0).integers(0, 6, len(pairs)).astype(np.float32)
    labelled = replace(pairs, labels=drawn)
    booster = train.train([labelled], None, {"min_child_weight": 0.0}, 50).booster
    shape = 2, len(base_scores.COLUMNS)
    weights = np.random.default_rng(0).normal(size=shape)
    base_margin.write(booster, weights)
    scorer = compiled.Scorer(connection, forest.lay_out(booster, FEATURES), weights)
    try:
        rank.compare(connection, booster, scorer, user_ids, top_n=100)
    except forest.UnsupportedError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())
