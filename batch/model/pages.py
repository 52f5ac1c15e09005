"""The pages among the artifacts of an experiment's runs."""

from collections.abc import Callable, Iterator

import mlflow
from mlflow import MlflowClient
from mlflow.entities import ViewType


def edit(client: MlflowClient, name: str, change: Callable[[str], str]) -> int:
    """Replace the pages that a change alters; return how many these were.

    Looks at all runs of the experiment and of the versions of a name, deleted ones too.
    """
    n_pages = 0
    for run_id in run_ids(client, name):
        for path in pages(client, run_id):
            text = mlflow.artifacts.load_text(f"runs:/{run_id}/{path}")
            if (changed := change(text)) != text:
                client.log_text(run_id, changed, path)
                n_pages += 1
    return n_pages


def run_ids(client: MlflowClient, name: str) -> set[str]:
    """Return the ids of an experiment's runs, and of those that made versions."""
    versions = client.search_model_versions(f"name='{name}'")
    found = {version.run_id for version in versions if version.run_id}
    experiment = client.get_experiment_by_name(name)
    token = None
    while experiment is not None:
        runs = client.search_runs(
            [experiment.experiment_id], run_view_type=ViewType.ALL, page_token=token
        )
        found |= {run.info.run_id for run in runs}
        token = runs.token
        if not token:
            break
    return found


def pages(
    client: MlflowClient, run_id: str, folder: str | None = None
) -> Iterator[str]:
    """Yield the paths of a run's HTML files."""
    for file in client.list_artifacts(run_id, folder):
        if file.is_dir:
            yield from pages(client, run_id, file.path)
        elif file.path.endswith(".html"):
            yield file.path
