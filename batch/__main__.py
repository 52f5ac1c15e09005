"""`python -m batch`: the only file that knows the order of the stages."""

import hashlib
import json
import logging
import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import duckdb

from batch import cli, console, warehouse
from batch.commands.stopwatch import Stopwatch
from batch.errors import BatchError, LockHeld
from batch.evaluation import comparison, examples, report
from batch.evaluation.evaluation import Evaluation, by_ranker, evaluate
from batch.features import candidates, columns, tables
from batch.ingest import download, load, release
from batch.model import alias
from batch.model.alias import MODEL_NAME
from batch.progress import Progress
from batch.publishing import (
    connections,
    generations,
    parquet,
    shared_keys,
    verify,
    writers,
)
from batch.publishing.lock import Lock
from batch.scoring import rank
from batch.settings import Settings, credentials
from lookup.shared import embedded_redis
from lookup.shared.env import without_password

if TYPE_CHECKING:
    import pyarrow as pa
    import xgboost

    from batch.model.registry import Registry
    from batch.model.train import Trained

Result = dict[str, object]
Connection = duckdb.DuckDBPyConnection

MAX_TRAINING_USERS = 3_000
MAX_EVALUATED_USERS = 10_000
MAX_EVALUATED_PAIRS = 200_000_000
N_NEAR = 3
"""The last ratings that are the future of the nearer of the windows to learn from."""

PAGE = "evaluation.html"
TRAINING_PAIRS = "training_pairs.parquet"

INTERRUPTED = "interrupted; lists are served whole, status tells of which generation"

log = logging.getLogger("batch")


@dataclass(frozen=True)
class Measured:
    """How good a version is, by the one of its models that can best tell.

    Attributes:
        which: `evaluated`, which has not seen the hold-out, or `served`, which may.
        evaluation: of that model.
        importances: feature → mean |SHAP value|.
    """

    which: str
    evaluation: Evaluation
    importances: Mapping[str, float]

    def as_dict(self) -> Result:
        """Return the JSON form."""
        return {"measured": self.which} | self.evaluation.as_dict()


# --- the commands --------------------------------------------------------------------


def run(options: Namespace, settings: Settings) -> Result:
    """Bootstrap if `prod` is missing, score every user × unseen item, publish."""
    watch = Stopwatch()
    with writable_redis(settings) as (url, client), generations.locked(client) as lock:
        generations.remove_leftovers(
            client, lock, settings.processed, settings.recommendations
        )
        raw = find_raw(settings)
        tags = tags_of(raw)
        version, fingerprint = prod_version(settings), fingerprint_of(tags, settings)
        served = generations.current(client)
        if served and not options.force and is_made_of(served, version, fingerprint):
            log.info(
                "nothing changed since %s: skipped (--force scores anyway)", served[0]
            )
            return told(served, url, watch) | {"skipped": True, "promoted": False}
        registry = open_registry(settings)
        with open_warehouse(raw, settings, watch) as connection:
            promoted = version is None
            if version is None:
                log.info("no version of %s is prod: training the first", MODEL_NAME)
                version, measured = fit_and_register(
                    connection, registry, tags, settings, watch
                )
                log_page(
                    registry, version, PAGE, page(connection, raw, version, measured)
                )
                registry.promote(version)
            made_of = {"model_version": version, "fingerprint": fingerprint}
            job = Job.of(made_of, connection, registry, client, settings, watch)
            served = score_and_publish(job, lock)
        return told(served, url, watch) | {"skipped": False, "promoted": promoted}


def fetch(_: Namespace, settings: Settings) -> Result:
    """Fetch the raw files, unless they are there."""
    raw = find_raw(settings)
    return {"release": raw.name, "files": [str(path) for path in raw.files]}


def build_features(_: Namespace, settings: Settings) -> Result:
    """Build the features as of now, and those to train with, and write them down."""
    watch = Stopwatch()
    with open_warehouse(find_raw(settings), settings, watch) as connection:
        sample_windows(connection, settings, watch)
        paths = build_now(connection, settings, watch)
    paths.append(settings.processed / TRAINING_PAIRS)
    return {
        "files": [str(path) for path in paths],
        "seconds": watch.seconds("features"),
    }


