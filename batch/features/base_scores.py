"""The strong scores of a user's candidates, from which the base margin is made.

Each is a closed form over the histories before a cutoff; no tree is needed to use it.

*State kernels.* A state is a user's last ratings as a vector of items, of which each
weighs less than the next one. Every prefix of every other user's history is a state as
well. It votes for the item that came next, and less for those after it, with a weight
that grows with the cosines between its state and the user's, of a fast and of a slowly
fading state at once. A score is the logarithm of an item's share of the votes.

*EASE* of four states; see `batch.features.item_models`.

*Items*: popularity, how late in histories an item is rated, how often among the last
ten, how often liked, and how long its raters' histories are; each shrunk towards the
mean of all items. *Genres*: how much of the user's history they make up.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Self

import duckdb
import numpy as np
import numpy.typing as npt

from batch import warehouse
from batch.features import item_models
from batch.machine import limits

KERNELS = np.array(
    [
        [0.7, 6.0, 0.95, 10.0, 0.7],
        [0.8, 10.0, 0.98, 16.0, 0.7],
        [0.6, 5.0, 0.9, 12.0, 0.5],
    ]
)
"""One row a kernel: how a fast state fades and its sharpness, the same of a slow state,
and how votes for later items fade."""

STATES = np.array([1.0, 0.98, 0.9, 0.98])
"""How the states fade that EASE is applied to; the last holds liked items only."""

COLUMNS = (
    "next_votes_1",
    "later_votes_1",
    "next_votes_2",
    "later_votes_2",
    "next_votes_3",
    "later_votes_3",
    "ease_score",
    "slow_ease_score",
    "recent_ease_score",
    "liked_ease_score",
    "log_popularity",
    "item_position",
    "item_last_ten",
    "item_liked",
    "item_log_n_history",
    "position_gap",
    "genre_share",
    "recent_genre_share",
    "liked_genre_share",
    "genre_lift",
)
EASE, ITEM, GAP, GENRE = 6, 10, 15, 16
"""The first columns of EASE, of items, of the gap and of genres."""

PRIOR, SHRINKAGE = 20, 10
"""Added to counts before the logarithm, and to the ratings behind an average."""

SUMS = ("avg_position_share", "last_ten_share", "liked_share", "avg_n_history")
"""The averages over an item's ratings, as `item_features` names them."""

