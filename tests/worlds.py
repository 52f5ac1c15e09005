"""Small worlds whose right answer is obvious, the real one, and other futures."""

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
    titled = [(i, f"Item {i}", year, genres) for i, year, genres in world.items]
    given(connection, "stg_items", "item_id title release_year genres", titled)
    given(connection, "stg_users", "user_id age gender occupation", world.users)


def checkerboard(n_users: int = 40, n_items: int = 40, n_ratings: int = 15) -> World:
    """Let odd users rate odd items and even users even ones, in no order.

    Of a user's 15 ratings the last three are held out. Whoever sees the board ranks
    them among the 8 unseen items of their colour; whoever does not, among all 28.
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
    """Draw a world with all that is irregular in a real one.

    Users of one rating and of nearly all items, ratings in the same second and weeks
    apart, halves of stars, items without ratings, year or genres, users of whom
    nothing is known.
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
    """Compute the features of the ragged world's pairs, to train with."""
    with warehouse.connect(spill) as connection:
        stage(connection, ragged())
        tables.build(connection, n_cuts=2)
        return pairs(connection, warehouse.user_ids(connection))


def real(unpacked: Path) -> World:
    """Read the real release; skip the test where there is none."""
    found = release.find(movielens.ml_100k(), unpacked)
    with warehouse.connect(unpacked / "spill") as connection:
        load.read(connection, found)
        return World(
            connection.table("stg_ratings").fetchall(),
            connection.sql(
                "select item_id, release_year, genres from stg_items"
            ).fetchall(),
            connection.table("stg_users").fetchall(),
        )


def real_is_ml_100k(world: World) -> bool:
    """Tell whether the real release is the one that published figures are of."""
    return len(world.ratings) == 100_000


# --- other futures -------------------------------------------------------------------

History = list[Rating]


class Moment(NamedTuple):
    """After so many cuts of the last fifth, and so many ratings before that."""

    n_cuts: int
    n_next: int = 0


def n_history(n_ratings: int, moment: Moment) -> int:
    """Say how many of a user's ratings are past at a moment."""
    for _ in range(moment.n_cuts):
        n_ratings = -(-4 * n_ratings // 5)
    return max(0, n_ratings - moment.n_next)


def change(
    world: World, moment: Moment, how: Callable[[World, History, History], History]
) -> World:
    """Replace what each user rated by what `how` makes of the past and the future."""
    histories: dict[int, History] = {}
    for rating in sorted(world.ratings, key=lambda row: (row[0], row[3], row[1])):
        histories.setdefault(rating[0], []).append(rating)
    ratings: list[Rating] = []
    for history in histories.values():
        cut = n_history(len(history), moment)
        ratings += how(world, history[:cut], history[cut:])
    return replace(world, ratings=ratings)


def rewrite_future(world: World, past: History, future: History) -> History:
    """Rate as many other items, otherwise and at other times, all after the past."""
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


def drop_future(moment: Moment) -> Callable[[World, History, History], History]:
    """Drop as many of the last ratings as leave the cut where it is."""

    def dropped(_: World, past: History, future: History) -> History:
        n = len(past) + len(future)
        while n > len(past) and n_history(n - 1, moment) == len(past):
            n -= 1
        return (past + future)[:n]

    return dropped


def rewrite_past(_: World, past: History, future: History) -> History:
    """Turn every past rating around: what was liked was not."""
    return [
        (user, item, 5.5 - rating, time) for user, item, rating, time in past
    ] + future


# --- their features ------------------------------------------------------------------


def features(
    connection: Connection, world: World, moment: Moment, every: int = 1
) -> pa.Table:
    """Compute the features of one in `every` users' candidates, without the labels."""
    stage(connection, world)
    tables.build(connection, *moment)
    user_ids = warehouse.user_ids(connection)[::every]
    return ordered(pairs(connection, user_ids).as_table().drop_columns(["label"]))


def ordered(table: pa.Table) -> pa.Table:
    """Sort pairs by their ids."""
    return table.sort_by([("user_id", "ascending"), ("item_id", "ascending")])


def moved(before: pa.Table, after: pa.Table) -> list[str]:
    """Name the columns in which two tables are not exactly the same."""
    assert before.column_names == after.column_names
    return [n for n in before.column_names if not before[n].equals(after[n])]
