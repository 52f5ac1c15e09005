"""The tables of the features, as of a cutoff."""

import hashlib
from pathlib import Path

import duckdb

from batch import warehouse
from batch.features import item_models


def build(connection: duckdb.DuckDBPyConnection, n_cuts: int, n_next: int = 0) -> None:
    """Build the features as of the moment after `n_cuts` cuts of the last fifth.

    0: now. 1: the evaluation protocol's hold-out is the future. 2: the fifth before
    it is, which a model that is to be evaluated can learn from. With `n_next` the
    moment is so many ratings before that, and these are its future.
    """
    warehouse.build_models(connection, n_cuts, n_next)
    item_models.build(connection)


def fingerprint() -> str:
    """Digest the SQL files and the linear models: others make other features."""
    digest = hashlib.sha256()
    for path in sorted(warehouse.SQL.rglob("*.sql")):
        digest.update(path.relative_to(warehouse.SQL).as_posix().encode() + b"\n")
        digest.update(path.read_bytes() + b"\0")
    digest.update(Path(item_models.__file__).read_bytes())
    return digest.hexdigest()
