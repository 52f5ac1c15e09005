"""What was served is measured by what came after: a history replayed night by night."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis
from mlflow import MlflowClient

from batch.commands import admin
from batch.commands import run as command
from batch.settings import Settings
from tests.conftest import KEYS
from tests.lookup.serving import serving
from tests.movielens import ml_100k, read_ratings

Rating = list[int]
DAY = 86_400


def cut(source: Path, folder: Path, ratings: Sequence[Rating], end: int) -> None:
    """Write a release as it was at a time."""
    folder.mkdir(exist_ok=True)
    for name in ("u.item", "u.user"):
        (folder / name).write_bytes((source / name).read_bytes())
    known = ["\t".join(map(str, row)) for row in ratings if row[3] <= end]
    (folder / "u.data").write_text("\n".join(known) + "\n")


def replay(
    source: Path, settings: Settings, client: redis.Redis, shares: Sequence[float]
) -> list[dict[str, Any]]:
    """Run at each of some global times; check each run's figures of the one before."""
    ratings = sorted(read_ratings(source), key=lambda row: row[3])
    ends = [ratings[int(share * len(ratings)) - 1][3] for share in shares]
    folder, found, former = Path("replayed"), [], ""
    for i, end in enumerate(ends):
        cut(source, folder, ratings, end)
        own = replace(settings, raw=folder, is_raw_named=True)
        result = command.run(own, force=False, accept_changes=False)
        assert result["newest_rated_at"] == end
        assert admin.status(own)["forerunner"] == result["forerunner"]
        if i:
            came = [row for row in ratings if ends[i - 1] < row[3] <= end]
            expected = counted(settings, client, former, came)
            assert flat(result["forerunner"]) == pytest.approx(flat(expected))
            found.append(expected)
        former = str(result["generation"])
    return found


def counted(
    settings: Settings, client: redis.Redis, generation: str, came: Sequence[Rating]
) -> dict[str, Any]:
    """Count anew, from the generation's file, how it did."""
    table = pq.read_table(settings.recommendations / f"{generation}.parquet")
    lists: dict[int, list[int]] = {}
    for row in table.filter(table["rank"].to_numpy() <= 10).to_pylist():
        lists.setdefault(row["user_id"], []).append(row["item_id"])
    entries = client.lrange(KEYS.of(generation).popular, 0, 9)
    popular = [int(str(entry).split(":")[0]) for entry in entries]
    by_user: dict[int, dict[int, int]] = {}
    for user, item, _, at in came:
        by_user.setdefault(user, {})[item] = at
    shown = {user: lists.get(user, popular) for user in by_user}
    meta = client.hgetall(KEYS.of(generation).meta)
    since, n_items = int(meta["newest_rated_at"]), int(meta["n_items"])
    done = {user: set(items) for user, items in by_user.items()}
    parts = {
        "all": done,
        "personal": {user: done[user] for user in done.keys() & lists.keys()},
        "popular": {user: done[user] for user in done.keys() - lists.keys()},
    }
    ages = {"first day": (0, 1), "days 2 to 7": (1, 7), "days 8 to 30": (7, 30)}
    for age, (start, stop) in {**ages, "later": (30, 10**6)}.items():
        some = {
            user: {i for i, at in items.items() if start < (at - since) / DAY <= stop}
            for user, items in by_user.items()
        }
        parts[age] = {user: items for user, items in some.items() if items}
    return {
        "generation": generation,
        "model_version": "1",
        "since": since,
        "until": max(row[3] for row in came),
        "figures": {
            name: {
                "n_users": len(part),
                "n_interactions": sum(map(len, part.values())),
                **means(part, shown),
                "coverage_at_10": len({i for u in part for i in shown[u]}) / n_items,
                "fallback_share": len(part.keys() - lists.keys()) / len(part),
            }
            for name, part in parts.items()
            if part
        },
    }


def flat(figures: object) -> dict[str, Any]:
    """Lay out nested figures side by side."""
    assert isinstance(figures, dict)
    return {
        **{name: value for name, value in figures.items() if name != "figures"},
        **{
            f"{part} {name}": value
            for part, row in figures["figures"].items()
            for name, value in row.items()
        },
    }