USERS_AT_ONCE = 64
"""Bounds the memory: a user has len(COLUMNS) scores for each item."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


class Base(NamedTuple):
    """What the strong scores of a cutoff are computed from.

    The items are those of the catalogue, in ascending order of their ids.
    """

    item_ids: Ints  # (n_items,)
    n_ratings: Floats  # (n_items,)
    sums: Floats  # (len(SUMS), n_items): over the ratings of an item
    by_item: Floats  # (GAP - ITEM, n_items): the scores that users share
    genres: Floats  # (n_items, n_genres): 1 for each genre of an item
    n_genres: Floats  # (n_items,): how many each item has, at least 1
    genre_shares: Floats  # (n_genres,): genres per rating, of all histories
    voter_ids: Ints  # (n_voters,), ascending
    starts: Longs  # (n_voters + 1,): where each one's items start
    items: Ints  # the items of all voters, in the order of their ratings
    modelled: Ints  # (n_items,): the place in `weights`, or -1
    modelled_items: Ints  # (n_modelled,): the item of each place
    weights: Ints  # (n_modelled, n_modelled): EASE, in UNITs

    @classmethod
    def read(cls, connection: duckdb.DuckDBPyConnection) -> Self:
        """Read the tables of a cutoff."""
        items = connection.table("item_features").order("item_id").to_arrow_table()
        item_ids = items["item_id"].to_numpy()
        voters = connection.table("int_voters").to_arrow_table()
        ids, starts = np.unique(voters["user_id"].to_numpy(), return_index=True)
        models = item_models.read(connection)
        places = np.searchsorted(item_ids, models.item_ids)
        modelled = np.full(len(item_ids), -1, np.int32)
        modelled[places] = np.arange(len(places))
        n_ratings = items["n_ratings"].to_numpy().astype(np.float32)
        averages = np.stack([items[name].to_numpy() for name in SUMS])
        sums = np.nan_to_num(averages.astype(np.float64) * n_ratings).astype(np.float32)
        genres = read_genres(connection)
        return cls(
            item_ids=item_ids,
            n_ratings=n_ratings,
            sums=sums,
            by_item=by_item(n_ratings, sums),
            genres=genres,
            n_genres=np.maximum(genres.sum(axis=1), 1),
            genre_shares=n_ratings @ genres / max(1.0, n_ratings.sum()),
            voter_ids=ids.astype(np.int32),
            starts=np.append(starts, len(voters)).astype(np.int64),
            items=np.searchsorted(item_ids, voters["item_id"].to_numpy()).astype(
                np.int32
            ),
            modelled=modelled,
            modelled_items=places.astype(np.int32),
            weights=models.ease,
        )


class Histories(NamedTuple):
    """The ratings of some users, of each the latest first.

    Attributes:
        user_ids: of shape (n_users,).
        starts: of shape (n_users + 1,); where each user's ratings start.
        items: places of the rated items in the catalogue.
        is_liked: whether the user liked them.
    """

    user_ids: Longs
    starts: Longs
    items: Ints
    is_liked: npt.NDArray[np.bool_]

    def block(self, first: int, last: int) -> Self:
        """Select some users, without a copy of their ratings."""
        starts = self.starts[first : last + 1]
        own = slice(starts[0], starts[-1])
        return type(self)(
            self.user_ids[first:last],
            starts - starts[0],
            self.items[own],
            self.is_liked[own],
        )


class Strong(NamedTuple):
    """The strong scores of candidate pairs.

    Attributes:
        scores: of shape (n_pairs, len(COLUMNS)).
        n_history: of shape (n_pairs,); how many ratings each pair's user has.
    """

    scores: Floats
    n_history: Longs

    def take(self, rows: npt.NDArray[np.integer]) -> Self:
        """Select pairs by number, in the given order."""
        return type(self)(self.scores[rows], self.n_history[rows])


def read_genres(connection: duckdb.DuckDBPyConnection) -> Floats:
    """Read which item has which genre, of shape (n_items, n_genres)."""
    of_items = connection.table("stg_items").order("item_id").select("genres")
    lists = of_items.to_arrow_table()["genres"].to_pylist()
    names = sorted({name for genres in lists for name in genres or ()})
    found = np.zeros((len(lists), len(names)), np.float32)
    for row, genres in enumerate(lists):
        for name in genres or ():
            found[row, names.index(name)] = 1
    return found


def read_histories(
    connection: duckdb.DuckDBPyConnection, item_ids: Ints, user_ids: Sequence[int]
) -> Histories:
    """Read the histories of some users, given in ascending order."""
    wanted = {"user_ids": list(user_ids)}
    table = warehouse.fetch(connection, "marts/scorer_histories", wanted)
    owners = table["user_id"].to_numpy()
    ids = np.asarray(user_ids, np.int64)
    return Histories(
        user_ids=ids,
        starts=np.append(np.searchsorted(owners, ids), len(owners)).astype(np.int64),
        items=np.searchsorted(item_ids, table["item_id"].to_numpy()).astype(np.int32),
        is_liked=table["is_liked"].to_numpy(),
    )


def scores(base: Base, histories: Histories) -> Floats:
    """Return the strong scores, of shape (n_users, len(COLUMNS), n_items)."""
    from batch.features import loops  # with numba, which takes half a second

    n, n_items = len(histories.user_ids), len(base.n_ratings)
    found = np.zeros((n, len(COLUMNS), n_items), np.float32)
    for first in range(0, n, loops.LANES):
        last = min(first + loops.LANES, n)
        vote(base, histories.block(first, last), found[first:last])
    ease = base.modelled, base.modelled_items, base.weights, item_models.UNIT
    loops.weigh(*histories[1:], STATES, *ease, found[:, EASE:ITEM])
    found[:, ITEM:GAP] = base.by_item
    for user in range(n):
        own = slice(histories.starts[user], histories.starts[user + 1])
        items, is_liked = histories.items[own], histories.is_liked[own]
        found[user, GAP] = position_gaps(base.by_item[1], items[:10])
        found[user, GENRE:] = genre_scores(base, items, is_liked)
    return found


def of_pairs(
    connection: duckdb.DuckDBPyConnection, user_ids: Ints, item_ids: Ints
) -> Strong:
    """Return the strong scores of pairs, as of the cutoff of the tables.

    Args:
        connection: holds the tables.
        user_ids: in ascending order.
        item_ids: the item of each pair.
    """
    base = Base.read(connection)
    users, rows = np.unique(user_ids, return_inverse=True)
    histories = read_histories(connection, base.item_ids, users.tolist())
    columns = np.searchsorted(base.item_ids, item_ids)
    found = np.zeros((len(rows), len(COLUMNS)), np.float32)

    def fill(first: int) -> None:
        last = min(first + USERS_AT_ONCE, len(users))
        own = slice(*np.searchsorted(rows, (first, last)))
        of_users = scores(base, histories.block(first, last))
        found[own] = of_users[rows[own] - first, :, columns[own]]

    with ThreadPoolExecutor(limits.cores()) as pool:
        list(pool.map(fill, range(0, len(users), USERS_AT_ONCE)))
    return Strong(found, np.diff(histories.starts)[rows])


def by_item(n_ratings: Floats, sums: Floats) -> Floats:
    """Return the scores that all users share, of shape (GAP - ITEM, n_items)."""
    means = sums.sum(axis=1, dtype=np.float64) / max(1.0, n_ratings.sum())
    shrunk = (sums + SHRINKAGE * means[:, None]) / (n_ratings + SHRINKAGE)
    shrunk[-1] = np.log(shrunk[-1] + 1)
    return np.vstack([np.log(n_ratings + PRIOR), shrunk]).astype(np.float32)


def position_gaps(positions: Floats, latest: Ints) -> npt.NDArray[np.float64]:
    """Return how far items' positions are from the mean of a user's latest items."""
    gaps = np.abs(positions - positions[latest].mean(dtype=np.float64))
    return np.asarray(gaps, np.float64)


def genre_scores(
    base: Base, items: Ints, is_liked: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return a user's scores by genre, of shape (4, n_items): of no genre, 0.

    Args:
        base: of the cutoff.
        items: the user's items, the latest first.
        is_liked: whether the user liked them.
    """
    n = max(1, len(items))
    recent = 0.9 ** np.arange(len(items)) / 10
    shares = np.vstack([np.full(len(items), 1 / n), recent, is_liked / n])
    shares = shares @ base.genres[items]
    lift = shares[0] / np.maximum(base.genre_shares, 1e-9)
    found = np.vstack([shares, lift]) @ base.genres.T / base.n_genres
    return np.asarray(found, np.float64)


def vote(base: Base, histories: Histories, found: Floats) -> None:
    """Fill in the scores of the state kernels for at most LANES users."""
    from batch.features import loops

    places = np.searchsorted(base.voter_ids, histories.user_ids)
    own = np.full(loops.LANES, -1, np.int64)  # a user's own prefixes have no vote
    known = np.isin(histories.user_ids, base.voter_ids)
    own[: len(places)][known] = places[known]
    shape = (len(base.n_ratings), 2, len(KERNELS), loops.LANES)
    votes = np.zeros(shape, np.float32)
    loops.sum_votes(
        base.starts,
        base.items,
        own,
        histories.starts,
        histories.items,
        KERNELS,
        votes.reshape(len(votes), -1),
    )
    # over all lanes: how numpy adds depends on the shape
    total = np.maximum(votes.sum(axis=0, dtype=np.float64), 1e-20)
    votes *= (len(votes) / total).astype(np.float32)
    np.log1p(votes, out=votes)
    of_users = votes.transpose(3, 2, 1, 0)[: len(found)]
    found[:, :EASE] = of_users.reshape(len(found), EASE, -1)
