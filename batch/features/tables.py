"""The tables of the features, as of a cutoff."""

import hashlib
from pathlib import Path

import duckdb

from batch import warehouse
from batch.features import item_models
from batch.settings import DEFAULT_SCALE, RatingScale


def build(
    connection: duckdb.DuckDBPyConnection,
    n_cuts: int,
    n_next: int = 0,
    scale: RatingScale = DEFAULT_SCALE,
) -> None:
    """Build the tables of the features from the staging tables.

    Args:
        connection: holds the staging tables.
        n_cuts: how often the last fifth of each user's ratings is cut off. With 0 the
            cutoff is now. With 1 the future is the hold-out of the evaluation protocol.
            With 2 the future is the fifth before it, for training a model that is then
            evaluated.
        n_next: moves the cutoff back by this many ratings, which become the future.
        scale: which ratings count as liked and as disliked.
    """
    warehouse.build_models(
        connection, n_cuts, n_next, scale.liked_from, scale.disliked_to
    )
    item_models.build(connection)
    # large and no longer used; the following stages need the memory
    warehouse.drop(connection, *warehouse.SCAFFOLDING)


def fingerprint() -> str:
    """Return a digest of everything that decides the values of the features."""
    digest = hashlib.sha256()
    for path in sorted(warehouse.SQL.rglob("*.sql")):
        digest.update(path.relative_to(warehouse.SQL).as_posix().encode() + b"\n")
        digest.update(path.read_bytes() + b"\0")
    digest.update(Path(item_models.__file__).read_bytes())
    return digest.hexdigest()
