"""Ranks as `batch/score.py` does with xgboost, in machine code made for the model."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import duckdb
import numpy as np

from batch import facts, kernels
from batch.facts import Moment
from batch.kernels import Forest, Items, Scratch, Users
from batch.ranking import Ranking

USERS_PER_BLOCK = 1024
USERS_PER_TASK = 16


class Scorer:
    """Ranks the items of a moment with a model.

    Args:
        connection: holds the tables of the moment to score for.
        forest: with the features in the order of FEATURES.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, forest: Forest) -> None:
        self._connection = connection
        self._forest = forest
        self._moment = facts.read_moment(connection, forest)

    def rank(self, user_ids: Sequence[int], top_n: int) -> Iterator[Ranking]:
        """Rank every unseen item for each user, in the order of `user_ids`.

        A block of users is read while the one before is ranked.

        Args:
            user_ids: rising.
            top_n: how many items to keep a user.
        """
        top_n = min(top_n, len(self._moment.item_ids))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            ranked: deque[Block] = deque()
            for start in range(0, len(user_ids), USERS_PER_BLOCK):
                some = user_ids[start : start + USERS_PER_BLOCK]
                users = facts.read_users(self._connection, self._moment, some)
                block = Block(some, users, self._moment, self._forest, top_n)
                block.submit(pool)
                ranked.append(block)
                if len(ranked) > 1:
                    yield from ranked.popleft().rankings()
            for block in ranked:
                yield from block.rankings()


class Block:
    """Users who are being ranked by a pool of threads."""

    def __init__(
        self,
        user_ids: Sequence[int],
        users: Users,
        moment: Moment,
        forest: Forest,
        top_n: int,
    ) -> None:
        shape = len(user_ids), top_n
        self._user_ids = user_ids
        self._users = users
        self._moment = moment
        self._forest = forest
        self._places = np.zeros(shape, np.int32)
        self._scores = np.zeros(shape, np.float32)
        self._n_best = np.zeros(len(user_ids), np.int64)
        self._tasks: list[Future[None]] = []

    def submit(self, pool: ThreadPoolExecutor) -> None:
        """Have the users ranked, some by each task."""
        starts = range(0, len(self._user_ids), USERS_PER_TASK)
        self._tasks = [pool.submit(self.rank_from, start) for start in starts]

    def rankings(self) -> Iterator[Ranking]:
        """Give the users' rankings as they come."""
        for i, user_id in enumerate(self._user_ids):
            if i % USERS_PER_TASK == 0:
                self._tasks[i // USERS_PER_TASK].result()
            n = self._n_best[i]
            item_ids = self._moment.item_ids[self._places[i, :n]]
            yield Ranking(user_id, item_ids, self._scores[i, :n])

    def rank_from(self, first: int) -> None:
        """Rank for the users of one task."""
        moment, forest = self._moment, self._forest
        kernels.rank(
            first,
            min(first + USERS_PER_TASK, len(self._user_ids)),
            self._users,
            moment.items,
            forest,
            scratch_for(moment, forest),
            self._places,
            self._scores,
            self._n_best,
        )


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


def scratch_for(moment: Moment, forest: Forest) -> Scratch:
    """Make what a thread writes on for the items of a moment."""
    return scratch(
        forest,
        n_items=len(moment.item_ids),
        n_known=len(moment.known_ids),
        n_scores=len(moment.items.scores),
        n_genres=len(moment.genres),
    )


def warm_up() -> None:
    """Have the machine code made, or read where it was made before.

    That takes some seconds once, most of them beside what other threads do.
    """
    forest = Forest(
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
