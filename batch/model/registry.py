"""Models in MLflow: register, load and promote versions of the registered model."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import mlflow
import mlflow.xgboost
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.models.model import ModelInfo

from batch.errors import BatchError
from batch.model import local_store, pages, runs, server
from batch.model.alias import CHECKSUM, PROD, Prod
from batch.model.artifacts import read_booster, sha256
from batch.model.failures import explain
from batch.model.model_file import UnfitError
from batch.settings import MODEL_NAME
from lookup.shared.contract import Forerunner
from lookup.shared.env import without_password

if TYPE_CHECKING:
    # their imports take a second, which a skipped run does not need
    import pandas as pd
    import pyarrow as pa
    import xgboost
    from matplotlib.figure import Figure

FORMAT = "json"

EVALUATED = "evaluated_model"
EVALUATED_CHECKSUM = "evaluated_sha256"
"""Tags of a version: the address of its evaluated model, and the checksum of that
booster's file. Versions that other tools registered have none."""

LOGGED = re.compile(r"models:/(m-[0-9a-f]{1,64})")
"""The address of a logged model, which has no name or version."""

MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's codes for a missing model or run, and for a missing alias."""

DESCRIPTION = (
    "Refitted on all ratings after the evaluation; it scores. The run's metrics are "
    "those of {evaluated}, which has the same parameters but was trained without the "
    "hold-out: measure that one, since this one has seen it."
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """The data that a training run logs about its evaluated model."""

    parameters: Mapping[str, str | int | float]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    figures: "Mapping[str, Figure]"
    curve: Mapping[str, list[float]]
    texts: Mapping[str, str] = field(default_factory=dict)  # file name → its content


class Registry:
    """A registered model and its experiment on one tracking server or local store.

    Both have the same name.
    """

    def __init__(self, tracking_uri: str, model_name: str = MODEL_NAME) -> None:
        # MLflow logs the tracebacks of its errors; stderr gets one line instead
        level = logging.ERROR if log.isEnabledFor(logging.DEBUG) else logging.CRITICAL
        logging.getLogger("mlflow").setLevel(level)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        self.tracking_uri = tracking_uri
        self.name = model_name
        self._database = local_store.database_path(tracking_uri)
        with self._explained("open the store"):
            if self._database is not None:
                local_store.create(self._database)
                local_store.check(self._database)
            else:
                server.check(tracking_uri)
            mlflow.set_tracking_uri(tracking_uri)
            self._client = mlflow.MlflowClient(tracking_uri)

    def prod(self) -> Prod | None:
        """Return what the alias `prod` names, None if there is no alias."""
        with self._explained(f"read the alias {PROD}"):
            try:
                found = self._client.get_model_version_by_alias(self.name, PROD)
            except MlflowException as error:
                if error.error_code not in MISSING:
                    raise
                return None
            version = str(found.version)
            if not (version.isascii() and version.isdigit()):
                raise ValueError(f"the server answered with version {version[:40]!r}")
            tags = self._run_tags(found.run_id)
        origin = found.run_id, found.source, found.creation_timestamp
        return Prod.of(version, found.tags.get(CHECKSUM), origin, tags)

    def prod_version(self) -> str | None:
        """Return the number of the version that `prod` names, None if there is none."""
        found = self.prod()
        return found.version if found else None

    def load(self, version: str) -> "xgboost.Booster":
        """Load the served booster of a version.

        Raises:
            BatchError: the version or its file is gone, or is not a booster.
        """
        with self._explained(f"load version {version} of {self.name}"):
            found = self._client.get_model_version(self.name, version)
            check_version(found, self.name)
            location = self._client.get_model_version_download_uri(self.name, version)
            return read_booster(location, self._root(found), found.tags.get(CHECKSUM))

    def load_evaluated(self, version: str) -> "xgboost.Booster | None":
        """Load the evaluated booster of a version, None if the version names none.

        Raises:
            BatchError: the version or the model that it names is gone.
        """
        model = f"the evaluated model of version {version} of {self.name}"
        with self._explained(f"load {model}"):
            found = self._client.get_model_version(self.name, version)
            uri = found.tags.get(EVALUATED)
            if uri is None:
                return None
            match = LOGGED.fullmatch(uri)
            if match is None:
                raise UnfitError(f"{uri[:100]!r} is not the address of a logged model")
            location = self._client.get_logged_model(match[1]).artifact_location
            checksum = found.tags.get(EVALUATED_CHECKSUM)
            return read_booster(location, self._root(found), checksum)

    def metrics(self, version: str) -> tuple[str | None, Mapping[str, float]]:
        """Return the evaluation protocol and the metrics of a version's run."""
        with self._explained(f"read the metrics of version {version} of {self.name}"):
            data = self._client.get_run(self._run_id(version)).data
        return data.tags.get("protocol"), data.metrics

    def parameters(self, version: str) -> Mapping[str, str]:
        """Return the parameters of a version's run."""
        with self._explained(f"read the parameters of version {version}"):
            parameters = self._client.get_run(self._run_id(version)).data.params
        return dict(parameters)

    def log_page(self, version: str, name: str, page: str) -> None:
        """Write a page to the artifacts of a version's run, replacing the old one."""
        with self._explained(f"log {name} with version {version} of {self.name}"):
            self._client.log_text(self._run_id(version), page, name)

    def edit_pages(self, change: Callable[[str], str]) -> int:
        """Replace the pages of all runs that a change alters; return how many."""
        with self._explained("change pages"):
            return pages.edit(self._client, self.name, change)

    def promote(self, version: str) -> None:
        """Set the alias `prod` to an existing version."""
        with self._explained("list the versions"):
            found = self._client.search_model_versions(f"name='{self.name}'")
        versions = [str(one.version) for one in found]
        if version not in versions:
            existing = ", ".join(sorted(versions, key=int)) or "none yet"
            raise BatchError(
                f"{self.name} has no version {version}, only: {existing}; "
                "train one: python -m batch train"
            )
        with self._explained(f"point {PROD} at version {version}"):
            self._client.set_registered_model_alias(self.name, PROD, version)

    @contextmanager
    def training_run(
        self, release: str, source: str, digest: str, note: str = ""
    ) -> Iterator[None]:
        """Open a run for the length of a training, to which `register` then logs.

        The arguments are those of `runs.start`. The run fails if its training does.
        """
        with self._explained("open a run"):
            experiment_id = self._experiment()
            run_id = runs.start(
                self._client, experiment_id, release, source, digest, note
            )
        with runs.failing(self._client, run_id):
            yield
        with self._explained("close a run"):
            mlflow.end_run()

    def register(
        self,
        served: "xgboost.Booster",
        evaluated: "xgboost.Booster",
        example: "pa.Table",
        record: Record,
    ) -> str:
        """Log a run with its two models and register the served one.

        Args:
            served: the booster to register, refitted on all ratings.
            evaluated: the booster that the metrics belong to; a tag names it.
            example: a few rows of features, with their names, for the signatures.
            record: everything else that the run logs.

        Returns:
            The new version; the alias `prod` does not move.
        """
        with self._explained("log the model"):
            mlflow.set_experiment(experiment_id=self._experiment())
            opened = mlflow.active_run()
            with nullcontext(opened) if opened else mlflow.start_run() as run:
                mlflow.set_tags(dict(record.tags))
                info = log_model("model", served, example)
                measured = log_model("evaluated", evaluated, example)
                # log these last: MLflow links a run's metrics to each model that is
                # logged later, and the served model must not get them
                log_record(record, measured.model_id)
                with suppress(MlflowException):  # it exists, or the next call fails too
                    self._client.create_registered_model(self.name)
                made = self._client.create_model_version(
                    self.name,
                    info.model_uri,
                    run.info.run_id,
                    tags={
                        EVALUATED: measured.model_uri,
                        "fitted_on": "all ratings",
                        CHECKSUM: sha256(served.save_raw(FORMAT)),
                        EVALUATED_CHECKSUM: sha256(evaluated.save_raw(FORMAT)),
                    },
                    description=DESCRIPTION.format(evaluated=measured.model_uri),
                    model_id=info.model_id,
                )
        return str(made.version)

    def log_forerunner(self, found: Forerunner) -> None:
        """Log how a generation did on what came after it, as a run of its own."""
        with self._explained("log how the served lists did"):
            mlflow.set_experiment(experiment_id=self._experiment())
            runs.log_forerunner(found)

    def _experiment(self) -> str:
        """Return the experiment's id; a local store keeps artifacts in its folder."""
        found = self._client.get_experiment_by_name(self.name)
        if found is not None:
            return str(found.experiment_id)
        location = None
        if self._database is not None:
            location = (self._database.parent / "artifacts").resolve().as_uri()
        return str(self._client.create_experiment(self.name, location))

    def _run_id(self, version: str) -> str:
        run_id = self._client.get_model_version(self.name, version).run_id
        if not run_id:
            raise BatchError(f"version {version} of {self.name} has no run")
        return str(run_id)

    def _run_tags(self, run_id: str | None) -> Mapping[str, str]:
        """Return a run's tags; none if a version has no run, or its run was removed."""
        try:
            tags = self._client.get_run(run_id).data.tags if run_id else {}
        except MlflowException as error:
            if error.error_code not in MISSING:
                raise
            return {}
        return dict(tags)

    def _root(self, found: ModelVersion) -> str:
        """Return the folder of a version's experiment, which holds all its files."""
        if found.model_id:
            experiment = self._client.get_logged_model(found.model_id).experiment_id
        elif found.run_id:
            experiment = self._client.get_run(found.run_id).info.experiment_id
        else:
            raise UnfitError("it has no run; register a model that a run has logged")
        return str(self._client.get_experiment(experiment).artifact_location)

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        """Turn any failure of MLflow into a one-line error with the store's address."""
        try:
            yield
        except BatchError:
            raise
        except Exception as error:  # MLflow's back ends raise errors of their own
            uri = without_password(self.tracking_uri)
            reason = explain(error).replace(self.tracking_uri, uri)
            message = f"could not {action} in MLflow at {uri}: {reason}"
            raise BatchError(message) from error


def check_version(found: ModelVersion, name: str) -> None:
    """Check that a version is complete and not a copy of another model."""
    if found.status != "READY":
        raise UnfitError(f"its status is {found.status}, expected READY")
    source = found.source or ""
    if source.startswith("models:") and not (
        LOGGED.fullmatch(source) or source.startswith(f"models:/{name}/")
    ):
        raise UnfitError(
            f"it is a copy of {source[:100]}; only models that were registered as "
            f"{name} are used"
        )


def log_model(name: str, booster: "xgboost.Booster", example: "pa.Table") -> ModelInfo:
    """Log a booster in the active run."""
    from xgboost import __version__ as xgboost_version

    rows: pd.DataFrame = example.to_pandas()
    info: ModelInfo = mlflow.xgboost.log_model(
        booster,
        name=name,
        model_format=FORMAT,
        signature=infer_signature(rows, booster.inplace_predict(example)),
        input_example=rows,
        # MLflow would infer them from what happens to be installed
        pip_requirements=[f"xgboost>={xgboost_version}", "pandas"],
    )
    return info


def log_record(record: Record, model_id: str) -> None:
    """Log parameters, metrics, learning curve and files in the active run."""
    mlflow.log_params(dict(record.parameters))
    mlflow.log_metrics(dict(record.metrics), model_id=model_id)
    n_rounds = int(record.parameters.get("n_rounds", 0))
    for name, values in record.curve.items():
        key = f"learning_curve/{name}_ndcg_at_10_by_trees"
        for stage, value in enumerate(values, start=1):
            n_trees = n_rounds * stage // len(values)
            mlflow.log_metric(key, value, step=n_trees, model_id=model_id)
    for name, figure in record.figures.items():
        mlflow.log_figure(figure, name)
    for name, text in record.texts.items():
        mlflow.log_text(text, name)
