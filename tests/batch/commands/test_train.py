"""`train` and `evaluate` in a real store and a small world."""

import json
import logging
import re
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xgboost
from mlflow import MlflowClient

import batch.model.train
from batch import cli, warehouse
from batch.commands.evaluate import evaluate
from batch.commands.stopwatch import Stopwatch
from batch.commands.train import sample_windows, train
from batch.errors import BatchError
from batch.features import candidates, tables
from batch.features.candidates import Pairs
from batch.features.columns import UNORDERED
from batch.ingest import load, release
from batch.model import parameters
from batch.model.registry import EVALUATED, Record, Registry
from batch.model.train import to_matrix
from batch.settings import MODEL_NAME, Settings
from tests.movielens import write_first_80_percent, write_world


@pytest.fixture
def settings(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Give a clone's folder, with a world and a store without versions."""
    monkeypatch.chdir(tmp_path)
    write_world(tmp_path / "world")
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, "mlruns/mlflow.db")
    # the parameters are the same for all, and few trees are enough to decide by
    few = partial(batch.model.train.train, parameters={"nthread": 1}, n_rounds=10)
    monkeypatch.setattr(batch.model.train, "train", few)
    # MLflow keeps a store open by its address, which must be this test's own
    store = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    return Settings.read({"MOVIELENS_RAW": "world", "MLFLOW_TRACKING_URI": store})


@pytest.fixture
def registry(settings: Settings) -> Registry:
    """Open its store."""
    return Registry(settings.tracking_uri)


def register(registry: Registry, booster: xgboost.Booster, values: pa.Table) -> str:
    """Register a version and let `prod` name it."""
    record = Record({}, {}, {}, {}, {})
    version = registry.register(booster, booster, values.slice(0, 5), record)
    registry.promote(version)
    return version


def foreseeing(registry: Registry) -> str:
    """Let `prod` name a model that has learned the hold-out by heart."""
    raw = release.find(Path("world"), Path("unpacked"))
    with warehouse.connect(Path("spill")) as connection:
        load.read(connection, raw)
        tables.build(connection, n_cuts=1)
        pairs = candidates.pairs(connection, warehouse.user_ids(connection))
    parameters = {"objective": "rank:ndcg", "nthread": 1, "max_depth": 8}
    booster = xgboost.train(parameters, to_matrix(pairs.in_order()), 30)
    return register(registry, booster, pairs.values)


def blind(registry: Registry, feature: str = "user_n_ratings") -> str:
    """Let `prod` name a model to which all of a user's items are alike."""
    values = pa.table({feature: pa.array([0.0, 1.0], pa.float32())})
    booster = xgboost.train({}, xgboost.QuantileDMatrix(values, [0, 1]), 1)
    return register(registry, booster, values)


def test_the_first_version_is_promoted_and_compared_with_nothing(
    settings: Settings, registry: Registry
) -> None:
    result = train(settings, promote=False)
    assert (result["promoted"], result["prod_version"]) == (True, "1")
    assert result["measured"] == "evaluated"
    assert "difference" not in result
    # what serves is another model than what was measured, with the same parameters
    served, evaluated = registry.load("1"), registry.load_evaluated("1")
    assert evaluated is not None
    assert served.save_raw() != evaluated.save_raw()
    assert served.num_boosted_rounds() == evaluated.num_boosted_rounds()
    assert served.feature_names == evaluated.feature_names


