"""Small worlds with obvious answers, the real release, and changed futures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from batch import warehouse
from batch.features import tables
from batch.features.candidates import Pairs, pairs
from batch.ingest import load, release
from tests import movielens
from tests.sql.given import given

Connection = duckdb.DuckDBPyConnection
Rating = tuple[int, int, float, int]


@dataclass(frozen=True)
class World:
    """What the staging tables hold.

    Attributes:
        ratings: of (user_id, item_id, rating, rated_at).
        items: of (item_id, release_year, genres).
        users: of (user_id, age, gender, occupation).
    """

    ratings: Sequence[Rating]
    items: Sequence[tuple[int, int | None, list[str]]]
    users: Sequence[tuple[int, int | None, str | None, str | None]]

    def shuffled(self, seed: int) -> "World":
        """Put the rows in another order."""
        draw = np.random.default_rng(seed)
        return World(
            [self.ratings[i] for i in draw.permutation(len(self.ratings))],
            [self.items[i] for i in draw.permutation(len(self.items))],
            [self.users[i] for i in draw.permutation(len(self.users))],
        )


def stage(connection: Connection, world: World) -> None:
    """Make a world's staging tables."""
    given(connection, "stg_ratings", "user_id item_id rating rated_at", world.ratings)
    titled = [(i, f"Item {i}", year, genres, str(i)) for i, year, genres in world.items]
    columns = "item_id title release_year genres item_key"
    given(connection, "stg_items", columns, titled)
    people = [(*user, str(user[0])) for user in world.users]
    given(connection, "stg_users", "user_id age gender occupation user_key", people)


def name_alike(connection: Connection) -> None:
    """Make ten films of three ids each of the first 30 items, such as 1, 11 and 21."""
    connection.execute(
        "update stg_items set title = 'Item ' || item_id % 10, "
        "release_year = 1960 + item_id % 10 where item_id <= 30"
    )


def checkerboard(n_users: int = 40, n_items: int = 40, n_ratings: int = 15) -> World:
    """Let odd users rate odd items and even users even ones, in no order.

    Of a user's 15 ratings the last three are held out. A model that has learned the
    pattern ranks them among the user's 8 unseen items, others rank them among all 28.
    """
    draw = np.random.default_rng(0)
    ratings: list[Rating] = []
    for user in range(1, n_users + 1):
        colour = [item for item in range(1, n_items + 1) if (item - user) % 2 == 0]
        chosen = draw.permutation(colour)[:n_ratings].tolist()
        ratings += [(user, item, 4.0, 10_000 + i) for i, item in enumerate(chosen)]
    return World(
        ratings,
        [(item, 1990, ["Drama"]) for item in range(1, n_items + 1)],
        [(user, 30, "F", "artist") for user in range(1, n_users + 1)],
    )


def ragged() -> World:
    """Draw a world with the irregularities of a real one.

    Users of one rating and of nearly all items, ratings in the same second and weeks
    apart, half stars, items without ratings, year or genres, unknown users.
    """
    draw = np.random.default_rng(1)
    genres = ["Action", "Comedy", "Drama", "War"]
    work = ["artist", "writer", None]
    ratings: list[Rating] = []
    for user in range(1, 31):
        n = {1: 1, 2: 45}.get(user, int(draw.integers(1, 36)))
        time = 880_000_000 + int(draw.integers(0, 60)) * 86_400
        # squared, so that some items are popular and the last ones never rated
        order = np.argsort(draw.random(45) * np.arange(1, 46) ** 2)[:n]
        for item in order.tolist():
            time += int(draw.choice([0, 0, 10, 400, 700_000]))
            ratings.append((user, item + 1, int(draw.integers(1, 11)) / 2, time))
    return World(
        ratings,
        [
            (
                item,
                None if item % 9 == 0 else 1950 + item,
                [genre for genre in genres if draw.random() < 0.4],
            )
            for item in range(1, 51)
        ],
        [
            (
                user,
                None if user % 7 == 0 else int(draw.integers(8, 70)),
                [None, "F", "M"][min(2, user % 5)],
                work[user % 3],
            )
            for user in range(1, 31)
        ],
    )


