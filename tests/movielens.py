"""The real MovieLens-100K, where it is available, and a small release of its form."""

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.sql import raw

NAMED = os.environ.get("MOVIELENS_TEST_RAW")
DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data" / "ml-100k"


def ml_100k() -> Path:
    """Return its folder, or skip the test and say why.

    A MOVIELENS_TEST_RAW without u.data is a failure: somebody wanted the test.
    """
    folder = Path(NAMED or DEFAULT).resolve()
    if not (folder / "u.data").exists():
        if NAMED:
            pytest.fail(f"MOVIELENS_TEST_RAW={NAMED} has no u.data")
        pytest.skip(
            f"NOT TESTED ON REAL DATA: no u.data in {folder}; set MOVIELENS_TEST_RAW "
            "to the folder of MovieLens-100K"
        )
    return folder


def write_world(folder: Path) -> Path:
    """Write 40 users with one of two tastes, who watch 60 items in an order.

    Two ratings each share their second.
    """
    n_items, n_users = 60, 40
    ratings: list[raw.Row] = []
    for user_id in range(1, n_users + 1):
        taste, n_ratings = user_id % 2, 10 + user_id % 7
        for step in range(n_ratings):
            item_id = 1 + taste + 2 * ((user_id + step) % (n_items // 2))
            rating = 1 + (user_id * 7 + step * 3) % 5
            rated_at = 880000000 + 1000 * (step // 2) + user_id
            ratings.append((user_id, item_id, rating, rated_at))
    genres = (["Comedy"], ["Drama", "Romance"])
    items: list[raw.Row] = [
        (item_id, f"Movie {item_id} (19{40 + item_id % 50})", genres[item_id % 2])
        for item_id in range(1, n_items + 1)
    ]
    users: list[raw.Row] = [
        (user_id, 20 + user_id % 40, "FM"[user_id % 2], "artist")
        for user_id in range(1, n_users + 1)
    ]
    folder.mkdir(parents=True)
    raw.tab(folder, ratings, items, users)
    return folder


def write_first_80_percent(source: Path, folder: Path) -> dict[int, set[int]]:
    """Write a release without its hold-out; return that as user_id → item_ids."""
    kept, held_out = split(read_ratings(source), "fifth")
    folder.mkdir()
    for name in ("u.item", "u.user"):
        (folder / name).write_bytes((source / name).read_bytes())
    lines = ("\t".join(map(str, row)) for row in kept)
    (folder / "u.data").write_text("\n".join(lines) + "\n")
    return held_out


def split(
    ratings: list[list[int]], protocol: str
) -> tuple[list[list[int]], dict[int, set[int]]]:
    """Return what a model sees, and the hold-out as user_id → item_ids."""
    by_user: dict[int, list[list[int]]] = {}
    for row in ratings:
        by_user.setdefault(row[0], []).append(row)
    kept, held_out = [], {}
    for user_id, rows in by_user.items():
        rows.sort(key=place)
        n = len(rows)
        cut = {"fifth": math.ceil(0.8 * n), "last": n - 1}[protocol]
        kept += rows[:cut]
        held_out[user_id] = {row[1] for row in rows[cut:]}
    return kept, held_out


def place(rating: Sequence[float]) -> tuple[float, ...]:
    """Return what a user's ratings are sorted by in the protocol.

    Args:
        rating: user_id, item_id, rating, rated_at.
    """
    user_id, item_id, _, rated_at = rating
    tie = (item_id * 2_654_435_761 + user_id * 40_503) % 2**32
    return rated_at, tie, item_id


def read_ratings(folder: Path) -> list[list[int]]:
    """Read a folder's u.data."""
    with (folder / "u.data").open(newline="") as file:
        return [[int(cell) for cell in row] for row in csv.reader(file, delimiter="\t")]


def rated_items(folder: Path) -> dict[int, set[int]]:
    """Read a folder's u.data as user_id → item_ids."""
    rated: dict[int, set[int]] = {}
    for user_id, item_id, *_ in read_ratings(folder):
        rated.setdefault(user_id, set()).add(item_id)
    return rated
