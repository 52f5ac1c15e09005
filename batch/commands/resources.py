"""The resources of a command: raw files, DuckDB, MLflow, a model and Redis."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import duckdb

from batch import warehouse
from batch.commands.stopwatch import Stopwatch
from batch.errors import BatchError
from batch.features import columns
from batch.ingest import download, load, release
from batch.ingest.release import Release
from batch.model import alias
from batch.model.alias import Prod
from batch.progress import Progress
from batch.publishing import connections, generations
from batch.publishing.connections import Client
from batch.settings import Settings
from lookup.shared import embedded_redis
from lookup.shared.env import without_password

if TYPE_CHECKING:
    import xgboost

    from batch.model.registry import Registry

Connection = duckdb.DuckDBPyConnection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """The served model of a version, and the hold-out metrics of the evaluated one.

    The default is none at all: items rank by popularity.
    """

    booster: "xgboost.Booster | None" = None
    protocol: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, registry: "Registry", version: str, *, is_measured: bool) -> Self:
        """Load a version; the SQL must have its features; metrics may be missing.

        They are left out unless `is_measured`: with data like these and this SQL.
        """
        booster = registry.load(version)
        columns.require(booster.feature_names or ())
        log.info("scoring with version %s of %s", version, registry.name)
        if not is_measured:
            return cls(booster)
        try:
            return cls(booster, *registry.metrics(version))
        except BatchError as error:
            log.warning("%s; /about will show no metrics", error)
            return cls(booster)


def find_raw(settings: Settings) -> Release:
    """Find the raw files; download them only on a first run that names none.

    Raises:
        BatchError: the named files are missing, or the default folder is empty and
            `prod` was trained already, perhaps on other data.
    """
    if settings.staging:
        return release.staged(settings.staging)
    if not settings.is_raw_named and download.is_empty(settings.raw):
        trained = prod(settings)
        if trained is not None:
            raise BatchError(
                f"{settings.raw} is empty or missing, and nothing is downloaded, since "
                f"version {trained.version} of {settings.model_name} is prod already "
                f"(trained on {trained.tags.get('release', 'unknown data')}): name the "
                "raw files (--raw or MOVIELENS_RAW), or python -m batch download"
            )
        return download_raw(settings)
    return release.find(settings.raw, settings.unpacked)


def download_raw(settings: Settings) -> Release:
    """Download MovieLens-100K into the folder of raw files, if that is empty."""
    if settings.raw.suffix.lower() != ".zip" and download.is_empty(settings.raw):
        url = without_password(settings.url)
        log.warning("%s is empty or missing: downloading %s", settings.raw, url)
        progress = Progress("downloading", "bytes").show
        existed = settings.raw.exists()
        try:
            download.download(settings.url, settings.raw, progress=progress)
        except BatchError as error:
            if not existed:  # leave no folder behind
                with suppress(OSError):
                    settings.raw.rmdir()
            raise BatchError(
                f"{settings.raw} is empty or missing, and {error}"
            ) from error
    return release.find(settings.raw, settings.unpacked)


@contextmanager
def open_warehouse(
    raw: Release, settings: Settings, watch: Stopwatch
) -> Iterator[Connection]:
    """Open DuckDB with the checked staging tables of the raw files."""
    spill = settings.spill
    memory, threads = settings.duckdb_memory, settings.duckdb_threads
    with (
        warehouse.spilling(spill),
        warehouse.connect(spill, memory, threads) as connection,
    ):
        log.info("reading %s from %s", raw.name, raw.tables["stg_ratings"].parent)
        with watch.stage("features"):
            load.read(connection, raw, settings.scale)
        yield connection


def prod(settings: Settings) -> Prod | None:
    """Resolve the alias `prod`, without MLflow if queries of its store suffice."""
    try:
        return alias.read(settings.tracking_uri, settings.model_name)
    except alias.UnreadableError:
        return open_registry(settings).prod()


def open_registry(settings: Settings) -> "Registry":
    """Open MLflow, imported here because that takes longer than most commands."""
    from batch.model.registry import Registry

    return Registry(settings.tracking_uri, settings.model_name)


@contextmanager
def open_redis(settings: Settings) -> Iterator[tuple[str, Client]]:
    """Connect to the Redis of the settings, or else to the embedded one."""
    if settings.redis_url:
        with connections.connect(settings.redis_url, settings.redis_prefix) as client:
            yield settings.redis_url, client
        return
    with (
        embedded_redis.redis(settings.redis_folder) as url,
        connections.connect(url, settings.redis_prefix) as client,
    ):
        log.info("embedded Redis: redis-cli -u %s", url)
        yield url, client


@contextmanager
def open_writable_redis(settings: Settings) -> Iterator[tuple[str, Client]]:
    """Connect to Redis, and check that it accepts lists and keeps them."""
    with open_redis(settings) as (url, client):
        connections.check_writable(client, url)
        yield url, client


def save(settings: Settings, client: Client) -> None:
    """Make the embedded Redis save what it holds; another does as its owner says."""
    if settings.redis_url is None:
        generations.save(client, settings.redis_folder)
