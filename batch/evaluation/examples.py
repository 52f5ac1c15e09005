"""Ten example users for the report: their histories and recommendations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

N_USERS = 10
N_TITLES = 5

HISTORIES = """
    select user_id, title, rating
    from int_history
    inner join stg_items using (item_id)
    where list_contains($user_ids, user_id)
    order by user_id, position desc
"""
TITLES = """
    select item_id, title
    from stg_items
    where list_contains($item_ids, item_id)
"""
KEYS = "select user_id, user_key from stg_users where list_contains($user_ids, user_id)"
LENGTHS = "select user_id, n_history from int_cutoffs order by n_history, user_id"


@dataclass(frozen=True)
class Recommended:
    """A recommended item and, if it is a hit, the user's held-out rating of it."""

    title: str
    rating: float | None


@dataclass(frozen=True)
class Example:
    """One user as of the hold-out's cutoff.

    Attributes:
        user_id: the user, as outside.
        n_history: number of ratings that the model sees.
        n_held_out: number of held-out ratings.
        liked: titles and ratings, the highest rated first, then the latest.
        recent: titles and ratings, the latest first.
        recommended: the user's list, best first.
    """

    user_id: str
    n_history: int
    n_held_out: int
    liked: Sequence[tuple[str, float]]
    recent: Sequence[tuple[str, float]]
    recommended: Sequence[Recommended]


def read(
    connection: duckdb.DuckDBPyConnection,
    lists: Mapping[int, Sequence[int]],
    held_out: Mapping[int, Mapping[int, float]],
) -> list[Example]:
    """Return ten users, evenly spread from the shortest history to the longest.

    Args:
        connection: holds the tables as of the lists' cutoff.
        lists: user_id → item_ids, best first.
        held_out: user_id → item_id → rating; users without a hold-out are missing.
    """
    n_history = dict(connection.sql(LENGTHS).fetchall())
    chosen = spread([user_id for user_id in n_history if user_id in lists])
    histories: dict[int, list[tuple[str, float]]] = {user_id: [] for user_id in chosen}
    rows = connection.execute(HISTORIES, {"user_ids": chosen}).fetchall()
    for user_id, title, rating in rows:
        histories[user_id].append((title, rating))
    keys = dict(connection.execute(KEYS, {"user_ids": chosen}).fetchall())
    item_ids = [item_id for user_id in chosen for item_id in lists[user_id]]
    titles = dict(connection.execute(TITLES, {"item_ids": item_ids}).fetchall())
    examples = []
    for user_id in chosen:
        history, future = histories[user_id], held_out.get(user_id, {})
        # The sort is stable: among equal ratings the latest stays first.
        liked = sorted(history, key=lambda rated: -rated[1])
        recommended = [Recommended(titles[i], future.get(i)) for i in lists[user_id]]
        examples.append(
            Example(
                keys[user_id],
                n_history[user_id],
                len(future),
                liked[:N_TITLES],
                history[:N_TITLES],
                recommended,
            )
        )
    return examples


def spread(user_ids: Sequence[int]) -> list[int]:
    """Return the first user, the last one, and those at even steps between."""
    places = np.linspace(0, len(user_ids) - 1, min(N_USERS, len(user_ids))).round()
    return [user_ids[int(place)] for place in places]
