"""The compiled scorer: features and trees in machine code, with xgboost's results."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple, Protocol, Self

import duckdb
import numpy as np
import numpy.typing as npt

from batch.features import base_scores
from batch.features.base_scores import Base, Histories
from batch.machine import limits
from batch.model import base_margin
from batch.model.base_margin import Weights
from batch.scoring import arrays, kernels
from batch.scoring.kernels import Forest, Items, Scratch, Users
from batch.scoring.ranking import Ranking

USERS_PER_BLOCK = 1024
"""Number of users whose arrays are read at once."""

USERS_PER_TASK = 16
"""Number of users whom a thread ranks in one task."""

Ranked = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Positions of items and their scores, each of shape (n_users, top_n), and the lengths
of the users' lists, of shape (n_users,)."""


class Start(NamedTuple):
    """What the base margins are made from, for a model that has some."""

    base: Base
    weights: Weights


class Scorer:
    """Ranks the items of a cutoff with a model whose features are FEATURES.

    Args:
        connection: holds the tables of the cutoff.
        forest: the model's trees.
        weights: of the model's base margin; None if its trees are the whole model.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        forest: Forest,
        weights: Weights | None = None,
    ) -> None:
        self._connection = connection
        self.forest = forest
        self.catalogue = arrays.read_catalogue(connection, forest)
        self.start = None
        if weights is not None:
            self.start = Start(Base.read(connection), weights)

    def rank_users(
        self, user_ids: Sequence[int], top_n: int, workers: "Workers | None" = None
    ) -> Iterator[list[Ranking]]:
        """Yield the users' rankings block by block; see `batch.scoring.rank`.

        Reads the next block of users while the workers rank the last one. Without
        workers, threads of this process rank.
        """
        top_n = min(top_n, len(self.catalogue.item_ids))
        with ExitStack() as stack:
            workers = workers or stack.enter_context(Threads(self))
            ahead: deque[tuple[Sequence[int], list[Task]]] = deque()
            for start in range(0, len(user_ids), USERS_PER_BLOCK):
                block = user_ids[start : start + USERS_PER_BLOCK]
                users = arrays.read_users(self._connection, self.catalogue, block)
                parts = arrays.split(users, workers.users_per_task)
                ahead.append((block, [workers.submit(part, top_n) for part in parts]))
                if len(ahead) > workers.blocks_ahead:
                    yield self._rankings(*ahead.popleft())
            while ahead:
                yield self._rankings(*ahead.popleft())

    def _rankings(
        self, user_ids: Sequence[int], tasks: Sequence["Task"]
    ) -> list[Ranking]:
        """Wait for the rankings of a block."""
        ranked = (user for task in tasks for user in zip(*task.result(), strict=True))
        return [
            Ranking(user_id, self.catalogue.item_ids[places[:n]], scores[:n])
            for user_id, (places, scores, n) in zip(user_ids, ranked, strict=True)
        ]


class Workers(Protocol):
    """Ranks users in parallel."""

    users_per_task: int
    blocks_ahead: int  # how many blocks may wait for their rankings

    def submit(self, users: Users, top_n: int) -> "Task":
        """Start to rank users."""
        ...


class Task(Protocol):
    """The pending rankings of some users."""

    def result(self) -> Ranked:
        """Wait for the rankings and return them."""
        ...


class Threads:
    """Workers that are threads of this process, one for each core that it may use."""

    users_per_task = USERS_PER_TASK
    blocks_ahead = 1

    def __init__(self, scorer: Scorer) -> None:
        self._items = scorer.catalogue.items
        self._forest = scorer.forest
        self._start = scorer.start
        self._pool = ThreadPoolExecutor(limits.cores())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, users: Users, top_n: int) -> Future[Ranked]:
        """Start to rank users in a thread."""
        return self._pool.submit(
            rank, users, self._items, self._forest, self._start, top_n
        )


def rank(
    users: Users, items: Items, forest: Forest, start: Start | None, top_n: int
) -> Ranked:
    """Rank every unseen item for some users."""
    n = len(users.floats)
    margins = np.full((n, items.codes.shape[1]), forest.base)
    if start is not None:
        own = Histories(
            users.ids,
            users.history_starts,
            users.history[:, 0],
            users.history[:, 2] > 0,
        )
        margins = base_margin.margins(start.base, own, start.weights)
        # larger sums have larger rounding errors
        size = float(np.abs(margins).max(initial=0)) * len(forest.leaves)
        slack = forest.slack + 2 * size * float(np.finfo(np.float32).eps)
        forest = forest._replace(slack=slack)
    places, scores = np.zeros((n, top_n), np.int32), np.zeros((n, top_n), np.float32)
    n_best = np.zeros(n, np.int64)
    scratch = scratch_for(items, forest)
    kernels.rank(users, items, forest, margins, scratch, places, scores, n_best)
    return places, scores, n_best


def scratch_for(items: Items, forest: Forest) -> Scratch:
    """Allocate the buffers of a thread for the items of a cutoff."""
    return new_scratch(
        forest,
        n_items=items.codes.shape[1],
        n_genres=int(items.set_genres.max(initial=-1)) + 1,
    )


def new_scratch(forest: Forest, n_items: int, n_genres: int = 0) -> Scratch:
    """Allocate the buffers of a thread."""
    kind, n_features = forest.cuts.dtype, len(forest.threshold_starts) - 1
    return Scratch(
        codes=np.zeros((n_features, n_items), kind),
        compacted=np.zeros((n_features, n_items), kind),
        buffers=np.zeros((3, max(n_items, kernels.CHUNK)), kind),
        values=np.zeros((2, n_items), np.float32),
        scores=np.zeros(n_items, np.float32),
        sums=np.zeros((n_items, kernels.N_SUMS + 1), np.int64),
        touched=np.zeros(n_items, np.int32),
        places=np.zeros((2, n_items), np.int32),
        is_excluded=np.zeros(n_items, np.bool_),
        by_genre=np.zeros((n_genres, 6), np.int64),
    )


def stump() -> Forest:
    """Return a forest of one feature and one tree without comparisons."""
    return Forest(
        thresholds=np.zeros(0, np.float32),
        threshold_starts=np.zeros(2, np.int64),
        depth=1,
        features=np.zeros((1, 1), np.int32),
        cuts=np.zeros((1, 1), np.uint8),
        shifts=np.zeros((1, 1), np.uint8),
        leaves=np.zeros((1, 2), np.float32),
        remaining=np.zeros(2),
        base=np.float32(0),
        missing=np.uint8(255),
        is_logistic=False,
        slack=0.0,
    )


def warm_up() -> None:
    """Compile the kernels, or load them from the cache, by ranking for no users.

    Compiling takes some seconds and mostly does not hold Python's global lock.
    """

    def codes(*shape: int) -> kernels.Codes:
        return np.zeros(shape, np.uint8)

    def longs(*shape: int) -> kernels.Longs:
        return np.zeros(shape, np.int64)

    def ints(*shape: int) -> kernels.Ints:
        return np.zeros(shape, np.int32)

    items = Items(
        codes=codes(1, 1), first_code=0, doubles=np.zeros((1, 1)), gaps=longs(1, 4),
        genre_set=longs(1), set_starts=longs(1), set_genres=longs(1),
        weeks=codes(1, 2, 1), audiences=codes(1, 2, 1), sequence_starts=longs(1),
        sequences=ints(1, 5), films=ints(1), ineligible=ints(0), rows=longs(5),
    )  # fmt: skip
    users = Users(
        ids=longs(0), floats=np.zeros((0, 1), np.float32), doubles=np.zeros((0, 1)),
        places=longs(0, 3), history_starts=longs(1), history=ints(0, 6),
        genre_starts=longs(1), genres=longs(0, 6),
    )  # fmt: skip
    base = Base(
        item_ids=ints(1), n_ratings=np.zeros(1, np.float32),
        sums=np.zeros((4, 1), np.float32), by_item=np.zeros((5, 1), np.float32),
        genres=np.zeros((1, 0), np.float32), n_genres=np.ones(1, np.float32),
        genre_shares=np.zeros(0, np.float32), voter_ids=ints(0), starts=longs(1),
        items=ints(0), modelled=ints(1), modelled_items=ints(1), weights=ints(1, 1),
    )  # fmt: skip
    one_rating = Histories(longs(1), np.array([0, 1]), ints(1), np.zeros(1, np.bool_))
    base_scores.scores(base, one_rating)
    rank(users, items, stump(), None, top_n=1)
