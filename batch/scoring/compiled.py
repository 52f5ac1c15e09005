"""Rank as xgboost would, in machine code."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Protocol, Self

import duckdb
import numpy as np
import numpy.typing as npt

from batch.scoring import arrays, kernels
from batch.scoring.kernels import Forest, Items, Scratch, Users
from batch.scoring.ranking import Ranking

USERS_PER_BLOCK = 1024
"""Users of whom the features' parts are read at once."""

USERS_PER_TASK = 16
"""Users whom a thread ranks before it looks for more."""

Ranked = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Places of items, their scores, and how many there are; see `rank`."""


class Scorer:
    """Ranks the items of a moment with a model.

    Args:
        connection: holds the tables of the moment to score for.
        forest: with the features in the order of FEATURES.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, forest: Forest) -> None:
        self._connection = connection
        self.forest = forest
        self.moment = arrays.read_moment(connection, forest)

    def rank(
        self,
        user_ids: Sequence[int],
        top_n: int,
        elsewhere: "Workers | None" = None,
    ) -> Iterator[Ranking]:
        """Rank every unseen item for each user, in the order of `user_ids`.

        Blocks of users are read while others are ranked.

        Args:
            user_ids: rising.
            top_n: how many items to keep a user.
            elsewhere: who ranks, instead of this process' threads.
        """
        top_n = min(top_n, len(self.moment.item_ids))
        with ExitStack() as stack:
            workers = elsewhere or stack.enter_context(Threads(self))
            ranked: deque[tuple[Sequence[int], list[Task]]] = deque()
            for some in cut(user_ids, USERS_PER_BLOCK):
                users = arrays.read_users(self._connection, self.moment, some)
                parts = arrays.parts_of(users, workers.users_per_task)
                tasks = [workers.submit(part, top_n) for part in parts]
                ranked.append((some, tasks))
                if len(ranked) > workers.blocks_ahead:
                    yield from self._rankings(*ranked.popleft())
            for block in ranked:
                yield from self._rankings(*block)

    def _rankings(
        self, user_ids: Sequence[int], tasks: Sequence["Task"]
    ) -> Iterator[Ranking]:
        """Give the users' rankings as they come."""
        remaining = iter(user_ids)
        for task in tasks:
            for places, scores, n in zip(*task.result(), strict=True):
                item_ids = self.moment.item_ids[places[:n]]
                yield Ranking(next(remaining), item_ids, scores[:n])


class Workers(Protocol):
    """Who ranks users.

    Attributes:
        users_per_task: how many to hand over at once.
        blocks_ahead: how many blocks may wait.
    """

    users_per_task: int
    blocks_ahead: int

    def submit(self, users: Users, top_n: int) -> "Task":
        """Have users ranked."""
        ...


class Task(Protocol):
    """Users who are being ranked."""

    def result(self) -> Ranked:
        """Wait for their items and scores."""
        ...


class Threads:
    """The cores of this machine."""

    users_per_task = USERS_PER_TASK
    blocks_ahead = 1

    def __init__(self, scorer: Scorer) -> None:
        self._items = scorer.moment.items
        self._forest = scorer.forest
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, users: Users, top_n: int) -> Future[Ranked]:
        """Have users ranked by a thread."""
        return self._pool.submit(rank, users, self._items, self._forest, top_n)


def rank(users: Users, items: Items, forest: Forest, top_n: int) -> Ranked:
    """Rank every unseen item for some users.

    Returns:
        Places in `items`, best first, and scores, each of shape (n_users, top_n), and
        how many of them there are, of shape (n_users,).
    """
    n = len(users.floats)
    places, scores = np.zeros((n, top_n), np.int32), np.zeros((n, top_n), np.float32)
    n_best = np.zeros(n, np.int64)
    own = scratch_for(items, forest)
    kernels.rank(0, n, users, items, forest, own, places, scores, n_best)
    return places, scores, n_best


