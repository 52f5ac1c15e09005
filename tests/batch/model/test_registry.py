"""Models in a real MLflow store."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pytest
import xgboost
from matplotlib.figure import Figure
from mlflow import MlflowClient

from batch.errors import BatchError
from batch.model import alias
from batch.model.alias import MODEL_NAME
from batch.model.registry import EVALUATED, Record, Registry
from tests.conftest import answers, free_port, wait_until

VALUES = pa.table(
    {
        "first": pa.array([0.0, 1.0, None, 3.0], pa.float32()),
        "second": pa.array([1.0, 1.0, 2.0, 2.0], pa.float32()),
    }
)
RECORD = Record(
    parameters={"eta": 0.1, "features": "first,second"},
    metrics={"ndcg_at_10": 0.25, "popularity_ndcg_at_10": 0.125},
    tags={"sql_fingerprint": "abc"},
    figures={"metrics.png": Figure()},
    curve={"training": [0.5, 0.75]},
)


def trained(seed: int = 0, n_trees: int = 2) -> xgboost.Booster:
    """Train a booster of two trees."""
    labels = np.array([0, 1, 0, 1])
    matrix = xgboost.QuantileDMatrix(VALUES, labels)
    return xgboost.train({"seed": seed, "max_depth": 2}, matrix, n_trees)


def register(registry: Registry, booster: xgboost.Booster | None = None) -> str:
    """Register a version whose two models are the same."""
    booster = booster or trained()
    return registry.register(booster, booster, VALUES, RECORD)


@pytest.fixture
def registry(tmp_path: Path, empty_store: Path) -> Registry:
    """Open a store in a folder with a space."""
    folder = tmp_path / "ml runs"
    folder.mkdir()
    shutil.copy(empty_store, folder)
    return Registry(f"sqlite:///{folder}/mlflow.db")


def test_an_empty_store_has_no_prod(registry: Registry) -> None:
    assert registry.prod_version() is None


def test_a_registered_model_comes_back_as_the_booster_it_was(
    registry: Registry,
) -> None:
    booster = trained()
    version = register(registry, booster)
    assert version == "1"
    loaded = registry.load(version)
    assert loaded.feature_names == ["first", "second"]
    assert loaded.inplace_predict(VALUES).tolist() == (
        booster.inplace_predict(VALUES).tolist()
    )


def test_registering_never_moves_prod(registry: Registry) -> None:
    register(registry)
    assert registry.prod_version() is None
    registry.promote("1")
    assert register(registry, trained(1)) == "2"
    assert registry.prod_version() == "1"
    registry.promote("2")
    assert registry.prod_version() == "2"


def test_a_run_logs_all_that_the_contract_names(registry: Registry) -> None:
    version = register(registry)
    client = MlflowClient(registry.tracking_uri)
    found = client.get_model_version(MODEL_NAME, version)
    assert found.run_id is not None
    run = client.get_run(found.run_id)
    assert run.data.params == {"eta": "0.1", "features": "first,second"}
    assert run.data.metrics["ndcg_at_10"] == 0.25
    assert run.data.metrics["popularity_ndcg_at_10"] == 0.125
    assert run.data.tags["sql_fingerprint"] == "abc"
    steps = client.get_metric_history(found.run_id, "training_ndcg_at_10")
    assert [step.value for step in steps] == [0.5, 0.75]
    assert "metrics.png" in [file.path for file in client.list_artifacts(found.run_id)]
    info = mlflow.models.get_model_info(f"models:/{MODEL_NAME}/{version}")
    assert info.signature.inputs.input_names() == ["first", "second"]
    assert info.saved_input_example_info is not None


def test_a_version_says_which_of_its_models_is_which(registry: Registry) -> None:
    served, evaluated = trained(n_trees=2), trained(n_trees=3)
    version = registry.register(served, evaluated, VALUES, RECORD)
    client = MlflowClient(registry.tracking_uri)
    found = client.get_model_version(MODEL_NAME, version)
    uri = found.tags[EVALUATED]
    assert found.tags["fitted_on"] == "all ratings"
    assert found.description is not None
    assert uri in found.description
    assert mlflow.xgboost.load_model(uri).num_boosted_rounds() == 3
    assert registry.load(version).num_boosted_rounds() == 2
    loaded = registry.load_evaluated(version)
    assert loaded is not None
    assert loaded.num_boosted_rounds() == 3


def test_the_metrics_are_those_of_the_evaluated_model(registry: Registry) -> None:
    """MLflow would link them to both models of the run by itself."""
    version = register(registry)
    client = MlflowClient(registry.tracking_uri)
    found = client.get_model_version(MODEL_NAME, version)
    assert found.source is not None
    measured, served = (
        client.get_logged_model(uri.removeprefix("models:/"))
        for uri in (found.tags[EVALUATED], found.source)
    )
    assert (measured.name, served.name) == ("evaluated", "model")
    named = {metric.key: metric.value for metric in measured.metrics or []}
    assert named.items() >= RECORD.metrics.items()
    assert "training_ndcg_at_10" in named
    assert not served.metrics


def test_no_model_is_a_pickle(registry: Registry, tmp_path: Path) -> None:
    register(registry)
    assert len(list(tmp_path.rglob("model.json"))) == 2
    assert not [*tmp_path.rglob("*.pkl"), *tmp_path.rglob("*.pickle")]


def test_a_version_of_another_tool_names_no_evaluated_model(
    registry: Registry,
) -> None:
    version = register(registry)
    client = MlflowClient(registry.tracking_uri)
    client.delete_model_version_tag(MODEL_NAME, version, EVALUATED)
    assert registry.load_evaluated(version) is None
    assert registry.load(version).num_boosted_rounds() == 2
    with pytest.raises(BatchError, match="evaluated model of version 7 of Mov"):
        registry.load_evaluated("7")


def test_an_evaluated_model_that_is_gone(registry: Registry) -> None:
    version = register(registry)
    client = MlflowClient(registry.tracking_uri)
    client.set_model_version_tag(MODEL_NAME, version, EVALUATED, "models:/m-gone")
    with pytest.raises(BatchError, match="load the evaluated model of version 1"):
        registry.load_evaluated(version)


def test_a_page_is_kept_in_the_run_of_its_version(
    registry: Registry, tmp_path: Path
) -> None:
    version = register(registry)
    registry.log_page(version, "evaluations/abc.html", "<p>é</p>")
    registry.log_page(version, "evaluations/abc.html", "<p>ü</p>")
    [path] = tmp_path.rglob("abc.html")
    assert path.read_text(encoding="utf-8") == "<p>ü</p>"
    with pytest.raises(BatchError, match="could not log x.html with version 7"):
        registry.log_page("7", "x.html", "")


def test_the_metrics_of_a_version(registry: Registry) -> None:
    record = replace(RECORD, tags={"protocol": "by time"})
    version = registry.register(trained(), trained(), VALUES, record)
    protocol, metrics = registry.metrics(version)
    assert protocol == "by time"
    assert metrics.items() >= RECORD.metrics.items()
    with pytest.raises(BatchError, match="read the metrics of version 7"):
        registry.metrics("7")


def test_prod_follows_other_tools(registry: Registry) -> None:
    register(registry)
    register(registry)
    client = MlflowClient(registry.tracking_uri)
    client.set_registered_model_alias(MODEL_NAME, "prod", "2")
    assert registry.prod_version() == "2"
    client.delete_registered_model_alias(MODEL_NAME, "prod")
    assert registry.prod_version() is None


def test_the_alias_is_read_without_mlflow(registry: Registry) -> None:
    assert alias.read(registry.tracking_uri) is None
    register(registry)
    assert alias.read(registry.tracking_uri) is None
    registry.promote("1")
    assert alias.read(registry.tracking_uri) == registry.prod_version() == "1"


@pytest.mark.parametrize("name", ["not there", "no database"])
def test_an_unreadable_alias_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "no database").write_text("nothing of the kind")
    assert alias.read(f"sqlite:///{tmp_path}/{name}") is None
    assert not (tmp_path / "not there").exists()
    assert alias.read("http://127.0.0.1:1") is None


def test_a_version_that_is_not_there_cannot_be_promoted(registry: Registry) -> None:
    with pytest.raises(BatchError, match="no version 7, only: none yet"):
        registry.promote("7")
    register(registry)
    with pytest.raises(BatchError, match="no version 7, only: 1; train one"):
        registry.promote("7")


def test_a_version_whose_artifact_is_gone(registry: Registry, tmp_path: Path) -> None:
    version = register(registry)
    for path in tmp_path.rglob("model.json"):
        path.unlink()
    with pytest.raises(BatchError, match="could not load version 1 of MovieLensXGB"):
        registry.load(version)


def test_a_model_that_is_no_booster_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    classifier = xgboost.XGBClassifier(n_estimators=1)
    classifier.fit(VALUES.to_pandas(), [0, 1, 0, 1])
    location = (tmp_path / "artifacts").as_uri()
    experiment = mlflow.create_experiment("another", location)
    with mlflow.start_run(experiment_id=experiment):
        mlflow.xgboost.log_model(
            classifier, name="model", registered_model_name=MODEL_NAME
        )
    with pytest.raises(BatchError, match="is a XGBClassifier, expected a native"):
        registry.load("1")


@pytest.mark.slow
def test_a_server_works_as_a_local_store_does(tmp_path: Path) -> None:
    """A server checks more, such as the source of a version."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path}/ml.db"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until(lambda: answers(port), seconds=60)
        registry = Registry(f"http://127.0.0.1:{port}")
        assert registry.prod_version() is None
        version = register(registry)
        registry.promote(version)
        assert registry.prod_version() == version
        assert registry.load(version).feature_names == ["first", "second"]
        measured = registry.load_evaluated(version)
        assert measured is not None
        assert measured.feature_names == ["first", "second"]
        registry.log_page(version, "evaluation.html", "<p>")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def test_a_server_that_is_down_is_reported_at_once() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(
        BatchError,
        match=f"alias prod in MLflow at {uri}: cannot reach .*refused.*server up",
    ):
        Registry(uri).prod_version()