@pytest.mark.slow
def test_a_version_worse_by_more_than_chance_is_not_promoted(
    settings: Settings,
    registry: Registry,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is registered, and the numbers are said. One that may be as good is."""
    prod = foreseeing(registry)
    with monkeypatch.context() as patch:
        patch.setattr(batch.model.train, "N_STAGES", 1)
        still = partial(batch.model.train.train, parameters={"nthread": 1, "eta": 0})
        patch.setattr(batch.model.train, "train", still)
        with caplog.at_level(logging.INFO, "batch"):
            result = train(settings, promote=True)
    difference = result["difference"]
    assert isinstance(difference, float)
    assert difference < 0
    assert (result["promoted"], result["prod_version"]) == (False, prod)
    assert (result["version"], registry.prod_version()) == ("2", prod)
    assert f"of prod (version 1) 1.0000: {difference:+.4f} (95 %" in caplog.text
    [warned] = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert "version 2 is worse by more than chance, NDCG@10 0." in warned
    assert warned.endswith("the same: python -m batch promote --version 2")
    registry.promote(str(train(settings, promote=False)["version"]))
    result = train(settings, promote=True)
    assert (result["difference"], result["difference_interval"]) == (0, [0, 0])
    assert (result["promoted"], registry.prod_version()) == (True, "4")


def test_a_better_version_is_promoted_when_asked_for(
    settings: Settings, registry: Registry
) -> None:
    """Without `--promote` the same is reported, and prod stays."""
    prod = blind(registry)
    reported = train(settings, promote=False)
    assert (reported["promoted"], registry.prod_version()) == (False, prod)
    said = f"prod stays version {prod}; 2 is not worse by more than chance, NDCG@10 "
    assert str(reported["decision"]).startswith(said)
    decided = train(settings, promote=True)
    assert str(decided["decision"]).startswith("version 3 is prod: it is not worse by")
    assert str(decided["decision"]).endswith(f"batch promote --version {prod}")
    assert decided["difference"] == reported["difference"]
    assert isinstance(decided["difference"], float)
    assert decided["difference"] > 0
    assert (decided["promoted"], registry.prod_version()) == (True, "3")
    [page] = Path("mlruns").rglob(f"{run_of(registry, '3')}/artifacts/evaluation.html")
    assert "prod (version 1)" in page.read_text(encoding="utf-8")


def run_of(registry: Registry, version: str) -> str:
    """Name a version's run."""
    client = MlflowClient(registry.tracking_uri)
    return str(client.get_model_version(MODEL_NAME, version).run_id)


def test_a_run_has_what_was_set_and_why(
    settings: Settings, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """It begins with the training, and the log links to it."""
    chosen, began = parameters.read(["max_depth=2", "n_rounds=20"]), time.time()
    with caplog.at_level(logging.INFO, "batch"):
        result = train(settings, promote=True, chosen=chosen, note="shallower")
    seconds = time.time() - began
    assert result["decision"] == "version 1 is prod, since there was none"
    client = MlflowClient(registry.tracking_uri)
    run = client.get_run(run_of(registry, "1"))
    assert run.info.status == "FINISHED"
    assert re.fullmatch(r"ml-100k \d{4}-\d\d-\d\d \d\d:\d\d", run.info.run_name)
    assert (run.info.end_time - run.info.start_time) / 1000 > seconds / 2
    assert (run.data.params["max_depth"], run.data.params["n_rounds"]) == ("2", "20")
    assert run.data.params["eta"] == "0.1"
    assert run.data.tags["mlflow.note.content"] == "shallower"
    assert run.inputs is not None
    [read] = run.inputs.dataset_inputs
    assert (read.dataset.name, json.loads(read.dataset.source)["uri"]) == (
        "ml-100k",
        "world",
    )
    assert run.data.tags["raw_fingerprint"].startswith(read.dataset.digest)
    page = f"/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert f"{page}?workflowType=machine_learning" in caplog.text
    served = registry.load("1")
    assert served.num_boosted_rounds() == 20
    # one that fails is seen to have failed
    with pytest.raises(xgboost.core.XGBoostError):
        train(settings, promote=False, chosen={"parameters": {"max_depth": -1}})
    runs = client.search_runs([run.info.experiment_id])
    assert [one.info.status for one in runs] == ["FAILED", "FINISHED"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("depth=6", "names and their defaults are .*max_depth=4, .*n_rounds=150"),
        ("max_depth", "expected NAME=VALUE"),
        ("objective=rank:map", "sets no parameter"),
        ("max_depth=-1", "xgboost refuses max_depth=-1: value -1 for"),
        ("max_depth=3.5", "expect int but value='3.5'"),
        ("eta=fast", "xgboost refuses max_depth=2 eta=fast: "),
        ("eta=nan", "eta=nan: expected a value such as 0.1"),
        ("tree_method=guess", "valid values are: "),
        (
            "ndcg_exp_gain=2",
            "Invalid Parameter format for ndcg_exp_gain expect boolean",
        ),
        ("n_rounds=0", "expected a value such as 150"),
        ("seed=-1", "expected a value such as 42"),
    ],
)
def test_what_can_be_no_parameter_is_wrong_usage(
    text: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "--set", "max_depth=2", "--set", text]) == 2
    assert re.search(reason, " ".join(capsys.readouterr().err.split()))


@pytest.mark.slow
def test_an_equal_version_is_promoted_by_a_difference_of_nothing(
    settings: Settings,
) -> None:
    """Same files, same model; it is prod's evaluated one that it is compared with."""
    train(settings, promote=False)
    result = train(settings, promote=True)
    assert result["difference"] == result["difference_liked"] == 0.0
    assert result["difference_interval"] == [0.0, 0.0]
    assert result["prod"] == result["model"]
    assert (result["promoted"], result["prod_version"]) == (True, "2")


