"""The runs of an experiment in MLflow: trainings, and what was served, measured."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_RUN_NOTE
from mlflow.utils.validation import MAX_DATASET_DIGEST_SIZE

from batch.errors import NothingToLearn
from lookup.shared.contract import Forerunner
from lookup.shared.env import without_password

VIEW = "workflowType=machine_learning"
"""Without this in an address, MLflow's pages show its view of GenAI, which is empty."""

log = logging.getLogger(__name__)


def start(
    client: MlflowClient,
    experiment_id: str,
    release: str,
    source: str,
    digest: str,
    note: str,
) -> str:
    """Start the run of a training; return its id.

    Args:
        client: of the store.
        experiment_id: of the run's experiment.
        release: the name of the data; with the date it names the run.
        source: where the data are.
        digest: of the data.
        note: the run's description, if it is not empty.
    """
    name = f"{release} {datetime.now(UTC):%Y-%m-%d %H:%M}"
    run_id = str(client.create_run(experiment_id, run_name=name).info.run_id)
    if note:
        client.set_tag(run_id, MLFLOW_RUN_NOTE, note)
    place = json.dumps({"uri": source})
    data = Dataset(release, digest[:MAX_DATASET_DIGEST_SIZE], "local", place)
    use = InputTag(MLFLOW_DATASET_CONTEXT, "training")
    client.log_inputs(run_id, [DatasetInput(data, [use])])
    mlflow.set_experiment(experiment_id=experiment_id)  # else another's may be active
    mlflow.start_run(run_id)
    where = address(without_password(client.tracking_uri), experiment_id, run_id)
    log.info("MLflow: %s", where)
    return run_id


@contextmanager
def failing(client: MlflowClient, run_id: str) -> Iterator[None]:
    """End a run as failed if the block fails; delete it if nothing was learned."""
    try:
        yield
    except BaseException as error:
        with suppress(Exception):  # the store may be what failed
            mlflow.end_run("FAILED")
            if isinstance(error, NothingToLearn):
                client.delete_run(run_id)
        raise


def address(uri: str, experiment_id: str, run_id: str) -> str:
    """Return where a browser shows a run, and how if the store is no server."""
    page = f"#/experiments/{experiment_id}/runs/{run_id}?{VIEW}"
    if uri.startswith("http"):
        return f"{uri.rstrip('/')}/{page}"
    return f"http://127.0.0.1:5000/{page} (mlflow ui --backend-store-uri {uri})"


def log_forerunner(found: Forerunner) -> None:
    """Log how a generation did on what came after it, as a run of its own."""
    parameters = asdict(found)
    figures = parameters.pop("figures")
    values = {f"{of}/{n}": v for of, row in figures.items() for n, v in row.items()}
    with mlflow.start_run(run_name=f"served {found.generation}"):
        mlflow.log_params(parameters)
        mlflow.log_metrics(values)
