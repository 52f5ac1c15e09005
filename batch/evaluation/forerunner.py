"""Measure lists that were served by what their users did after they were made.

No other hold-out of the served model is left: it is trained on all ratings that were
known.
"""

from collections.abc import Iterable, Mapping, Sequence
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
    times = [at for items in done.values() for at in items.values()]
    shown = {item for user in done for item in served[user].items}
    starts = (0, *(days * DAY for days in AGES.values() if days))
    spans = zip(AGES, starts, (*starts[1:], max(times) - since + 1), strict=True)
    by_age = {
        age: within(done, since + start, since + end) for age, start, end in spans
    }
    by_source = {
        source: {user: of for user, of in done.items() if served[user].source == source}
        for source in ("personal", "popular")
    }
    return Forerunner(
        generation=generation,
        model_version=model_version,
        since=since,
        until=max(times),
        n_interactions=len(times),
        n_users=len(done),
        **quality(done, served),
        coverage_at_10=len(shown) / n_items if n_items else 0.0,
        fallback_share=len(by_source["popular"]) / len(done),
        by_source=qualities(by_source, served),
        by_age=qualities(by_age, served),
    )


def qualities(
    parts: Mapping[str, Done], served: Mapping[str, Served]
) -> dict[str, dict[str, float]]:
    """Return the number of users and the quality of each part that is not empty."""
    return {
        name: {"n_users": float(len(done)), **quality(done, served)}
        for name, done in parts.items()
        if done
    }


def within(done: Done, after: int, until: int) -> Done:
    """Return what users did after a time and up to another."""
    found = {
        user: {item: at for item, at in items.items() if after < at <= until}
        for user, items in done.items()
    }
    return {user: items for user, items in found.items() if items}


def quality(done: Done, served: Mapping[str, Served]) -> dict[str, float]:
    """Return hit rate and NDCG@10, the means over the users who did something."""
    values: Iterable[float] = [
        ndcg([item in items for item in served[user].items[:K]], len(items))
        for user, items in done.items()
    ]
    return {
        "hit_rate_at_10": mean(float(value > 0) for value in values),
        "ndcg_at_10": mean(values),
    }
