"""Models in MLflow: the only file that imports it."""

import contextlib
import hashlib
import logging
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

# Set before mlflow is imported: nothing is to leave the machine unasked, a server that
# is away is to be reported at once and not after seven retries, stdout is for our
# results, and that there is no git is no news.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import mlflow
import mlflow.artifacts
import mlflow.xgboost
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.models.model import ModelInfo

from batch.errors import BatchError
from batch.ingest import release_zip
from batch.model import flavor, model_file
from batch.model.alias import MODEL_NAME, PROD
from batch.model.failures import explain
from batch.model.model_file import UnfitError
from lookup.shared.env import without_password

if TYPE_CHECKING:
    # their imports take a second, which a run that is skipped does not have
    import pandas as pd
    import pyarrow as pa
    import xgboost
    from matplotlib.figure import Figure

EXPERIMENT = "MovieLensXGB"
EVALUATED = "evaluated_model"
"""The tag by which a version names the model that was measured in its place."""

CHECKSUM = "booster_sha256"
EVALUATED_CHECKSUM = "evaluated_sha256"
"""The tags that tell a damaged file from what was trained: a wrong bit in a leaf would
go unseen. Versions by other hands have none."""

LOGGED = re.compile(r"models:/(m-[0-9a-f]{1,64})")
"""A model as it was logged, which no name has been given to."""

