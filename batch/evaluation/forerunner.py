"""Measure lists that were served by what their users did after they were made.

No other hold-out of the served model is left: it is trained on all ratings that were
known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from batch.evaluation.metrics import K, mean, ndcg
from lookup.shared.contract import Forerunner

NEWEST = "select coalesce(max(rated_at), 0) from stg_ratings"
LATER = """
    select users.user_key, items.item_key, ratings.rated_at
    from stg_ratings as ratings
    inner join stg_users as users using (user_id)
    inner join stg_items as items using (item_id)
    where ratings.rated_at > $since
"""
DAY = 24 * 60 * 60
AGES = {"first day": 1, "days 2 to 7": 7, "days 8 to 30": 30, "later": None}
"""The label of an age of the lists → the days that it ends with."""

Done = Mapping[str, Mapping[str, int]]
"""user_key → item_key → time, in unix seconds."""


@dataclass(frozen=True)
class Served:
    """What a user was shown: the first ten items, and the lookup's word for them."""

    items: Sequence[str]
    source: str


def newest(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the time of the newest rating in staging, in unix seconds."""
    ((rated_at,),) = connection.sql(NEWEST).fetchall()
    return int(rated_at)


def later(connection: duckdb.DuckDBPyConnection, since: int) -> Done:
    """Return what users rated after a time, under the ids outside."""
    done: dict[str, dict[str, int]] = {}
    for user, item, at in connection.execute(LATER, {"since": since}).fetchall():
        done.setdefault(user, {})[item] = at
    return done


def measure(
    generation: str,
    model_version: str,
    since: int,
    done: Done,
    served: Mapping[str, Served],
    n_items: int,
) -> Forerunner:
    """Compare what users were shown with what they did later.

    Args:
        generation: the one that was served.
        model_version: the version that made it.
        since: the newest rating that it knew.
        done: what was rated after that, by at least one user.
        served: what each of these users was shown.
        n_items: the size of its catalogue, for coverage.
    """
    until = max(at for items in done.values() for at in items.values())
    parts = {"all": done}
    for source in ("personal", "popular"):
        parts[source] = {u: of for u, of in done.items() if served[u].source == source}
    start = since
    for age, days in AGES.items():
        end = since + days * DAY if days else max(until, start)
        parts[age] = within(done, start, end)
        start = end
    figures = {
        name: measure_part(part, served, n_items)
        for name, part in parts.items()
        if part
    }
    return Forerunner(generation, model_version, since, until, figures)


def within(done: Done, after: int, until: int) -> Done:
    """Return what users did after a time and up to another."""
    found = {
        user: {item: at for item, at in items.items() if after < at <= until}
        for user, items in done.items()
    }
    return {user: items for user, items in found.items() if items}


def measure_part(
    done: Done, served: Mapping[str, Served], n_items: int
) -> dict[str, float]:
    """Return the figures of some users, of whom each did something."""
    lists = {user: served[user].items[:K] for user in done}
    values = [
        ndcg([item in done[user] for item in items], len(done[user]))
        for user, items in lists.items()
    ]
    return {
        "n_users": len(done),
        "n_interactions": sum(map(len, done.values())),
        "hit_rate_at_10": mean(float(value > 0) for value in values),
        "ndcg_at_10": mean(values),
        "coverage_at_10": len({i for items in lists.values() for i in items})
        / max(1, n_items),
        "fallback_share": mean(served[user].source == "popular" for user in done),
    }
