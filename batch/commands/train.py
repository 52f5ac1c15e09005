"""`train`: a new version, measured next to `prod`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from batch import warehouse
from batch.commands import Result, guards, resources
from batch.commands.evaluate import (
    PAGE,
    Measurement,
    evaluate_model,
    load_measurable,
    log_page,
    measure,
    write_page,
)
from batch.commands.inputs import tags_of
from batch.commands.resources import Connection
from batch.commands.stopwatch import Stopwatch
from batch.errors import BatchError
from batch.evaluation import comparison, data_profile
from batch.evaluation.comparison import Comparison
from batch.evaluation.data_profile import Profile
from batch.features import base_scores, candidates, item_models, tables
from batch.features.candidates import Pairs
from batch.features.columns import UNORDERED
from batch.model.alias import Prod
from batch.publishing import parquet
from batch.publishing.external_ids import Ids
from batch.scoring import warm_up
from batch.settings import DEFAULT_SCALE, RatingScale, Settings

if TYPE_CHECKING:
    import pyarrow as pa
    import xgboost

    from batch.model.registry import Registry
    from batch.model.train import Trained

MAX_USERS = 3_000

WINDOWS = ((2, 0),)
SPARSE_WINDOWS = ((1, 3), (2, 0))
"""The cutoffs of the training windows, as n_cuts and n_next of `tables.build`. A
window's future is the last fifth of the ratings before the hold-out, as in the
evaluation protocol. Where most users have too few ratings for that, another's is the
last three ratings before the hold-out. The refit has no hold-out: its windows are one
cut later."""

IS_SPARSE = """
    select coalesce(median(n_ratings) < 6, false)
    from (select count(*) as n_ratings from stg_ratings group by user_id)