def train_model(options: Namespace, settings: Settings) -> Result:
    """Register a new version; with `--promote` let `prod` name it if it is no worse."""
    watch = Stopwatch()
    registry = open_registry(settings)
    prod, raw = registry.prod_version(), find_raw(settings)
    with open_warehouse(raw, settings, watch) as connection:
        version, measured = fit_and_register(
            connection, registry, tags_of(raw), settings, watch
        )
        log_page(registry, version, PAGE, page(connection, raw, version, measured))
        result: Result = {"version": version} | measured.as_dict()
        promoted = prod is None
        with watch.stage("train"):
            comparison = compare(
                connection,
                registry,
                prod,
                version,
                measured,
                settings,
                must=options.promote,
            )
        if comparison is not None:
            told = page(connection, raw, version, measured, comparison)
            log_page(registry, version, PAGE, told)
            result |= comparison.as_dict()
            promoted = options.promote and comparison.is_no_worse
    if promoted:
        registry.promote(version)
    log.info("prod is version %s", version if promoted else prod)
    seconds = watch.seconds("features", "train")
    return result | {
        "promoted": promoted,
        "prod_version": version if promoted else prod,
        "seconds": seconds,
    }


def evaluate_model(_: Namespace, settings: Settings) -> Result:
    """Measure the `prod` model beside the baselines, and write a page about it."""
    watch = Stopwatch()
    registry = open_registry(settings)
    version = registry.prod_version()
    if version is None:
        raise BatchError(
            f"no version of {MODEL_NAME} is prod in "
            f"{without_password(settings.tracking_uri)}; train one: python -m batch run"
        )
    raw = find_raw(settings)
    with open_warehouse(raw, settings, watch) as connection:
        tables.build(connection, n_cuts=1)
        booster, which = load_to_measure(registry, version)
        measured = measure(connection, booster, which, settings)
        told = page(connection, raw, version, measured)
    path = settings.processed / PAGE
    parquet.write_text(told, path)
    # beside the one of the training run, which may have been of other raw files
    name = f"evaluations/{release.fingerprint(raw)[:12]}.html"
    log_page(registry, version, name, told)
    return {"model_version": version} | measured.as_dict() | {"report": str(path)}


def promote(options: Namespace, settings: Settings) -> Result:
    """Let `prod` name a version; the next run scores with it."""
    registry = open_registry(settings)
    former = registry.prod_version()
    registry.promote(options.version)
    return {"prod_version": options.version, "former_version": former}


def rollback(_: Namespace, settings: Settings) -> Result:
    """Serve the generation before the current one."""
    with writable_redis(settings) as (_url, client), generations.locked(client) as lock:
        former, generation = generations.current(client), generations.previous(client)
        lock.make_current(generation, time.time())
    return {"generation": generation, "former_generation": former and former[0]}


def status(_: Namespace, settings: Settings) -> Result:
    """Tell what is served."""
    with open_redis(settings) as (url, client):
        served = generations.current(client)
        held = generations.held(client)
    empty = dict.fromkeys(("generation", "model_version", "scored_at", "n_users"))
    result: Result = {**empty, "age_seconds": None}
    if served:
        generation, meta = served
        result |= {"generation": generation, **typed(meta)}
        if "scored_at" in meta:  # another program may have written less
            scored_at = datetime.fromisoformat(meta["scored_at"])
            age = (datetime.now(UTC) - scored_at).total_seconds()
            result["age_seconds"] = round(age)
    shown = without_password(url)
    return result | {"generations": held, "redis_url": shown}


# --- the stages, in their order ------------------------------------------------------


def find_raw(settings: Settings) -> release.Release:
    """Find the raw files, and fetch MovieLens-100K where there are none."""
    if settings.raw.suffix.lower() != ".zip" and download.is_empty(settings.raw):
        shown = without_password(settings.url)
        log.warning("%s is empty or missing: fetching %s", settings.raw, shown)
        progress = Progress("downloading", "bytes").show
        was_there = settings.raw.exists()
        try:
            download.download(settings.url, settings.raw, progress=progress)
        except BatchError as error:
            if not was_there:  # a name typed wrong leaves no folder of that name
                with suppress(OSError):
                    settings.raw.rmdir()
            raise BatchError(
                f"{settings.raw} is empty or missing, and {error}"
            ) from error
    return release.find(settings.raw, settings.data / "unpacked")