def test_a_prod_that_names_no_evaluated_model_is_measured_by_itself(
    settings: Settings, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """And that it may look too good is said."""
    version = foreseeing(registry)
    client = MlflowClient(registry.tracking_uri)
    client.delete_model_version_tag(MODEL_NAME, version, EVALUATED)
    assert evaluate(settings)["measured"] == "served"
    assert "may have learned from the hold-out" in caplog.text
    assert "has no evaluated one" in Path("data/processed/evaluation.html").read_text()
    result = train(settings, promote=False)
    assert (result["measured"], result["prod_measured"]) == ("evaluated", "served")


def test_a_prod_that_cannot_be_measured_stops_a_promotion_alone(
    settings: Settings, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    prod = blind(registry, "moon_phase")
    result = train(settings, promote=False)
    assert (result["promoted"], result["prod_version"]) == (False, prod)
    assert "difference" not in result
    assert "gives no moon_phase" in caplog.text
    with pytest.raises(BatchError, match=r"3 is registered, but prod \(version 1\)"):
        train(settings, promote=True)
    assert registry.prod_version() == prod


def test_a_prod_of_other_features_is_not_measured_with_these(
    settings: Settings, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """As after an edit of SQL that gives each feature another value."""
    train(settings, promote=False)
    client = MlflowClient(registry.tracking_uri)
    client.set_tag(run_of(registry, "1"), "features_fingerprint", "other")
    assert train(settings, promote=False)["promoted"] is False
    said = "prod (version 1) cannot be measured: it was trained with features of other"
    assert said in caplog.text
    with pytest.raises(BatchError, match=r"same: python -m batch promote --version 3"):
        train(settings, promote=True)
    assert registry.prod_version() == "1"
    evaluate(settings)
    assert "these are not the metrics of its training" in caplog.text


def test_the_served_model_learns_what_a_later_hold_out_measures(
    settings: Settings, tmp_path: Path
) -> None:
    """On the first 80 % its pairs are, to the last bit, what all ratings evaluate."""
    write_first_80_percent(Path("world"), Path("first80"))
    served = windows(Path("first80"), tmp_path, earlier=0)
    evaluated = windows(settings.raw, tmp_path, earlier=1)
    later = windows(settings.raw, tmp_path, earlier=0)
    assert len(served) == len(evaluated) == len(later)
    for one, other, another in zip(served, evaluated, later, strict=True):
        assert one.as_table().equals(other.as_table())
        assert not one.as_table().equals(another.as_table())
        assert one.strong is not None
        assert other.strong is not None
        assert np.array_equal(one.strong.scores, other.strong.scores)
        assert np.array_equal(one.strong.n_history, other.strong.n_history)


def windows(raw: Path, scratch: Path, earlier: int) -> list[Pairs]:
    """Sample the training windows of raw files."""
    with warehouse.connect(scratch / "spill") as connection:
        load.read(connection, release.find(raw, scratch / "unpacked"))
        return sample_windows(connection, Stopwatch(), earlier=earlier)


def test_an_evaluation_is_written_and_kept_beside_that_of_the_training(
    settings: Settings, registry: Registry
) -> None:
    """The page of a training run tells of its raw files, whatever comes later."""
    train(settings, promote=False)
    [logged] = Path("mlruns").rglob("evaluation.html")
    before = logged.read_text(encoding="utf-8")
    result = evaluate(settings)
    assert result["report"] == "data/processed/evaluation.html"
    page = Path("data/processed/evaluation.html").read_text(encoding="utf-8")
    assert "MovieLensXGB version 1 on ml-100k" in page
    [kept] = Path("mlruns").rglob("evaluations/*.html")
    assert kept.read_text(encoding="utf-8") == page
    assert logged.read_text(encoding="utf-8") == before


def test_a_page_that_cannot_be_kept_is_no_failure(
    settings: Settings,
    registry: Registry,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as in a store that may only be read: the page is written all the same."""
    blind(registry)

    def refused(*_: object) -> None:
        raise BatchError("could not log it in MLflow: read-only")

    monkeypatch.setattr(Registry, "log_page", refused)
    result = evaluate(settings)
    assert Path(str(result["report"])).exists()
    assert "read-only" in caplog.text


def test_without_an_order_nothing_is_learned_from_one(
    settings: Settings, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """All ratings have one time: the model takes no feature of order, and says so."""
    path = settings.raw / "u.data"
    rows = [line.split("\t")[:3] for line in path.read_text().splitlines()]
    path.write_text("".join("\t".join([*row, "880000000\n"]) for row in rows))
    with caplog.at_level(logging.INFO, "batch"):
        version = str(train(settings, promote=False)["version"])
    assert tuple(registry.load(version).feature_names or ()) == UNORDERED
    assert "read: users              40" in caplog.text
    assert "the split into history and hold-out is by chance" in caplog.text
    [page] = Path("mlruns").rglob("evaluation.html")
    assert "there is no order to learn from" in page.read_text(encoding="utf-8")
    assert evaluate(settings)["model_version"] == version


def test_users_without_a_hold_out_measure_nothing(
    settings: Settings, registry: Registry
) -> None:
    """A shop's customers bought two things each: enough to learn from."""
    path = settings.raw / "u.data"
    kept: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        kept.setdefault(line.split("\t")[0], []).append(line)
    lines = [line for mine in kept.values() for line in mine[:2]]
    path.write_text("\n".join(lines) + "\n")
    result = train(settings, promote=False)
    assert (result["n_users"], result["prod_version"]) == (0, "1")