"""
"""A user with six ratings has a past and a future at the cutoffs of WINDOWS."""

SHORT_SHARE = 0.1
"""The share of users who teach the window of the last three ratings with their first
one to five ratings only."""

SAMPLE: dict[str, str | int | float | bool] = {
    "windows": repr(WINDOWS),
    "sparse_windows": repr(SPARSE_WINDOWS),
    "sample_max_users": MAX_USERS,
    "sample_short_share": SHORT_SHARE,
    "sample_max_pairs": candidates.MAX_PAIRS,
    "sample_negative_share": candidates.NEGATIVE_SHARE,
    "sample_min_negatives": candidates.MIN_NEGATIVES,
    **{f"limit_{name}": limit for name, limit in warehouse.LIMITS.items()},
    "penalty_ease": item_models.PENALTY,
}
"""What makes the training pairs, as MLflow logs it."""

Fit = Callable[..., "Trained"]

log = logging.getLogger(__name__)


def train(
    settings: Settings,
    *,
    promote: bool,
    chosen: Mapping[str, Any] = MappingProxyType({}),
    note: str = "",
) -> Result:
    """Train, evaluate and register a new version of the model."""
    watch = Stopwatch()
    raw = resources.find_raw(settings)
    registry = resources.open_registry(settings)
    prod = registry.prod()
    with resources.open_warehouse(raw, settings, watch) as connection:
        warm_up.start(settings.scorer)
        version, measurement = train_version(
            connection,
            registry,
            tags_of(raw, connection, settings.scale),
            settings,
            watch,
            chosen,
            note,
        )
        compared = None
        if prod is not None:
            with watch.stage("train"):
                compared = compare(
                    connection, registry, prod, version, measurement, settings, promote
                )
        if compared is not None:
            page = write_page(
                connection, raw.name, registry, version, measurement, compared
            )
            log_page(registry, version, PAGE, page)
    former = prod.version if prod else None
    is_better = promote and compared is not None and not compared.is_worse
    promoted = prod is None or is_better
    if promoted:
        registry.promote(version)
    decision = comparison.decision(version, former, compared, is_wanted=promote)
    log.log(logging.WARNING if promote and not promoted else logging.INFO, decision)
    return {
        "version": version,
        **measurement.as_dict(),
        **(compared.as_dict() if compared else {}),
        "promoted": promoted,
        "prod_version": version if promoted else former,
        "decision": decision,
        "seconds": watch.seconds("features", "train"),
    }


def train_first_version(
    connection: Connection,
    registry: "Registry",
    tags: Mapping[str, str],
    settings: Settings,
    watch: Stopwatch,
) -> str:
    """Train a version and make it `prod`."""
    log.info("no version of %s is prod: training the first", settings.model_name)
    version, _ = train_version(connection, registry, tags, settings, watch)
    registry.promote(version)
    return version


def train_version(
    connection: Connection,
    registry: "Registry",
    tags: Mapping[str, str],
    settings: Settings,
    watch: Stopwatch,
    chosen: Mapping[str, Any] = MappingProxyType({}),
    note: str = "",
) -> tuple[str, Measurement]:
    """Train, evaluate, refit and register a version, in a run of MLflow of its own.

    `chosen` are parameters as `batch.model.parameters.read` returns them, and `note`
    describes the run.
    """
    release, digest = tags["release"], tags["raw_fingerprint"]
    source = settings.staging or str(settings.raw)
    with registry.training_run(release, source, digest, note):
        return train_within_run(connection, registry, tags, settings, watch, chosen)


def train_within_run(
    connection: Connection,
    registry: "Registry",
    tags: Mapping[str, str],
    settings: Settings,
    watch: Stopwatch,
    chosen: Mapping[str, Any],
) -> tuple[str, Measurement]:
    """Train, evaluate, refit and register a version.

    A version holds two models. The evaluated one never saw the hold-out. The served
    one has the same parameters, refitted on all ratings, so no hold-out is left to
    measure it. Afterwards the connection holds the tables as of the hold-out's cutoff.
    """
    from batch.model import base_margin
    from batch.model.train import CURVE_SHARE
    from batch.model.train import train as fit_model

    scale, profile = settings.scale, data_profile.read(connection)
    log_profile(profile)
    log.info("building the features to train with")
    windows = sample_windows(connection, watch, scale, has_order=profile.has_order)
    write_pairs(connection, windows, settings)
    later = sample_windows(
        connection, watch, scale, earlier=0, has_order=profile.has_order
    )
    with watch.stage("train"):
        n_pairs, n_users = sum(map(len, windows)), max(w.n_users for w in windows)
        log.info("training on %d pairs of %d users", n_pairs, n_users)
        # the tables of the last window are as of the hold-out's cutoff
        weights = base_margin.fit(connection) if profile.has_order else None
        fit: Fit = partial(
            fit_model, weights=weights, liked_from=scale.liked_from, **chosen
        )
        trained = fit(windows, later[-1].of_every(CURVE_SHARE))
        base_margin.write(trained.booster, weights)
        windows.clear()  # the evaluation needs the memory
        # joins leave half a core idle: refit while evaluating
        with ThreadPoolExecutor(max_workers=1) as executor:
            log.info("refitting on %d pairs", sum(map(len, later)))
            refitting = executor.submit(fit, later)
            measurement = measure(connection, trained.booster, "evaluated", settings)
            served = refitting.result().booster
        base_margin.write(served, weights)
        example = later[-1].values.slice(0, 5)
        counts = {"n_training_pairs": n_pairs, "n_training_users": n_users}
        logged = trained.parameters | SAMPLE | counts | base_margin.named(weights)
        trained = replace(trained, parameters=logged)
        version = register(registry, tags, trained, served, example, measurement)
    evaluation = measurement.evaluation
    log.info(
        "version %s: NDCG@10 %.4f (EASE %.4f, item-kNN %.4f, popularity %.4f)",
        version,
        evaluation.model.ndcg_at_10,
        evaluation.ease.ndcg_at_10,
        evaluation.item_knn.ndcg_at_10,
        evaluation.popularity.ndcg_at_10,
    )
    page = write_page(connection, tags["release"], registry, version, measurement)
    log_page(registry, version, PAGE, page)
    return version, measurement


def log_profile(profile: Profile) -> None:
    """Log what the raw files hold, and what about it makes lists doubtful."""
    for label, text in profile.rows():
        log.info("read: %-18s %s", label, text)
    for doubt in profile.doubts():
        log.warning("%s", doubt)


def sample_windows(
    connection: Connection,
    watch: Stopwatch,
    scale: RatingScale = DEFAULT_SCALE,
    *,
    earlier: int = 1,
    has_order: bool = True,
) -> list[Pairs]:
    """Sample the training windows of the evaluated model, or with 0 of the refit."""
    ((is_sparse,),) = connection.sql(IS_SPARSE).fetchall()
    return [
        sample_window(connection, watch, n_cuts - 1 + earlier, n_next, scale, has_order)
        for n_cuts, n_next in (SPARSE_WINDOWS if is_sparse else WINDOWS)
    ]


def write_pairs(
    connection: Connection, windows: Sequence[Pairs], settings: Settings
) -> Path:
    """Write training pairs to a Parquet file; return it."""
    path = settings.processed / "training_pairs.parquet"
    table = parquet.external(candidates.as_table(windows), Ids.read(connection))
    parquet.write_table(table, path)
    return path


def sample_window(
    connection: Connection,
    watch: Stopwatch,
    n_cuts: int,
    n_next: int,
    scale: RatingScale,
    has_order: bool,
) -> Pairs:
    """Build the tables of a cutoff, and sample the pairs to learn from."""
    with watch.stage("features"):
        # the tables of the other windows are those of the evaluation too
        short_share = SHORT_SHARE if n_next else 0.0
        tables.build(connection, n_cuts, n_next, scale, short_share)
        able = warehouse.users_with_future(connection)
        user_ids = candidates.evenly_spaced(able, MAX_USERS)
        if not has_order:
            return candidates.sample(connection, user_ids, UNORDERED)
        pairs = candidates.sample(connection, user_ids)
        strong = base_scores.of_pairs(connection, pairs.user_ids, pairs.item_ids)
        return replace(pairs, strong=strong)


def compare(
    connection: Connection,
    registry: "Registry",
    prod: Prod,
    version: str,
    measurement: Measurement,
    settings: Settings,
    is_required: bool,
) -> Comparison | None:
    """Compare a new version with the one that is `prod`, on the same hold-out.

    Returns:
        None if `is_required` is not set and `prod` cannot be measured, for example
        because the SQL no longer gives the features that it was trained with.

    Raises:
        BatchError: `prod` cannot be measured, and `is_required` is set.
    """
    log.info("measuring version %s, which is prod, on the same hold-out", prod.version)
    try:
        guards.check_features(prod)
        booster, model = load_measurable(registry, prod.version)
        former = evaluate_model(connection, booster, settings)
    except BatchError as error:
        reason = f"prod (version {prod.version}) cannot be measured: {error}"
        if not is_required:
            log.warning("version %s is registered, but %s", version, reason)
            return None
        raise BatchError(
            f"version {version} is registered, but {reason}; to promote it all the "
            f"same: python -m batch promote --version {version}"
        ) from error
    compared = comparison.compare(measurement.evaluation, former, prod.version, model)
    log.info("NDCG@10 of version %s %s", version, compared)
    return compared


def register(
    registry: "Registry",
    tags: Mapping[str, str],
    trained: "Trained",
    served: "xgboost.Booster",
    example: "pa.Table",
    measurement: Measurement,
) -> str:
    """Log the run and register its models; return the version."""
    from batch.evaluation import importance, plots
    from batch.model.registry import Record

    evaluation = measurement.evaluation
    record = Record(
        parameters=trained.parameters | {"features": ",".join(example.column_names)},
        metrics=evaluation.as_metrics(),
        tags={**tags, "protocol": evaluation.split},
        figures=plots.draw(
            evaluation,
            trained.importance,
            measurement.importances,
            trained.curve,
            int(trained.parameters["n_rounds"]),
        ),
        curve=trained.curve,
        texts={
            "importance.csv": importance.as_csv(
                measurement.importances, trained.importance
            )
        },
    )
    return registry.register(served, trained.booster, example, record)
