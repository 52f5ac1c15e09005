"""Some users to look at: what they liked, and what they get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

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
LENGTHS = "select user_id, n_history from int_cutoffs order by n_history, user_id"


@dataclass(frozen=True)
class Recommended:
    """One place of a list.

    Attributes:
        title: of the item.
        rating: that the user went on to give it in the hold-out; None: no hit.
    """

    title: str
    rating: float | None


@dataclass(frozen=True)
class Example:
    """One user as of the hold-out's moment.

    Attributes:
        user_id: whose.
        n_history: how many ratings the model sees.
        n_held_out: how many it does not.
        liked: titles and ratings, the highest rated first, then the latest.
        recent: titles and ratings, the latest first.
        recommended: the list, best first.
    """

    user_id: int
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
    """Give ten users, evenly spread from the shortest history to the longest.

    Args:
        connection: holds the tables of the moment that the lists are of.
        lists: user_id → item_ids, best first.
        held_out: user_id → item_id → rating; who has no hold-out is missing.
    """
    n_history = dict(connection.sql(LENGTHS).fetchall())
    chosen = spread([user_id for user_id in n_history if user_id in lists])
    histories = read_histories(connection, chosen)
    titles = read_titles(connection, [item for user in chosen for item in lists[user]])
    return [
        Example(
            user_id,
            n_history[user_id],
            len(held_out.get(user_id, ())),
            # the sort is stable: of the same rating the latest stays first
            sorted(histories[user_id], key=lambda rated: -rated[1])[:N_TITLES],
            histories[user_id][:N_TITLES],
            [
                Recommended(titles[item_id], held_out.get(user_id, {}).get(item_id))
                for item_id in lists[user_id]
            ],
        )
        for user_id in chosen
    ]


def spread(user_ids: Sequence[int]) -> list[int]:
    """Choose the first, the last, and those at even steps between."""
    last = len(user_ids) - 1
    steps = min(N_USERS, len(user_ids)) - 1
    if steps < 1:
        return list(user_ids)
    return [user_ids[round(i * last / steps)] for i in range(steps + 1)]


def read_histories(
    connection: duckdb.DuckDBPyConnection, user_ids: Sequence[int]
) -> dict[int, list[tuple[str, float]]]:
    """Return user_id → titles and ratings, the latest first."""
    histories: dict[int, list[tuple[str, float]]] = {user: [] for user in user_ids}
    rows = connection.execute(HISTORIES, {"user_ids": list(user_ids)}).fetchall()
    for user_id, title, rating in rows:
        histories[user_id].append((title, rating))
    return histories


def read_titles(
    connection: duckdb.DuckDBPyConnection, item_ids: Sequence[int]
) -> dict[int, str]:
    """Return item_id → title."""
    return dict(connection.execute(TITLES, {"item_ids": list(item_ids)}).fetchall())