def cut(user_ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Cut users into blocks of at most `size`."""
    for start in range(0, len(user_ids), size):
        yield user_ids[start : start + size]


def scratch(
    forest: Forest, n_items: int, n_known: int = 0, n_scores: int = 0, n_genres: int = 0
) -> Scratch:
    """Make what a thread writes on."""
    kind, n_features = forest.cuts.dtype, len(forest.threshold_starts) - 1
    return Scratch(
        codes=np.zeros((n_features, n_items), kind),
        kept=np.zeros((n_features, n_items), kind),
        small=np.zeros((3, max(n_items, kernels.CHUNK)), kind),
        values=np.zeros((2, n_items), np.float32),
        scores=np.zeros(n_items, np.float32),
        sums=np.zeros((n_items, 8), np.int64),
        touched=np.zeros(n_items, np.int32),
        places=np.zeros((2, n_items), np.int32),
        is_out=np.zeros(n_items, np.bool_),
        linear=np.zeros((n_scores, n_known)),
        by_genre=np.zeros((n_genres, 6), np.int64),
    )


def scratch_for(items: Items, forest: Forest) -> Scratch:
    """Make what a thread writes on for the items of a moment."""
    return scratch(
        forest,
        n_items=items.codes.shape[1],
        n_known=len(items.known),
        n_scores=len(items.scores),
        n_genres=int(items.set_genres.max(initial=-1)) + 1,
    )


def stump() -> Forest:
    """Make a forest of one tree that asks nothing, of one feature."""
    return Forest(
        thresholds=np.zeros(0, np.float32),
        threshold_starts=np.zeros(2, np.int64),
        depth=1,
        features=np.zeros((1, 1), np.int32),
        cuts=np.zeros((1, 1), np.uint8),
        shifts=np.zeros((1, 1), np.uint8),
        leaves=np.zeros((1, 2), np.float32),
        roots=np.zeros(0, np.int64),
        children=np.zeros((2, 0), np.int32),
        remaining=np.zeros(2),
        base=np.float32(0),
        missing=np.uint8(255),
        is_logistic=False,
        slack=0.0,
    )


def warm_up() -> None:
    """Have the machine code made, or read where it was made before.

    That takes some seconds once, most of them beside what other threads do.
    """
    forest = stump()
    codes, nobody = np.zeros((1, 1), np.uint8), np.zeros(1, np.int64)
    items = Items(
        codes=codes,
        first_code=0,
        doubles=np.zeros((1, 1)),
        gaps=np.zeros((0, 4), np.int64),
        genre_set=np.zeros(1, np.int64),
        set_starts=nobody,
        set_genres=np.zeros(0, np.int64),
        weeks=np.zeros((1, 2, 1), np.uint8),
        audiences=np.zeros((1, 2, 1), np.uint8),
        near_starts=nobody,
        near=np.zeros((0, 3), np.int32),
        along_starts=nobody,
        along=np.zeros((0, 5), np.int32),
        known=np.zeros(0, np.int32),
        weights=np.zeros((1, 0, 0), np.int32),
        scores=np.zeros((0, 2), np.int64),
        unit=1.0,
        rows=np.zeros(7, np.int64),
        scales=np.zeros((2, 7), np.int64),
    )
    users = Users(
        floats=np.zeros((0, 1), np.float32),
        doubles=np.zeros((0, 1)),
        places=np.zeros((0, 3), np.int64),
        history_starts=nobody,
        history=np.zeros((0, 7), np.int32),
        state_starts=nobody,
        states=np.zeros((0, 6), np.int32),
        genre_starts=nobody,
        genres=np.zeros((0, 6), np.int64),
    )
    own = scratch(forest, n_items=1)
    places, scores = np.zeros((0, 1), np.int32), np.zeros((0, 1), np.float32)
    n_best = np.zeros(0, np.int64)
    kernels.rank(0, 0, users, items, forest, own, places, scores, n_best)
