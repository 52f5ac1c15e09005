"""`evaluate`: the metrics of `prod` next to the baselines, and a page about them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

from batch import warehouse
from batch.commands import Result, guards, resources
from batch.commands.inputs import raw_fingerprint
from batch.commands.resources import Connection
from batch.commands.stopwatch import Stopwatch
from batch.errors import BatchError
from batch.evaluation import data_profile, examples
from batch.evaluation.comparison import Comparison
from batch.evaluation.evaluation import Evaluation
from batch.evaluation.evaluation import evaluate as evaluate_rankings
from batch.evaluation.metrics import K
from batch.evaluation.protocol import FIFTH, PROTOCOLS, Protocol
from batch.features import candidates, tables
from batch.progress import Progress
from batch.publishing import parquet
from batch.scoring import rank, warm_up
from batch.settings import Settings
from lookup.shared.env import without_password

if TYPE_CHECKING:
    import xgboost

    from batch.model.registry import Registry

MAX_USERS = 10_000
MAX_PAIRS = 200_000_000
PAGE = "evaluation.html"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """The quality of a version.

    Attributes:
        model: the measured one: `evaluated`, which never saw the hold-out, or
            `served`, which may have.
        evaluation: the metrics of that model.
        importances: feature → mean |SHAP value|.
    """

    model: str
    evaluation: Evaluation
    importances: Mapping[str, float]

    def as_dict(self) -> Result:
        """Return the JSON form."""
        return {"measured": self.model} | self.evaluation.as_dict()


def evaluate(settings: Settings, *, protocol: str = FIFTH.name) -> Result:
    """Measure the prod model and the baselines on the hold-out."""
    chosen = PROTOCOLS[protocol]
    prod = resources.prod(settings)
    if prod is None:
        raise BatchError(
            f"no version of {settings.model_name} is prod in "
            f"{without_password(settings.tracking_uri)}; train one: "
            "python -m batch train"
        )
    if not guards.has_features_of(prod):
        log.warning(
            "version %s was trained with features of other SQL: these are not the "
            "metrics of its training",
            prod.version,
        )
    raw, version = resources.find_raw(settings), prod.version
    registry = resources.open_registry(settings)
    with resources.open_warehouse(raw, settings, Stopwatch()) as connection:
        warm_up.start(settings.scorer)
        tables.build(connection, chosen.n_cuts, chosen.n_next, settings.scale)
        booster, model = load_measurable(registry, version)
        measurement = measure(connection, booster, model, settings, chosen)
        page = write_page(connection, raw.name, registry, version, measurement)
        fingerprint = raw_fingerprint(raw, connection)
    path = settings.processed / PAGE
    parquet.write_text(page, path)
    # a separate name, because the training run's page may describe other raw files
    name = f"evaluations/{fingerprint[:12]}-{protocol}.html"
    log_page(registry, version, name, page)
    return {"model_version": version} | measurement.as_dict() | {"report": str(path)}


def measure(
    connection: Connection,
    booster: "xgboost.Booster",
    model: str,
    settings: Settings,
    protocol: Protocol = FIFTH,
) -> Measurement:
    """Measure a model on the hold-out, with the tables as of the hold-out's cutoff."""
    from batch.evaluation.importance import shap_values

    evaluation = evaluate_model(connection, booster, settings, protocol)
    importances = shap_values(connection, booster, evaluation.lists)
    return Measurement(model, evaluation, importances)


def evaluate_model(
    connection: Connection,
    booster: "xgboost.Booster",
    settings: Settings,
    protocol: Protocol = FIFTH,
) -> Evaluation:
    """Compare a model's lists and the baselines' with the hold-out."""
    n_items = warehouse.count(connection, "stg_items")
    max_users = min(MAX_USERS, max(1, MAX_PAIRS // max(1, n_items)))
    able = warehouse.users_with_future(connection)
    user_ids = candidates.evenly_spaced(able, max_users)
    blocks = rank.rank_users(connection, booster, user_ids, K, settings.scorer)
    counted = Progress("evaluating", "users").counted(blocks, len(user_ids))
    rankings, liked_from = chain.from_iterable(counted), settings.scale.liked_from
    return evaluate_rankings(connection, rankings, protocol, liked_from)


def load_measurable(
    registry: "Registry", version: str
) -> tuple["xgboost.Booster", str]:
    """Return a version's evaluated model, or else its served one, and which it is."""
    booster = registry.load_evaluated(version)
    if booster is not None:
        return booster, "evaluated"
    log.warning(
        "version %s names no evaluated model: measuring the served one, which may have "
        "learned from the hold-out and look too good",
        version,
    )
    return registry.load(version), "served"


def write_page(
    connection: Connection,
    release_name: str,
    registry: "Registry",
    version: str,
    measurement: Measurement,
    comparison: Comparison | None = None,
) -> str:
    """Return a version's page as HTML, from the tables as of the hold-out's cutoff."""
    from batch.evaluation import report  # with Jinja2, which a skipped run saves

    evaluation = measurement.evaluation
    return report.render(
        report.Report(
            release=release_name,
            model_name=registry.name,
            model_version=version,
            measured=measurement.model,
            made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            evaluation=evaluation,
            importances=measurement.importances,
            parameters=registry.parameters(version),
            examples=examples.read(connection, evaluation.lists, evaluation.held_out),
            comparison=comparison,
            profile=data_profile.read(connection),
        )
    )


def log_page(registry: "Registry", version: str, name: str, page: str) -> None:
    """Store a page with a version's run in MLflow; a failure is logged, not raised."""
    try:
        registry.log_page(version, name, page)
    except BatchError as error:
        log.warning("%s", error)