def ragged_pairs(spill: Path) -> Pairs:
    """Compute training pairs of the ragged world."""
    with warehouse.connect(spill) as connection:
        stage(connection, ragged())
        tables.build(connection, n_cuts=2)
        return pairs(connection, warehouse.user_ids(connection))


def real(unpacked: Path) -> World:
    """Read the real release, or skip the test without one."""
    found = release.find(movielens.ml_100k(), unpacked)
    with warehouse.connect(unpacked / "spill") as connection:
        load.read(connection, found)
        return World(
            connection.table("stg_ratings").fetchall(),
            connection.sql(
                "select item_id, release_year, genres from stg_items"
            ).fetchall(),
            connection.table("stg_users").select("* exclude user_key").fetchall(),
        )


def real_is_ml_100k(world: World) -> bool:
    """Return whether the real release is ml-100k, which published figures are of."""
    return len(world.ratings) == 100_000


# --- other futures -------------------------------------------------------------------

History = list[Rating]


class Cutoff(NamedTuple):
    """The parameters of `tables.build`."""

    n_cuts: int
    n_next: int = 0


def n_history(n_ratings: int, cutoff: Cutoff) -> int:
    """Say how many of a user's ratings come before the cutoff."""
    for _ in range(cutoff.n_cuts):
        n_ratings = -(-4 * n_ratings // 5)
    has_past = n_ratings > min(cutoff.n_next, 1)
    return max(1, n_ratings - cutoff.n_next) if has_past else 0


def change(
    world: World, cutoff: Cutoff, how: Callable[[World, History, History], History]
) -> World:
    """Replace each user's ratings by what `how` returns for their past and future."""
    histories: dict[int, History] = {}
    for rating in sorted(world.ratings, key=movielens.place):
        histories.setdefault(rating[0], []).append(rating)
    ratings: list[Rating] = []
    for history in histories.values():
        n = n_history(len(history), cutoff)
        ratings += how(world, history[:n], history[n:])
    return replace(world, ratings=ratings)


def rewrite_future(world: World, past: History, future: History) -> History:
    """Rate as many other items, with other ratings and times after the past."""
    if not future:
        return past
    (user, _, _, last), seen = (past or future)[-1], {item for _, item, _, _ in past}
    unseen = [item for item, _, _ in world.items if item not in seen]
    formerly = {item for _, item, _, _ in future}
    # those that were not rated before come first
    chosen = sorted(unseen, key=lambda item: (item in formerly, item))[: len(future)]
    return past + [
        (user, item, 5.5 - future[i][2], last + 1 + 2_000_000 * i)
        for i, item in enumerate(chosen)
    ]


def drop_future(cutoff: Cutoff) -> Callable[[World, History, History], History]:
    """Drop as many of the last ratings as possible without moving the cutoff."""

    def dropped(_: World, past: History, future: History) -> History:
        n = len(past) + len(future)
        while n > len(past) and n_history(n - 1, cutoff) == len(past):
            n -= 1
        return (past + future)[:n]

    return dropped


def rewrite_past(_: World, past: History, future: History) -> History:
    """Invert every past rating."""
    return [
        (user, item, 5.5 - rating, time) for user, item, rating, time in past
    ] + future


# --- their features ------------------------------------------------------------------


def features(
    connection: Connection, world: World, cutoff: Cutoff, every: int = 1
) -> pa.Table:
    """Compute the features of every nth user's candidates, without the labels."""
    stage(connection, world)
    tables.build(connection, *cutoff)
    user_ids = warehouse.user_ids(connection)[::every]
    return ordered(pairs(connection, user_ids).as_table().drop_columns(["label"]))


def ordered(table: pa.Table) -> pa.Table:
    """Sort pairs by their ids."""
    return table.sort_by([("user_id", "ascending"), ("item_id", "ascending")])


def moved(before: pa.Table, after: pa.Table) -> list[str]:
    """Return the names of the columns in which two tables differ."""
    assert before.column_names == after.column_names
    return [n for n in before.column_names if not before[n].equals(after[n])]
