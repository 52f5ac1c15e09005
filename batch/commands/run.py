"""`run`: the nightly run, from top to bottom."""

import logging
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from batch import warehouse
from batch.commands import Result, forerunner, guards, resources
from batch.commands.admin import typed, write_features
from batch.commands.inputs import Inputs
from batch.commands.resources import Connection, Model
from batch.commands.stopwatch import Stopwatch
from batch.commands.train import train_first_version
from batch.errors import NothingToLearn
from batch.evaluation.forerunner import newest
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


def run(
    settings: Settings, *, force: bool, accept_changes: bool, stage: bool = False
) -> Result:
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
            result = summary(client, url, watch, served[0])
            return result | {"skipped": True, "promoted": False, "staged": False}
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
        guards.enforce(guards.nothing_to_recommend(db), is_accepted=accept_changes)
        former = served if guards.is_same_release(inputs, served) else None
        measured = forerunner.measure(db, client, former)
        past = forerunner.text(measured, former)
        generation = publish(
            db, model, inputs, past, client, lock, settings, watch, is_staged=stage
        )
        if measured is not None:
            forerunner.log_run(registry, measured)
        return summary(client, url, watch, generation) | {
            "skipped": False,
            "promoted": is_first and inputs.prod is not None,
            "staged": stage,
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
    past: str,
    client: Client,
    lock: Lock,
    settings: Settings,
    watch: Stopwatch,
    *,
    is_staged: bool,
) -> str:
    """Rank for every user, write a generation, verify it and make it current.

    If `is_staged`, it is held and what is served stays. Returns its name.
    `past` says how the generation before did, as the meta has it.
    """
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
            meta = meta_of(db, inputs, past, settings, began_at, len(user_ids), ids)
            lists = shared_keys.write(client, generation, db, about, meta, ids)
            lock.check()  # without the lock, another batch may have removed keys
            user_keys = [ids.users.keys[user_id] for user_id in user_ids]
            verify.verify(client, generation, user_keys, about.n_items, lists)
            former = generations.served(client)
            if is_staged:
                lock.stage(generation, time.time())
                log.info("%s is held: python -m batch serve %s", generation, generation)
            else:
                lock.make_current(generation, time.time())  # the one write that counts
                log.info("%s is served", generation)
            # beside a staged one stay what is served and what `rollback` serves
            n = max(settings.keep_generations, 3 if is_staged else 0)
            keep = generations.to_keep_after(client, generation, former, n)
            generations.prune(client, lock, keep, folder)
            resources.save(settings, client)
    except BaseException:
        generations.abandon(client, lock, generation, folder)
        raise
    return generation


def meta_of(
    db: Connection,
    inputs: Inputs,
    past: str,
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
        newest_rated_at=newest(db),
        forerunner=past,
    )


def summary(client: Client, url: str, watch: Stopwatch, generation: str) -> Result:
    """Report a generation and where the time went."""
    return {
        "generation": generation,
        **typed(generations.meta_of(client, generation)),
        "seconds": watch.seconds("features", "train", "score", "publish"),
        "redis_url": without_password(url),  # results end up in logs and mails
    }