def means(
    relevant: dict[int, set[int]], shown: dict[int, list[int]]
) -> dict[str, float]:
    """Return hit rate and NDCG@10 as textbooks have them."""
    ndcg, hits = 0.0, 0
    for user, items in relevant.items():
        ranks = [rank for rank, i in enumerate(shown[user], start=1) if i in items]
        ideal = sum(1 / math.log2(r + 1) for r in range(1, min(10, len(items)) + 1))
        ndcg += sum(1 / math.log2(rank + 1) for rank in ranks) / ideal
        hits += bool(ranks)
    n = len(relevant)
    return {"hit_rate_at_10": hits / n, "ndcg_at_10": ndcg / n}


@pytest.mark.anyio
async def test_each_run_measures_the_lists_before_it(
    settings: Settings, redis_client: redis.Redis
) -> None:
    """At four times; MLflow has a run for each, and a run of the same data keeps it.

    Some users come days after the others, so that no generation knows them before.
    """
    ratings, source = read_ratings(settings.raw), Path("source")
    later = [[u, i, r, at + 5 * DAY * (u > 30)] for u, i, r, at in ratings]
    cut(settings.raw, source, later, 10**10)
    client = MlflowClient(settings.tracking_uri)
    found = replay(source, settings, redis_client, (0.4, 0.6, 0.8, 1))
    assert any("popular" in one["figures"] for one in found)
    assert any("days 2 to 7" in one["figures"] for one in found)
    assert any(one["figures"]["personal"]["hit_rate_at_10"] for one in found)
    experiment = client.get_experiment_by_name(settings.model_name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    named = {run.info.run_name: run.data for run in runs}
    for one in found:
        data = named[f"served {one['generation']}"]
        assert data.metrics["all/ndcg_at_10"] == pytest.approx(
            one["figures"]["all"]["ndcg_at_10"]
        )
        assert data.params["since"] == str(one["since"])
    own = replace(settings, raw=Path("replayed"), is_raw_named=True)
    again = command.run(own, force=True, accept_changes=False)
    assert flat(again["forerunner"]) == pytest.approx(flat(found[-1]))
    async with serving(str(settings.redis_url)) as api:
        about = (await api.get("/about")).json()
        metrics = (await api.get("/metrics")).text
    assert about["forerunner"] == again["forerunner"]
    former, n_users = found[-1]["generation"], found[-1]["figures"]["all"]["n_users"]
    labels = f'{{generation="{former}",of="all"}}'
    assert f"lookup_forerunner_n_users{labels} {n_users}" in metrics


def test_what_is_blocked_was_not_shown(
    settings: Settings, redis_client: redis.Redis
) -> None:
    """Of a user and of somebody unknown; the lookup says the same in three places."""
    ratings = read_ratings(settings.raw)
    own = replace(settings, raw=Path("own"), is_raw_named=True)
    cut(settings.raw, own.raw, ratings, 10**10)
    first = command.run(own, force=False, accept_changes=False)
    keys = KEYS.of(str(first["generation"]))
    best = [int(str(e).split(":")[0]) for e in redis_client.lrange(keys.user(7), 0, 10)]
    popular = int(str(redis_client.lindex(keys.popular, 0)).split(":")[0])
    admin.block(own, item_ids=[str(best[0])])
    newest = max(row[3] for row in ratings)
    came = [[7, best[0], 5, newest + 9], [7, best[10], 5, newest + 9]]
    came += [[41, popular, 5, newest + 3 * DAY]]
    users = (own.raw / "u.user").read_text()
    cut(settings.raw, own.raw, ratings + came, 10**10)
    (own.raw / "u.user").write_text(f"{users}41|30|F|artist|1\n")
    result = command.run(own, force=False, accept_changes=False)
    found = result["forerunner"]
    assert isinstance(found, dict)
    # the eleventh is the tenth that was shown; of two relevant items one was a hit
    ndcg = (1 / math.log2(11)) / (1 + 1 / math.log2(3))
    is_hit = popular != best[0]
    assert found["figures"]["first day"]["ndcg_at_10"] == pytest.approx(ndcg)
    assert found["figures"]["days 2 to 7"]["hit_rate_at_10"] == is_hit
    assert found["figures"]["all"]["fallback_share"] == 0.5


@pytest.mark.slow
def test_real_history_replayed(settings: Settings, redis_client: redis.Redis) -> None:
    found = replay(ml_100k(), settings, redis_client, (0.4, 0.6, 0.8, 1))
    assert all({"personal", "popular"} <= one["figures"].keys() for one in found)
