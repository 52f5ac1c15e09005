"""The single-step commands, such as `download`, `rollback`, `block` and `status`."""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from batch.commands import Result, resources
from batch.commands.resources import Connection
from batch.commands.stopwatch import Stopwatch
from batch.commands.train import sample_windows, write_pairs
from batch.errors import BatchError
from batch.features import tables
from batch.publishing import blocked, generations, parquet, verify
from batch.publishing.connections import Client
from batch.publishing.external_ids import Ids
from batch.settings import Settings
from lookup.shared.contract import ExternalId
from lookup.shared.env import without_password

log = logging.getLogger(__name__)


def download(settings: Settings) -> Result:
    """Download and check the raw files, unless they are there."""
    raw = resources.download_raw(settings)
    return {"release": raw.name, "files": [str(path) for path in raw.files]}


def features(settings: Settings) -> Result:
    """Build the features and write them to data/processed."""
    watch = Stopwatch()
    raw = resources.find_raw(settings)
    with resources.open_warehouse(raw, settings, watch) as connection:
        windows = sample_windows(connection, watch, settings.scale)
        pairs = write_pairs(connection, windows, settings)
        with watch.stage("features"):
            tables.build(connection, n_cuts=0, scale=settings.scale)
            paths = [*write_features(connection, settings), pairs]
    return {
        "files": [str(path) for path in paths],
        "seconds": watch.seconds("features"),
    }


def write_features(connection: Connection, settings: Settings) -> list[Path]:
    """Write the features of users and of items; return the files."""
    paths, ids = [], Ids.read(connection)
    for name in ("user_features", "item_features"):
        path = settings.processed / f"{name}.parquet"
        table = connection.table(name).to_arrow_table()
        parquet.write_table(parquet.external(table, ids), path)
        paths.append(path)
    return paths


def promote(settings: Settings, *, version: str) -> Result:
    """Let prod name another version; the next run scores with it."""
    registry = resources.open_registry(settings)
    former = registry.prod_version()
    registry.promote(version)
    return {"prod_version": version, "former_version": former}


def rollback(settings: Settings) -> Result:
    """Serve the generation before the current one."""
    with (
        resources.open_writable_redis(settings) as (_url, client),
        generations.locked(client) as lock,
    ):
        former, generation = generations.current(client), generations.previous(client)
        lock.make_current(generation, time.time())
        resources.save(settings, client)
    return {"generation": generation, "former_generation": former and former[0]}


def serve(settings: Settings, *, generation: str) -> Result:
    """Serve a generation that is held, after a check that it is whole."""
    with (
        resources.open_writable_redis(settings) as (_url, client),
        generations.locked(client) as lock,
    ):
        former = generations.served(client)
        verify.verify_held(client, generation)
        lock.make_current(generation, time.time())
    return {"generation": generation, "former_generation": former}


def block(settings: Settings, *, item_ids: Sequence[ExternalId]) -> Result:
    """Let no list show some items, now and in every later generation."""
    return _change_blocked(settings, blocked.add, item_ids)


def unblock(settings: Settings, *, item_ids: Sequence[ExternalId]) -> Result:
    """Let lists show blocked items again."""
    return _change_blocked(settings, blocked.remove, item_ids)


def _change_blocked(
    settings: Settings,
    change: Callable[[Client, Sequence[ExternalId]], None],
    item_ids: Sequence[ExternalId],
) -> Result:
    with resources.open_writable_redis(settings) as (_url, client):
        change(client, item_ids)
        resources.save(settings, client)
        return {"blocked": blocked.ids(client)}


def show_blocked(settings: Settings) -> Result:
    """List the items that no list may show."""
    with resources.open_redis(settings) as (_url, client):
        return {"blocked": blocked.ids(client)}


def typed(meta: Mapping[str, str]) -> Result:
    """Return a generation's meta with its numbers as integers, and its forerunner."""
    numbers = ("n_users", "n_items", "n_ratings", "n_pairs", "top_n", "newest_rated_at")
    found: Result = {n: int(v) if n in numbers else v for n, v in meta.items()}
    former = meta.get("forerunner")
    return found | {"forerunner": json.loads(former) if former else None}


def status(settings: Settings) -> Result:
    """Report what is served, held and blocked, and which version is prod."""
    with resources.open_redis(settings) as (url, client):
        served = generations.current(client)
        held, blocked_ids = generations.held(client), blocked.ids(client)
        about_held = describe_held(client, held, served[0] if served else None)
    names = "generation model_version release scored_at n_users n_items age_seconds"
    result: Result = dict.fromkeys(("prod_version", *names.split()))
    if served:
        generation, meta = served
        result |= {"generation": generation, **typed(meta), "age_seconds": age(meta)}
    return result | {
        "prod_version": prod_version(settings),
        "generations": held,
        "held": about_held,
        "blocked": blocked_ids,
        "redis_url": without_password(url),
    }


def describe_held(
    client: Client, held: Sequence[str], served: str | None
) -> dict[str, Result]:
    """Return what each generation is, oldest first: `newer` ones are not served.

    Those were staged, or were rolled back.
    """
    found: dict[str, Result] = {}
    state = "older" if served in held else "newer"
    for name in held:
        key = client.keys.of(name).meta
        meta = cast("dict[str, str]", client.redis.hgetall(key))
        state = "served" if name == served else "newer" if state == "served" else state
        found[name] = {
            "state": state,
            "model_version": meta.get("model_version"),
            "n_users": int(meta.get("n_users", 0)),
            "newest_rated_at": int(meta.get("newest_rated_at", 0)) or None,
            "age_seconds": age(meta),
            "memory_bytes": generations.memory(client, name),
        }
    return found


def age(meta: Mapping[str, str]) -> int | None:
    """Return the seconds since a generation was scored, None if it does not say."""
    if "scored_at" not in meta:  # another program wrote it
        return None
    scored_at = datetime.fromisoformat(meta["scored_at"])
    return round((datetime.now(UTC) - scored_at).total_seconds())


def prod_version(settings: Settings) -> str | None:
    """Return the number of prod; a store that does not answer is logged."""
    try:
        prod = resources.prod(settings)
    except BatchError as error:
        log.warning("%s", error)
        return None
    return prod.version if prod else None
