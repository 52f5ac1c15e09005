"""`run`: the nightly run, from top to bottom."""

import logging
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batch import warehouse
from batch.commands import Result, guards, resources
from batch.commands.admin import typed, write_features
from batch.commands.inputs import Inputs
from batch.commands.resources import Connection, Model
from batch.commands.stopwatch import Stopwatch
from batch.commands.train import train_first_version
from batch.errors import BatchError, NothingToLearn
from batch.features import candidates, tables
from batch.progress import Progress
from batch.publishing import generations, shared_keys, verify, writers
from batch.publishing.connections import Client
from batch.publishing.external_ids import Ids
from batch.publishing.generations import Meta
from batch.publishing.lock import Lock
from batch.scoring import rank, warm_up
from batch.settings import Settings
from lookup.shared.env import without_password

if TYPE_CHECKING:
    from batch.model.registry import Registry

log = logging.getLogger(__name__)


def run(settings: Settings, *, force: bool, accept_changes: bool) -> Result:
    """Train the model if prod is missing, score every user, publish."""
    watch = Stopwatch()
    raw = resources.find_raw(settings)  # no lock is held while downloading
    with (
        resources.open_writable_redis(settings) as (url, client),
        generations.locked(client) as lock,
        ExitStack() as stack,
    ):
        folders = settings.processed, settings.recommendations
        generations.remove_leftovers(client, lock, settings.keep_generations, *folders)
        warehouse.remove_abandoned(settings.spill)
        opening = resources.open_warehouse(raw, settings, watch)
        # what queries return can be compared only when they have been run
        db = stack.enter_context(opening) if raw.is_queried else None
        inputs = Inputs.of(raw, settings, db)
        served = generations.current(client)
        if served and not force and inputs.made(served[1]):
            log.info("nothing changed since %s: skipped (--force scores)", served[0])
            # the same model may have another number since
            generations.set_version(
                client, served[0], served[1]["model_version"], inputs.version
            )
            return summary(client, url, watch) | {"skipped": True, "promoted": False}
        changes = guards.model_changes(inputs, served)
        guards.enforce(changes, is_accepted=accept_changes)
        if db is None:
            db = stack.enter_context(opening)
        counts = guards.counts_of(db)
        fallen = guards.shrinks(counts, inputs, served, settings.max_shrink)
        guards.enforce(fallen, is_accepted=accept_changes)
        warm_up.start(settings.scorer)
        registry = resources.open_registry(settings)
        is_first = inputs.prod is None
        if is_first:
            inputs, changes = bootstrap(db, registry, inputs, settings, watch), []
        model = Model()
        if inputs.prod is not None:
            model = Model.load(registry, inputs.version, is_measured=not changes)
        with watch.stage("features"):
            log.info("building the features as of now")
            tables.build(db, n_cuts=0, scale=settings.scale, merges_films=True)
            write_features(db, settings)
        publish(db, model, inputs, client, lock, settings, watch)
        return summary(client, url, watch) | {
            "skipped": False,
            "promoted": is_first and inputs.prod is not None,
        }


def bootstrap(
    db: Connection,
    registry: "Registry",
    inputs: Inputs,
    settings: Settings,
    watch: Stopwatch,
) -> Inputs:
    """Train the first version; return the inputs with it, if there is one."""
    try:
        train_first_version(db, registry, inputs.tags, settings, watch)
    except NothingToLearn as reason:
        log.warning("%s; until there is more, items rank by popularity", reason)
        return inputs
    return inputs.with_prod(registry.prod())


def publish(
    db: Connection,
    model: Model,
    inputs: Inputs,
    client: Client,
    lock: Lock,
    settings: Settings,
    watch: Stopwatch,
) -> None:
    """Rank for every user, write a generation, verify it and make it current."""
    lock.check()
    user_ids, began_at = warehouse.user_ids(db), datetime.now(UTC)
    generation, folder = generations.new_name(began_at), settings.recommendations
    ranked = rank.rank_users(
        db, model.booster, user_ids, settings.top_n, settings.scorer, settings.scheduler
    )
    blocks = watch.charged("score", ranked)
    path, ids = folder / f"{generation}.parquet", Ids.read(db)
    try:
        with watch.stage("publish"):
            with writers.open_writers(client, db, generation, path, ids) as opened:
                progress = Progress("scoring", "users")
                for block in progress.counted(blocks, len(user_ids)):
                    for writer in opened:  # Parquet, lists, explanations, histories
                        writer.write(block)
            about = shared_keys.read_about(
                db, user_ids, model.protocol, model.metrics, ids.users
            )
            meta = meta_of(db, inputs, settings, began_at, len(user_ids), ids)
            item_lists = shared_keys.write(client, generation, db, about, meta, ids)
            lock.check()  # without the lock, another batch may have removed keys
            user_keys = [ids.users.keys[user_id] for user_id in user_ids]
            verify.verify(client, generation, user_keys, about.n_items, item_lists)
            former = generations.served(client)
            lock.make_current(generation, time.time())  # the one write that counts
            log.info("%s is served", generation)
            n = settings.keep_generations
            keep = generations.to_keep_after(client, generation, former, n)
            generations.prune(client, lock, keep, folder)
            if settings.redis_url is None:
                generations.save(client, settings.redis_folder)
    except BaseException:
        generations.abandon(client, lock, generation, folder)
        raise


def meta_of(
    db: Connection,
    inputs: Inputs,
    settings: Settings,
    began_at: datetime,
    n_users: int,
    ids: Ids,
) -> Meta:
    """Return the meta of a generation: its size, model and inputs."""
    return Meta(
        model_name=settings.model_name,
        model_version=inputs.version,
        scored_at=f"{began_at:%Y-%m-%dT%H:%M:%SZ}",
        n_users=n_users,
        n_items=warehouse.count(db, "stg_items"),
        n_ratings=warehouse.count(db, "stg_ratings"),
        n_pairs=candidates.n_unseen(db),
        top_n=settings.top_n,
        release=inputs.tags["release"],
        fingerprint=inputs.fingerprint,
        user_ids=ids.users.kind.value,
        item_ids=ids.items.kind.value,
        source="personal" if inputs.prod else "popular",
    )


def summary(client: Client, url: str, watch: Stopwatch) -> Result:
    """Report the current generation and where the time went."""
    served = generations.current(client)
    if served is None:
        raise BatchError("Redis lost the generation right after it became current")
    generation, meta = served
    return {
        "generation": generation,
        **typed(meta),
        "seconds": watch.seconds("features", "train", "score", "publish"),
        "redis_url": without_password(url),  # results end up in logs and mails
    }
