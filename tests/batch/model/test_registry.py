"""Models in a real MLflow store."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
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
from batch.model.alias import CHECKSUM
from batch.model.registry import EVALUATED, Record, Registry
from batch.settings import MODEL_NAME
from tests.batch.ingest.file_server import Reply, serving
from tests.conftest import answers, free_port, wait_until

VALUES = pa.table(
    {
        "first": pa.array([0.0, 1.0, None, 3.0], pa.float32()),
        "second": pa.array([1.0, 1.0, 2.0, 2.0], pa.float32()),
    }
)
CURVE = "learning_curve/training_ndcg_at_10_by_trees"
RECORD = Record(
    parameters={"eta": 0.1, "n_rounds": 20, "features": "first,second"},
    metrics={"ndcg_at_10": 0.25, "popularity_ndcg_at_10": 0.125},
    tags={"release": "ml-1m", "sql_fingerprint": "abc", "protocol": "by time"},
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


def test_two_names_share_a_store(registry: Registry) -> None:
    """Each has its own versions, `prod`, experiment and pages."""
    other = Registry(registry.tracking_uri, "Shop 2.0")
    assert other.prod() is None
    version = register(other)
    other.promote(version)
    other.log_page(version, "evaluation.html", "<p>a user</p>")
    assert alias.read(other.tracking_uri, "Shop 2.0") == other.prod()
    assert registry.edit_pages(str.upper) == 0
    assert other.edit_pages(str.upper) == 1
    assert other.edit_pages(str.upper) == 0
    other.load(version)


def test_registering_never_moves_prod(registry: Registry) -> None:
    """And what is read without MLflow is what MLflow reads."""

    def prod() -> str | None:
        version = registry.prod_version()
        assert alias.read(registry.tracking_uri) == registry.prod()
        return version

    assert prod() is None
    with pytest.raises(BatchError, match="no version 7, only: none yet"):
        registry.promote("7")
    register(registry)
    assert prod() is None
    registry.promote("1")
    assert register(registry, trained(1)) == "2"
    assert prod() == "1"
    registry.promote("2")
    assert prod() == "2"
    with pytest.raises(BatchError, match="no version 7, only: 1, 2; train one"):
        registry.promote("7")
    # other tools move it too
    client = MlflowClient(registry.tracking_uri)
    client.set_registered_model_alias(MODEL_NAME, "prod", "1")
    assert prod() == "1"
    assert prod() == "1"
    # a version of another tool has no checksum, and is known by its run
    ours = registry.prod()
    client.delete_model_version_tag(MODEL_NAME, "1", CHECKSUM)
    assert prod() == "1"
    theirs = registry.prod()
    assert ours is not None
    assert theirs is not None
    assert ours.tags == theirs.tags == {"release": "ml-1m"}
    assert str(client.get_model_version(MODEL_NAME, "1").run_id) in theirs.identity
    assert ours.identity not in theirs.identity
    client.delete_registered_model_alias(MODEL_NAME, "prod")
    assert prod() is None


def test_a_run_logs_all_that_the_contract_names(registry: Registry) -> None:
    version = register(registry)
    protocol, metrics = registry.metrics(version)
    assert protocol == "by time"
    assert metrics.items() >= RECORD.metrics.items()
    client = MlflowClient(registry.tracking_uri)
    found = client.get_model_version(MODEL_NAME, version)
    assert found.run_id is not None
    run = client.get_run(found.run_id)
    assert run.data.params == {name: str(v) for name, v in RECORD.parameters.items()}
    assert run.data.tags.items() >= RECORD.tags.items()
    steps = client.get_metric_history(found.run_id, CURVE)
    assert [(step.step, step.value) for step in steps] == [(10, 0.5), (20, 0.75)]
    assert "metrics.png" in [file.path for file in client.list_artifacts(found.run_id)]
    info = mlflow.models.get_model_info(f"models:/{MODEL_NAME}/{version}")
    assert info.signature.inputs.input_names() == ["first", "second"]
    assert info.saved_input_example_info is not None


def test_both_models_of_a_version(registry: Registry, tmp_path: Path) -> None:
    """Both come back; the metrics are linked to the latter; neither is a pickle."""
    served, evaluated = trained(n_trees=2), trained(n_trees=3)
    version = registry.register(served, evaluated, VALUES, RECORD)
    assert version == "1"
    client = MlflowClient(registry.tracking_uri)
    found = client.get_model_version(MODEL_NAME, version)
    uri = found.tags[EVALUATED]
    assert found.tags["fitted_on"] == "all ratings"
    assert found.description is not None
    assert uri in found.description
    assert mlflow.xgboost.load_model(uri).num_boosted_rounds() == 3
    for booster, loaded in (
        (served, registry.load(version)),
        (evaluated, registry.load_evaluated(version)),
    ):
        assert loaded is not None
        assert loaded.save_raw() == booster.save_raw()
    assert found.source is not None
    measured, refitted = (
        client.get_logged_model(uri.removeprefix("models:/"))
        for uri in (uri, found.source)
    )
    assert (measured.name, refitted.name) == ("evaluated", "model")
    named = {metric.key: metric.value for metric in measured.metrics or []}
    assert named.items() >= RECORD.metrics.items()
    assert CURVE in named
    assert not refitted.metrics
    assert len(list(tmp_path.rglob("model.json"))) == 2
    assert not [*tmp_path.rglob("*.pkl"), *tmp_path.rglob("*.pickle")]


def test_a_version_without_its_evaluated_model(registry: Registry) -> None:
    version = register(registry)
    client = MlflowClient(registry.tracking_uri)
    client.set_model_version_tag(MODEL_NAME, version, EVALUATED, "models:/m-gone")
    with pytest.raises(BatchError, match="load the evaluated model of version 1"):
        registry.load_evaluated(version)
    client.delete_model_version_tag(MODEL_NAME, version, EVALUATED)
    assert registry.load_evaluated(version) is None
    assert registry.load(version).num_boosted_rounds() == 2


def test_a_page_is_kept_in_the_run(registry: Registry, tmp_path: Path) -> None:
    version = register(registry)
    registry.log_page(version, "evaluations/abc.html", "<p>é</p>")
    registry.log_page(version, "evaluations/abc.html", "<p>ü</p>")
    [path] = tmp_path.rglob("abc.html")
    assert path.read_text(encoding="utf-8") == "<p>ü</p>"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda one: one.load_evaluated("7"), "load the evaluated model of version 7"),
        (lambda one: one.log_page("7", "a.html", ""), "log a.html with version 7"),
        (lambda one: one.metrics("7"), "read the metrics of version 7"),
    ],
)
def test_a_version_that_does_not_exist(
    registry: Registry, call: Callable[[Registry], object], expected: str
) -> None:
    with pytest.raises(BatchError, match=f"could not {expected} of Movie.*not found"):
        call(registry)


def test_a_store_that_only_mlflow_can_read(tmp_path: Path) -> None:
    """One that is not there yet has no prod, which needs no MLflow."""
    assert alias.read(f"sqlite:///{tmp_path}/not there") is None
    assert not (tmp_path / "not there").exists()
    (tmp_path / "no database").write_text("nothing of the kind")
    for uri in (f"sqlite:///{tmp_path}/no database", "http://127.0.0.1:1"):
        with pytest.raises(alias.UnreadableError):
            alias.read(uri)


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


@pytest.mark.parametrize("version", ["1.30.1", "2.22.0", "2.9.0.dev0"])
def test_a_server_of_an_older_version_is_named(version: str) -> None:
    with serving(Reply(version.encode())) as web:
        uri = f"http://127.0.0.1:{web.port}"
        expected = f"MLflow server at {uri} is version {version}, expected 3 or newer"
        with pytest.raises(BatchError, match=expected):
            Registry(uri)
        assert web.requests == ["/version"]


@pytest.mark.parametrize(
    "reply", [Reply(b"3.1.0"), Reply(b"2 good"), Reply(b"2.22.0", 404), Reply()]
)
def test_a_proxy_may_answer_something_else(reply: Reply) -> None:
    with serving(reply) as web:
        Registry(f"http://127.0.0.1:{web.port}")


def test_a_server_that_is_down_is_reported_at_once() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    expected = f"open the store in MLflow at {uri}: no MLflow .*refused.*server up"
    with pytest.raises(BatchError, match=expected):
        Registry(uri).prod_version()