@contextmanager
def open_warehouse(
    raw: release.Release, settings: Settings, watch: Stopwatch
) -> Iterator[Connection]:
    """Read the raw files and check them."""
    spill = settings.processed / "spill"
    with (
        warehouse.spilling(spill),
        warehouse.connect(spill) as connection,
        ThreadPoolExecutor(max_workers=1) as executor,
    ):
        # what makes machine code may take seconds, half of them beside DuckDB's
        executor.submit(rank.warm_up, settings.scorer)
        log.info("reading %s from %s", raw.name, settings.raw)
        with watch.stage("features"):
            load.read(connection, raw)
        yield connection


def sample_window(
    connection: Connection, watch: Stopwatch, n_cuts: int, n_next: int = 0
) -> candidates.Pairs:
    """Sample what is to be learned from as of a moment; leaves its tables."""
    with watch.stage("features"):
        tables.build(connection, n_cuts, n_next)
        user_ids = candidates.evenly_spaced(
            warehouse.user_ids(connection), MAX_TRAINING_USERS
        )
        return candidates.sample(connection, user_ids)


def sample_windows(
    connection: Connection, settings: Settings, watch: Stopwatch
) -> list[candidates.Pairs]:
    """Sample what the model that is evaluated learns from, and write it down.

    One window's future is the last fifth of what is before the hold-out, as in the
    evaluation protocol; the other's, nearer to the moment, its last three ratings.
    """
    log.info("building the features to train with")
    windows = [
        sample_window(connection, watch, n_cuts=1, n_next=N_NEAR),
        sample_window(connection, watch, n_cuts=2),
    ]
    with watch.stage("features"):
        path = settings.processed / TRAINING_PAIRS
        parquet.write_table(candidates.as_table(windows), path)
    return windows


def fit_and_register(
    connection: Connection,
    registry: "Registry",
    tags: Mapping[str, str],
    settings: Settings,
    watch: Stopwatch,
) -> tuple[str, Measured]:
    """Train, evaluate, refit and register; leaves the tables of the hold-out."""
    from batch.model.train import CURVE_SHARE, train

    windows = sample_windows(connection, settings, watch)
    newer = [
        sample_window(connection, watch, n_cuts=0, n_next=N_NEAR),
        sample_window(connection, watch, n_cuts=1),
    ]
    with watch.stage("train"):
        n_pairs, n_users = sum(map(len, windows)), windows[-1].n_users
        log.info("training on %d pairs of %d users", n_pairs, n_users)
        curve = newer[-1].of_every(CURVE_SHARE)
        trained = train(windows, curve)
        windows.clear()  # the memory is the evaluation's
        # The one that serves has the same parameters, and no evaluation: there is
        # nothing left that it has not seen. Joins leave half a core to grow it on.
        with ThreadPoolExecutor(max_workers=1) as executor:
            log.info("refitting on %d pairs", sum(map(len, newer)))
            refitting = executor.submit(train, newer)
            measured = measure(connection, trained.booster, "evaluated", settings)
            served = refitting.result().booster
        example = newer[-1].values.slice(0, 5)
        facts = {"n_training_pairs": n_pairs, "n_training_users": n_users}
        trained = replace(trained, parameters=trained.parameters | facts)
        version = register(registry, tags, trained, served, example, measured)
    evaluation = measured.evaluation
    log.info(
        "version %s: NDCG@10 %.4f (item-kNN %.4f, popularity %.4f)",
        version,
        evaluation.model.ndcg_at_10,
        evaluation.item_knn.ndcg_at_10,
        evaluation.popularity.ndcg_at_10,
    )
    return version, measured


def measure(
    connection: Connection, booster: "xgboost.Booster", which: str, settings: Settings
) -> Measured:
    """Measure a model on the hold-out, for which the tables have been built."""
    from batch.evaluation.importance import shap_values

    evaluation = rank_and_evaluate(connection, booster, settings)
    importances = shap_values(connection, booster, evaluation.lists)
    return Measured(which, evaluation, importances)