DESCRIPTION = (
    "Refitted on all ratings after the evaluation; it scores. The run's metrics are "
    "those of {evaluated}, which has the same parameters and learned without the "
    "hold-out: measure that one, since this one has seen it."
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """What a training run logs beside its models; all of it is of the evaluated one."""

    parameters: Mapping[str, str | int | float]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    figures: "Mapping[str, Figure]"
    curve: Mapping[str, list[float]]


class Registry:
    """The registered model `MovieLensXGB` on one tracking server or store."""

    def __init__(self, tracking_uri: str) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.tracking_uri = tracking_uri
        self._database = database_of(tracking_uri)
        if not log.isEnabledFor(logging.DEBUG):
            # it logs tracebacks of what it raises, and that is told in one line
            logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        with self._explained("open the store"):
            if self._database is not None:
                make_store(self._database)
                try_out(self._database)
            mlflow.set_tracking_uri(tracking_uri)
            self._client = mlflow.MlflowClient(tracking_uri)

    def prod_version(self) -> str | None:
        """Resolve the alias `prod` to a version, None when there is no such alias."""
        with self._explained(f"read the alias {PROD}"):
            try:
                found = self._client.get_model_version_by_alias(MODEL_NAME, PROD)
            except MlflowException as error:
                # without the model it does not exist, without the alias it is "invalid"
                if error.error_code in (
                    "RESOURCE_DOES_NOT_EXIST",
                    "INVALID_PARAMETER_VALUE",
                ):
                    return None
                raise
            version = str(found.version)
            if not (version.isascii() and version.isdigit()):
                raise ValueError(f"it says that this is version {version[:40]!r}")
        return version

    def load(self, version: str) -> "xgboost.Booster":
        """Load a version's booster in xgboost's own format, never a pickle.

        Raises:
            BatchError: when the version or its artifact is gone or is no booster.
        """
        with self._explained(f"load version {version} of {MODEL_NAME}"):
            found = self._client.get_model_version(MODEL_NAME, version)
            self._check_version(found)
            location = self._client.get_model_version_download_uri(MODEL_NAME, version)
            return self._read(location, found, found.tags.get(CHECKSUM))

    def load_evaluated(self, version: str) -> "xgboost.Booster | None":
        """Load the model that was measured in a version's place, before its refit.

        Returns:
            None where the version names none: not all are registered by this code.

        Raises:
            BatchError: when the version is gone, or what it names.
        """
        with self._explained(f"read version {version} of {MODEL_NAME}"):
            found = self._client.get_model_version(MODEL_NAME, version)
        uri = found.tags.get(EVALUATED)
        if uri is None:
            return None
        what = f"load the evaluated model of version {version} of {MODEL_NAME}"
        with self._explained(what):
            match = LOGGED.fullmatch(uri)
            if match is None:
                raise UnfitError(f"{uri[:100]!r} is no model that was logged")
            location = self._client.get_logged_model(match[1]).artifact_location
            return self._read(location, found, found.tags.get(EVALUATED_CHECKSUM))

    def _check_version(self, found: ModelVersion) -> None:
        """See that a version is whole, and no other model under this one's name.

        Raises:
            UnfitError: it is not.
        """
        if found.status != "READY":
            raise UnfitError(f"its status is {found.status}, expected READY")
        source = found.source or ""
        if source.startswith("models:") and not (
            LOGGED.fullmatch(source) or source.startswith(f"models:/{MODEL_NAME}/")
        ):
            raise UnfitError(
                f"it is a copy of {source[:100]}, and only what was registered as "
                f"{MODEL_NAME} is scored with"
            )

    def _read(
        self, location: str, found: ModelVersion, checksum: str | None
    ) -> "xgboost.Booster":
        """Read a booster from where a version's run keeps its files.

        Raises:
            UnfitError: it is kept elsewhere, or no booster.
        """
        root = self._root(found)
        if not is_within(location, root):
            raise UnfitError(
                f"its files are at {without_password(location)}, and its run's are "
                f"below {without_password(root)}; register what a run has logged"
            )
        listed = mlflow.artifacts.list_artifacts(artifact_uri=location)
        sizes = {PurePosixPath(file.path).name: file.file_size or 0 for file in listed}
        with tempfile.TemporaryDirectory(prefix="movielens-xgb-") as folder:
            description = fetched(
                location, flavor.NAME, sizes, flavor.LARGEST_FILE, folder
            )
            name = flavor.file_of(description)
            content = fetched(location, name, sizes, model_file.LARGEST_FILE, folder)
        if checksum is not None and digest(content) != checksum:
            raise UnfitError(
                f"its {name} is damaged: of its {len(content):,} bytes the sha256 is "
                "not that of what was registered"
            )
        try:
            return model_file.read(content)
        except UnfitError as error:
            raise UnfitError(f"its {name} is of no use: {error}") from error

    def _root(self, found: ModelVersion) -> str:
        """Return the folder of a version's experiment, below which all its files are.

        Raises:
            UnfitError: it is of none, so that its files may be anything's.
        """
        if found.model_id:
            experiment = self._client.get_logged_model(found.model_id).experiment_id
        elif found.run_id:
            experiment = self._client.get_run(found.run_id).info.experiment_id
        else:
            raise UnfitError("it is of no run; register what a run has logged")
        return str(self._client.get_experiment(experiment).artifact_location)

    def register(
        self,
        served: "xgboost.Booster",
        evaluated: "xgboost.Booster",
        example: "pa.Table",
        record: Record,
    ) -> str:
        """Log a run with its two models and register one as the next version.

        Args:
            served: what to register: refitted on all ratings.
            evaluated: what the metrics are of; the version's tag names it.
            example: a few rows of features, with their names, for the signatures.
            record: what else the run logs.

        Returns:
            The new version; the alias is where it was.
        """
        with self._explained("log the model"):
            mlflow.set_experiment(experiment_id=self._experiment())
            with mlflow.start_run(tags=dict(record.tags)) as run:
                info = self._log_model("model", served, example)
                measured = self._log_model("evaluated", evaluated, example)
                # after both: MLflow links the metrics that a run has to a model that
                # is logged in it, and these are not the served one's
                self._log(record, run.info.run_id, measured.model_id)
                self._create_model()
                made = self._client.create_model_version(
                    MODEL_NAME,
                    info.model_uri,
                    run.info.run_id,
                    tags={
                        EVALUATED: measured.model_uri,
                        "fitted_on": "all ratings",
                        CHECKSUM: digest(served.save_raw("ubj")),
                        EVALUATED_CHECKSUM: digest(evaluated.save_raw("ubj")),
                    },
                    description=DESCRIPTION.format(evaluated=measured.model_uri),
                    model_id=info.model_id,
                )
        return str(made.version)

    def measured(self, version: str) -> tuple[str | None, Mapping[str, float]]:
        """Return the protocol and the metrics that a version's run has logged.

        Raises:
            BatchError: when there is no such version, or no run of it.
        """
        with self._explained(f"read the metrics of version {version} of {MODEL_NAME}"):
            found = self._client.get_model_version(MODEL_NAME, version)
            if not found.run_id:
                raise BatchError(f"version {version} of {MODEL_NAME} has no run")
            data = self._client.get_run(found.run_id).data
        return data.tags.get("protocol"), data.metrics

    def log_page(self, version: str, name: str, page: str) -> None:
        """Put a page among the artifacts of a version's run, in the place of its like.

        Raises:
            BatchError: when that cannot be, such as for a version without a run.
        """
        with self._explained(f"log {name} with version {version} of {MODEL_NAME}"):
            found = self._client.get_model_version(MODEL_NAME, version)
            if not found.run_id:
                raise BatchError(f"version {version} of {MODEL_NAME} has no run")
            self._client.log_text(found.run_id, page, name)

    def promote(self, version: str) -> None:
        """Let `prod` name this version.

        Raises:
            BatchError: when there is no such version; names the ones that there are.
        """
        versions = [str(found.version) for found in self._versions()]
        if version not in versions:
            there = ", ".join(sorted(versions, key=int)) or "none yet"
            raise BatchError(
                f"{MODEL_NAME} has no version {version}, only: {there}; "
                "train one: python -m batch train"
            )
        with self._explained(f"point {PROD} at version {version}"):
            self._client.set_registered_model_alias(MODEL_NAME, PROD, version)

    def _log_model(
        self, name: str, booster: "xgboost.Booster", example: "pa.Table"
    ) -> ModelInfo:
        from xgboost import __version__ as xgboost_version

        rows: pd.DataFrame = example.to_pandas()
        info: ModelInfo = mlflow.xgboost.log_model(
            booster,
            name=name,
            model_format="ubj",
            signature=infer_signature(rows, booster.inplace_predict(example)),
            input_example=rows,
            # what inference would find here depends on what is installed
            pip_requirements=[f"xgboost>={xgboost_version}", "pandas"],
        )
        return info

    def _create_model(self) -> None:
        try:
            self._client.create_registered_model(MODEL_NAME)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _versions(self) -> list[ModelVersion]:
        with self._explained("list the versions"):
            return list(self._client.search_model_versions(f"name='{MODEL_NAME}'"))

    def _experiment(self) -> str:
        """Return the experiment's id; a local store keeps artifacts beside itself."""
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        location = None
        if self._database is not None:
            location = (self._database.parent / "artifacts").resolve().as_uri()
        return str(self._client.create_experiment(EXPERIMENT, location))

    def _log(self, record: Record, run_id: str, model_id: str) -> None:
        mlflow.log_params(dict(record.parameters))
        mlflow.log_metrics(dict(record.metrics), model_id=model_id)
        for name, values in record.curve.items():
            for step, value in enumerate(values):
                mlflow.log_metric(
                    f"{name}_ndcg_at_10", value, step=step, model_id=model_id
                )
        for name, figure in record.figures.items():
            mlflow.log_figure(figure, name)
        log.debug("logged run %s", run_id)

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn whatever goes wrong in MLflow into one line with the store's address."""
        try:
            yield
        except BatchError:
            raise
        except Exception as error:  # mlflow lets through what its back ends raise
            uri = without_password(self.tracking_uri)
            said = explain(error).replace(self.tracking_uri, uri)
            raise BatchError(f"could not {what} in MLflow at {uri}: {said}") from error


def database_of(tracking_uri: str) -> Path | None:
    """Return the file of a local store, None where the store is a server."""
    if not tracking_uri.startswith("sqlite:///"):
        return None
    return Path(tracking_uri.removeprefix("sqlite:///").partition("?")[0])


def make_store(database: Path) -> None:
    """Make a local store, unless there is one.

    MLflow makes its tables in some seventy steps, and cannot open again what was killed
    between two of them. So they are made beside, and moved into place at once.
    """
    folder = database.parent
    folder.mkdir(parents=True, exist_ok=True)
    if is_made(database):
        return
    with release_zip.locked(folder):
        draft = folder / f".{database.name}.new"
        shutil.rmtree(draft, ignore_errors=True)  # of one that was killed
        if is_made(database):  # by whom we waited for
            return
        draft.mkdir()
        try:
            mlflow.MlflowClient(f"sqlite:///{draft / 'made'}").search_experiments()
            # a copy: MLflow keeps what it has opened open
            with closing(sqlite3.connect(draft / "made")) as made:
                made.execute("vacuum into ?", (str(draft / "whole"),))
            with (draft / "whole").open("rb+") as file:
                os.fsync(file.fileno())
            (draft / "whole").replace(database)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def is_made(database: Path) -> bool:
    """Tell whether there is a store; to look for one may leave an empty file."""
    return database.exists() and database.stat().st_size > 0


def try_out(database: Path) -> None:
    """See that a database can be opened: MLflow would try for 100 seconds.

    Raises:
        sqlite3.Error: it cannot.
    """
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("select count(*) from sqlite_master").fetchone()


def is_within(location: str, root: str) -> bool:
    """Tell whether an artifact's address is below a folder's."""
    inner, outer = (
        unquote(uri.removeprefix("file://")).rstrip("/") for uri in (location, root)
    )
    return inner.startswith(f"{outer}/") and ".." not in PurePosixPath(inner).parts


def fetched(
    location: str, name: str, sizes: Mapping[str, int], most: int, folder: str
) -> bytes:
    """Fetch one of the files of a model; what is larger than any is left where it is.

    Raises:
        UnfitError: it is not there, or too large.
    """
    if name not in sizes:
        raise UnfitError(f"its {name} is gone from {without_password(location)}")
    if sizes[name] > most:
        raise UnfitError(f"its {name} takes {sizes[name]:,} bytes, at most {most:,}")
    path = mlflow.artifacts.download_artifacts(
        artifact_uri=f"{location.rstrip('/')}/{name}", dst_path=folder
    )
    with Path(path).open("rb") as file:
        content = file.read(most + 1)
    # what a server lists is not what it sends
    if len(content) > most:
        raise UnfitError(f"its {name} takes more than {most:,} bytes")
    return content


def digest(content: bytes | bytearray) -> str:
    """Hash a file."""
    return hashlib.sha256(content).hexdigest()
