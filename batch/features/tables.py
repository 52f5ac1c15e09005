"""The tables of the features, as of a cutoff."""

import ast
import hashlib
import re
import tokenize
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import duckdb

from batch import warehouse
from batch.features import item_models
from batch.settings import DEFAULT_SCALE, RatingScale

EXEMPT = {"eligible_items", "films"}
"""Models that choose pairs but compute nothing about them."""

STRONG_SCORES = "strong_scores"
"""Stands for the strong scores among the models, though Python computes them."""

FEATURES = ("marts/pair_features", STRONG_SCORES)
"""From what the trees' features and the base margin are computed."""

WORD = re.compile(r"\w+")


def build(
    connection: duckdb.DuckDBPyConnection,
    n_cuts: int,
    n_next: int = 0,
    scale: RatingScale = DEFAULT_SCALE,
    short_share: float = 0.0,
    *,
    merges_films: bool = False,
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
        short_share: the share of users who keep one to five ratings as their history.
        merges_films: whether items of the same title and year are one film in lists.
            It is for those that are published: metrics go by ids as they are.
    """
    warehouse.build_models(
        connection,
        n_cuts,
        n_next,
        scale.liked_from,
        scale.disliked_to,
        merges_films,
        short_share,
    )
    item_models.build(connection)
    # large and no longer used; the following stages need the memory
    warehouse.drop(connection, *warehouse.SCAFFOLDING)


def fingerprint() -> str:
    """Return a digest of all SQL and of the strong scores: has anything changed?"""
    parts = {
        path.relative_to(warehouse.SQL).as_posix(): warehouse.normalized(
            warehouse.text_of(path)
        )
        for path in warehouse.SQL.rglob("*.sql")
    }
    return digest_of(parts | {STRONG_SCORES: strong_scores()})


def features_fingerprint() -> str:
    """Return a digest of the computation of the features: must a model be retrained?

    It covers FEATURES and the models that they read, but the staging models; and
    LIMITS. Neither comments nor white space count.
    """
    found = digests(*FEATURES)
    return digest_of(found | {"limits": repr(warehouse.LIMITS)})


def digests(*models: str) -> dict[str, str]:
    """Return file → digest of some models and of all models that these read.

    Staging models, which depend on the form of the raw files, are not among them.
    """
    known = {m.rpartition("/")[2]: m for m in warehouse.MODELS + warehouse.ON_DEMAND}
    found: dict[str, str] = {}
    todo, done = {*models}, set[str]()
    while todo:
        model = todo.pop()
        done.add(model)
        if model == STRONG_SCORES:
            file, text = "batch/features/base_scores.py", strong_scores()
        else:
            file = f"sql/{model}.sql"
            text = warehouse.normalized(warehouse.read(model))
        found[file] = hashlib.sha256(text.encode()).hexdigest()
        read = known.keys() & set(WORD.findall(text.lower())) - EXEMPT
        todo |= {known[name] for name in read} - done
    return found


def strong_scores() -> str:
    """Return the code of the strong scores without comments and docstrings."""
    folder = Path(item_models.__file__).parent
    names = ("item_models.py", "base_scores.py", "loops.py")
    return "\n".join(code_of(folder / name) for name in names)


def code_of(path: Path) -> str:
    """Return a module's code without comments and docstrings."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        # other strings, such as SQL in three quotes, are code
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            last = node.end_lineno or node.lineno
            lines[node.lineno - 1 : last] = [""] * (1 + last - node.lineno)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def digest_of(parts: Mapping[str, str]) -> str:
    """Return a digest of names and their texts, in any order."""
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()