def rank_and_evaluate(
    connection: Connection, booster: "xgboost.Booster", settings: Settings
) -> Evaluation:
    """Evaluate a model's lists beside those of the baselines."""
    n_items = warehouse.count(connection, "stg_items")
    at_most = min(MAX_EVALUATED_USERS, max(1, MAX_EVALUATED_PAIRS // max(1, n_items)))
    user_ids = candidates.evenly_spaced(warehouse.user_ids(connection), at_most)
    blocks = rank.rank_users(connection, booster, user_ids, 10, settings.scorer)
    progress = Progress("evaluating", "users").counted(blocks, len(user_ids))
    return evaluate(connection, chain.from_iterable(progress))


def load_to_measure(
    registry: "Registry", version: str
) -> tuple["xgboost.Booster", str]:
    """Load what a version is to be measured by, and say which of its models that is."""
    booster = registry.load_evaluated(version)
    if booster is not None:
        return booster, "evaluated"
    log.warning(
        "version %s names no model that was evaluated in its place: measuring the one "
        "that serves, which may have learned from the hold-out and look too good",
        version,
    )
    return registry.load(version), "served"


def compare(
    connection: Connection,
    registry: "Registry",
    prod: str | None,
    version: str,
    measured: Measured,
    settings: Settings,
    *,
    must: bool,
) -> comparison.Comparison | None:
    """Measure the version that is `prod` on the hold-out of a new one.

    Returns:
        None where there is none, or it cannot be measured, such as when the SQL lost a
        feature that it wants, and nothing depends on it.

    Raises:
        BatchError: where it cannot be measured and `must` be.
    """
    if prod is None:
        return None
    log.info("measuring version %s, which is prod, beside it", prod)
    try:
        booster, which = load_to_measure(registry, prod)
        former = rank_and_evaluate(connection, booster, settings)
    except BatchError as error:
        reason = f"prod (version {prod}) cannot be measured beside it: {error}"
        if not must:
            log.warning("version %s is registered, but %s", version, reason)
            return None
        raise BatchError(
            f"version {version} is registered, but {reason}; to take the new one all "
            f"the same: python -m batch promote --version {version}"
        ) from error
    compared = comparison.compare(measured.evaluation, former, prod, which)
    log.info("NDCG@10 of version %s %s", version, compared)
    return compared


def register(
    registry: "Registry",
    tags: Mapping[str, str],
    trained: "Trained",
    served: "xgboost.Booster",
    example: "pa.Table",
    measured: Measured,
) -> str:
    """Log the run and register the model that serves; return the version."""
    from batch.evaluation import plots
    from batch.model.registry import Record

    evaluation = measured.evaluation
    record = Record(
        parameters=trained.parameters | {"features": ",".join(example.column_names)},
        metrics=evaluation.as_metrics(),
        tags={**tags, "protocol": evaluation.protocol},
        figures=plots.draw(
            evaluation, trained.importance, measured.importances, trained.curve
        ),
        curve=trained.curve,
    )
    return registry.register(served, trained.booster, example, record)


def page(
    connection: Connection,
    raw: release.Release,
    version: str,
    measured: Measured,
    comparison: comparison.Comparison | None = None,
) -> str:
    """Write the page about a version; the tables are those of the hold-out."""
    evaluation = measured.evaluation
    return report.render(
        report.Report(
            release=raw.name,
            model_version=version,
            measured=measured.which,
            made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            evaluation=evaluation,
            importances=measured.importances,
            examples=examples.read(connection, evaluation.lists, evaluation.held_out),
            comparison=comparison,
        )
    )


def log_page(registry: "Registry", version: str, name: str, told: str) -> None:
    """Keep a page in the run of a version; to fail at that is no failure."""
    try:
        registry.log_page(version, name, told)
    except BatchError as error:
        log.warning("%s", error)


def read_measured(
    registry: "Registry", version: str
) -> tuple[str | None, Mapping[str, float]]:
    """Read how good a version was; to fail at that is no failure."""
    try:
        return registry.metrics(version)
    except BatchError as error:
        log.warning("%s; people will not be told how good it is", error)
        return None, {}


def build_now(
    connection: Connection, settings: Settings, watch: Stopwatch
) -> list[Path]:
    """Build the features as of now and write down those of users and items."""
    with watch.stage("features"):
        log.info("building the features as of now")
        tables.build(connection, n_cuts=0)
        paths = []
        for name in ("user_features", "item_features"):
            path = settings.processed / f"{name}.parquet"
            parquet.write_table(connection.table(name).to_arrow_table(), path)
            paths.append(path)
        return paths


@dataclass(frozen=True)
class Job:
    """What it takes to make a generation.

    Attributes:
        connection: holds the staging tables.
        booster: of the version in `made_of`.
        client: of the Redis that gets the lists.
        made_of: `model_version` and `fingerprint`, as the generation's meta has them.
        measured: the protocol that this version was measured by, None where nobody
            knows, and the metrics.
    """

    connection: Connection
    booster: "xgboost.Booster"
    client: connections.Client
    settings: Settings
    watch: Stopwatch
    made_of: Mapping[str, str]
    measured: tuple[str | None, Mapping[str, float]]

    @classmethod
    def of(
        cls,
        made_of: Mapping[str, str],
        connection: Connection,
        registry: "Registry",
        client: connections.Client,
        settings: Settings,
        watch: Stopwatch,
    ) -> "Job":
        """Load the version that a generation is made of, and what is known of it."""
        version = made_of["model_version"]
        booster = registry.load(version)
        columns.require(booster.feature_names or ())
        log.info("scoring with version %s of %s", version, MODEL_NAME)
        measured = read_measured(registry, version)
        return cls(connection, booster, client, settings, watch, made_of, measured)


Served = tuple[str, Mapping[str, str]]


def score_and_publish(job: Job, lock: Lock) -> Served:
    """Rank for every user, write the lists down as a generation and serve it."""
    build_now(job.connection, job.settings, job.watch)
    user_ids = warehouse.user_ids(job.connection)
    lock.check()
    generation = generations.new_name(datetime.now(UTC))
    try:
        write_rankings(job, generation, user_ids)
        with job.watch.stage("publish"):
            return complete(job, lock, generation, user_ids)
    except BaseException:
        folder = job.settings.recommendations
        generations.abandon(job.client, lock, generation, folder)
        raise


def write_rankings(job: Job, generation: str, user_ids: Sequence[int]) -> None:
    """Rank for the users and write their lists."""
    settings, watch = job.settings, job.watch
    blocks = watch.charged(
        "score",
        rank.rank_users(
            job.connection,
            job.booster,
            user_ids,
            settings.top_n,
            settings.scorer,
            settings.scheduler,
        ),
    )
    path = settings.recommendations / f"{generation}.parquet"
    with (
        watch.stage("publish"),
        writers.open_writers(job.client, job.connection, generation, path) as opened,
    ):
        for block in Progress("scoring", "users").counted(blocks, len(user_ids)):
            for writer in opened:
                writer.write(block)


def complete(job: Job, lock: Lock, generation: str, user_ids: Sequence[int]) -> Served:
    """Add what all lists share, count everything, and serve the generation."""
    client, settings, connection = job.client, job.settings, job.connection
    lock.check()
    items = shared_keys.read_items(connection)
    shared_keys.write_items(client, generation, items)
    popular = warehouse.popular(connection, settings.top_n)
    shared_keys.write_popular(client, generation, popular)
    similar = shared_keys.write_similar(client, generation, connection, settings.top_n)
    protocol, metrics = job.measured[0], by_ranker(job.measured[1])
    about = shared_keys.read_about(connection, user_ids, protocol, metrics)
    shared_keys.write_about(client, generation, about)
    meta = meta_of(job, generation, len(user_ids))
    shared_keys.write_meta(client, generation, meta)
    lock.check()  # another batch would have removed some of the keys
    verify.verify(client, generation, user_ids, len(items), similar)
    former = generations.current(client)
    lock.make_current(generation, time.time())
    keep = {generation} | ({former[0]} if former else set())
    generations.prune(client, lock, keep, settings.recommendations)
    if settings.redis_url is None:
        generations.save(client)
    log.info("%s is served", generation)
    served = generations.current(client)
    if served is None:
        raise BatchError(f"{generation} vanished from Redis right after it was served")
    return served


def meta_of(job: Job, generation: str, n_users: int) -> generations.Meta:
    """Say how a generation was made."""
    began = datetime.strptime(generation[:16], "%Y%m%dT%H%M%SZ")
    return generations.Meta(
        model_name=MODEL_NAME,
        scored_at=began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        n_users=n_users,
        n_items=warehouse.count(job.connection, "stg_items"),
        n_pairs=warehouse.n_unseen(job.connection),
        top_n=job.settings.top_n,
        **job.made_of,
    )


# --- what they share -----------------------------------------------------------------


def fingerprint_of(tags: Mapping[str, str], settings: Settings) -> str:
    """Digest what decides the lists beside the model: raw files, SQL, settings."""
    parts = (
        tags["raw_fingerprint"],
        tags["sql_fingerprint"],
        f"top_n={settings.top_n}",
        # versions are numbered anew in each store, whatever its password
        f"store={without_password(settings.tracking_uri)}",
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def tags_of(raw: release.Release) -> dict[str, str]:
    """Say what lists, and models, are made of; hashes every raw file."""
    return {
        "release": raw.name,
        "raw_fingerprint": release.fingerprint(raw),
        "sql_fingerprint": tables.fingerprint(),
    }


def is_made_of(
    served: tuple[str, Mapping[str, str]], version: str | None, fingerprint: str
) -> bool:
    """Tell whether a generation was made of just this model and these inputs."""
    meta = served[1]
    # one that lost a field is made anew
    return (meta.get("model_version"), meta.get("fingerprint")) == (
        version,
        fingerprint,
    )


def prod_version(settings: Settings) -> str | None:
    """Resolve the alias `prod`, without MLflow where its local store tells at once."""
    version = alias.read(settings.tracking_uri)
    return version or open_registry(settings).prod_version()


def open_registry(settings: Settings) -> "Registry":
    """Open MLflow, the import of which takes longer than most commands."""
    from batch.model.registry import Registry

    return Registry(settings.tracking_uri)


@contextmanager
def open_redis(settings: Settings) -> Iterator[tuple[str, connections.Client]]:
    """Connect to the Redis of the settings, or else to the embedded one."""
    if settings.redis_url:
        with connections.connect(settings.redis_url) as client:
            yield settings.redis_url, client
        return
    with (
        embedded_redis.redis(settings.data / "redis") as url,
        connections.connect(url) as client,
    ):
        log.info("embedded Redis: redis-cli -u %s", url)
        yield url, client


@contextmanager
def writable_redis(settings: Settings) -> Iterator[tuple[str, connections.Client]]:
    """Connect to a Redis that takes lists and keeps them."""
    with open_redis(settings) as (url, client):
        connections.check_writable(client, url)
        yield url, client


def typed(meta: Mapping[str, str]) -> Result:
    """Give a generation's meta its types back."""
    numbers = ("n_users", "n_items", "n_pairs", "top_n")
    return {name: int(v) if name in numbers else v for name, v in meta.items()}


def told(served: tuple[str, Mapping[str, str]], url: str, watch: Stopwatch) -> Result:
    """Lay out what a run tells of the generation that is served after it."""
    generation, meta = served
    seconds = watch.seconds("features", "train", "score", "publish")
    return {
        "generation": generation,
        **typed(meta),
        "seconds": seconds,
        # results end in logs, and in the mails of cron
        "redis_url": without_password(url),
    }


COMMANDS: dict[str, Callable[[Namespace, Settings], Result]] = {
    "run": run,
    "download": fetch,
    "features": build_features,
    "train": train_model,
    "evaluate": evaluate_model,
    "promote": promote,
    "rollback": rollback,
    "status": status,
}


# --- the way in and out --------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    parsed = cli.parse(argv)
    console.set_up_logging(log, quiet=parsed.quiet, debug=parsed.debug)
    stopped = stop_on_signals()
    try:
        settings = Settings.read(
            os.environ,
            raw=parsed.raw,
            top_n=parsed.top_n,
            scorer=parsed.scorer,
            scheduler=getattr(parsed, "scheduler", None),  # some commands score nothing
        )
        os.environ.update(credentials(os.environ))
        result = COMMANDS[parsed.command](parsed, settings)
    except KeyboardInterrupt:
        return console.fail(INTERRUPTED, 130)
    except LockHeld as error:
        return console.fail(str(error), 75)
    except Exception as error:
        if stopped:  # DuckDB and others turn it into errors of their own
            return console.fail(INTERRUPTED, 130)
        if parsed.debug:
            raise
        return console.fail(console.explain(error), 1)
    return console.show(json.dumps(result) if parsed.json else console.readable(result))


def stop_on_signals() -> list[int]:
    """Let SIGTERM stop a run as Ctrl-C does, in order; return where they are noted."""
    stopped: list[int] = []

    def stop(number: int, _: FrameType | None) -> NoReturn:
        stopped.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return stopped


def program() -> int:
    """Run as a program does, whose help may end it before there is a command."""
    try:
        code = main(sys.argv[1:])
    except SystemExit as ended:
        code = int(ended.code or 0)
    untold = console.written_out()
    return code or untold


if __name__ == "__main__":
    sys.exit(program())
