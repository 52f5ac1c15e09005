"""Whether a version is promoted: by values in hand, and as `train` decides it."""

import logging
import shutil
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xgboost
from mlflow import MlflowClient

import batch.train
from batch import features, gate, release, warehouse
from batch.__main__ import Result, evaluate_model, train_model
from batch.alias import MODEL_NAME
from batch.config import Settings
from batch.errors import BatchError
from batch.evaluate import Evaluation, evaluate, read_held_out
from batch.ranking import Ranking
from batch.registry import EVALUATED, Record, Registry
from batch.train import to_matrix
from tests import worlds
from tests.test_end_to_end import write_world
from tests.worlds import Connection

N_USERS = 40


# --- two evaluations -----------------------------------------------------------------


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Give a checkerboard as of its hold-out."""
    with warehouse.connect(tmp_path) as connection:
        worlds.stage(connection, worlds.checkerboard(N_USERS))
        warehouse.build_moment(connection, n_cuts=1)
        yield connection


def hitting(connection: Connection, n_users: int) -> Evaluation:
    """Evaluate lists that begin with a hit for the first users, and have no other."""
    held_out = read_held_out(connection, range(1, N_USERS + 1))
    lists = [
        [next(iter(held_out[user]))] if user <= n_users else []
        for user in range(1, N_USERS + 1)
    ]
    return evaluate(
        connection,
        [
            Ranking(i + 1, np.array(items, np.int32), np.zeros(len(items), np.float32))
            for i, items in enumerate(lists)
        ],
    )


def test_a_model_is_no_better_than_itself_by_exactly_nothing(
    connection: Connection,
) -> None:
    one, other = hitting(connection, 7), hitting(connection, 7)
    found = gate.compare(one, other, "1", "evaluated")
    assert (found.difference, found.interval) == (0.0, (0.0, 0.0))
    assert (found.difference_liked, found.interval_liked) == (0.0, (0.0, 0.0))
    assert found.is_no_worse


def test_a_better_and_a_worse_model(connection: Connection) -> None:
    """Ten users of 40 make the difference: one way and the other, by as much."""
    better, worse = hitting(connection, 20), hitting(connection, 10)
    found = gate.compare(better, worse, "1", "evaluated")
    expected = better.model.ndcg_at_10 - worse.model.ndcg_at_10
    assert found.difference == pytest.approx(expected)
    assert 0 < found.interval[0] < found.difference < found.interval[1]
    assert found.is_no_worse
    back = gate.compare(worse, better, "1", "evaluated")
    assert back.difference == -found.difference
    assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]), 0.1)
    assert not back.is_no_worse


def test_a_little_is_enough(connection: Connection) -> None:
    """The mean decides, though the interval says that it may be luck."""
    better, worse = hitting(connection, 11), hitting(connection, 10)
    assert gate.compare(better, worse, "1", "evaluated").is_no_worse
    found = gate.compare(worse, better, "1", "evaluated")
    assert not found.is_no_worse
    assert found.interval[1] == 0


def test_a_comparison_as_json(connection: Connection) -> None:
    evaluation = hitting(connection, 7)
    told = gate.compare(evaluation, evaluation, "1", "served").as_dict()
    assert told == {
        "prod": evaluation.as_dict()["model"],
        "prod_measured": "served",
        "difference": 0.0,
        "difference_interval": [0.0, 0.0],
        "difference_liked": 0.0,
        "difference_liked_interval": [0.0, 0.0],
    }


# --- what train does -----------------------------------------------------------------


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
    few = partial(batch.train.train, parameters={"nthread": 1}, n_rounds=10)
    monkeypatch.setattr(batch.train, "train", few)
    # MLflow keeps a store open by its address, which must be this test's own
    store = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    return Settings.read({"MOVIELENS_RAW": "world", "MLFLOW_TRACKING_URI": store})


@pytest.fixture
def registry(settings: Settings) -> Registry:
    """Open its store."""
    return Registry(settings.tracking_uri)


def train(settings: Settings, *, promote: bool) -> Result:
    """Run `train`, or `train --promote`."""
    return train_model(Namespace(promote=promote), settings)


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
        warehouse.build_staging(connection, raw.layout, raw.parameters)
        warehouse.build_moment(connection, n_cuts=1)
        pairs = features.pairs(connection, warehouse.user_ids(connection))
    parameters = {"objective": "rank:ndcg", "nthread": 1, "max_depth": 8}
    booster = xgboost.train(parameters, to_matrix(pairs), 30)
    return register(registry, booster, pairs.values)


def blind(registry: Registry, feature: str = "user_n_ratings") -> str:
    """Let `prod` name a model to which all of a user's items are alike."""
    values = pa.table({feature: pa.array([0.0, 1.0], pa.float32())})
    booster = xgboost.train({}, xgboost.QuantileDMatrix(values, [0, 1]), 1)
    return register(registry, booster, values)


def test_the_first_version_is_promoted_and_compared_with_nothing(
    settings: Settings, registry: Registry
) -> None:
    told = train(settings, promote=False)
    assert (told["promoted"], told["prod_version"]) == (True, "1")
    assert told["measured"] == "evaluated"
    assert "difference" not in told
    # what serves is another model than what was measured, with the same parameters
    served, evaluated = registry.load("1"), registry.load_evaluated("1")
    assert evaluated is not None
    assert served.save_raw() != evaluated.save_raw()
    assert served.num_boosted_rounds() == evaluated.num_boosted_rounds()
    assert served.feature_names == evaluated.feature_names


def test_a_worse_version_is_not_promoted(
    settings: Settings, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """It is registered, and the numbers are said."""
    prod = foreseeing(registry)
    with caplog.at_level(logging.INFO, "batch"):
        told = train(settings, promote=True)
    difference = told["difference"]
    assert isinstance(difference, float)
    assert difference < 0
    assert (told["promoted"], told["prod_version"]) == (False, prod)
    assert (told["version"], registry.prod_version()) == ("2", prod)
    assert f"of prod (version 1) 1.0000: {difference:+.4f} (95 %" in caplog.text


def test_a_better_version_is_promoted_when_asked_for(
    settings: Settings, registry: Registry
) -> None:
    """Without `--promote` the same is reported, and prod stays."""
    prod = blind(registry)
    reported = train(settings, promote=False)
    assert (reported["promoted"], registry.prod_version()) == (False, prod)
    decided = train(settings, promote=True)
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


def test_an_equal_version_is_promoted_by_a_difference_of_nothing(
    settings: Settings,
) -> None:
    """Same files, same model; it is prod's evaluated one that it is compared with."""
    train(settings, promote=False)
    told = train(settings, promote=True)
    assert told["difference"] == told["difference_liked"] == 0.0
    assert told["difference_interval"] == [0.0, 0.0]
    assert told["prod"] == told["model"]
    assert (told["promoted"], told["prod_version"]) == (True, "2")


def test_a_prod_that_names_no_evaluated_model_is_measured_by_itself(
    settings: Settings, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """And that it may look too good is said."""
    version = foreseeing(registry)
    client = MlflowClient(registry.tracking_uri)
    client.delete_model_version_tag(MODEL_NAME, version, EVALUATED)
    assert evaluate_model(Namespace(), settings)["measured"] == "served"
    assert "may have learned from the hold-out" in caplog.text
    assert "for want of another" in Path("data/processed/evaluation.html").read_text()
    told = train(settings, promote=False)
    assert (told["measured"], told["prod_measured"]) == ("evaluated", "served")


def test_a_prod_that_cannot_be_measured_stops_a_promotion_alone(
    settings: Settings, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    prod = blind(registry, "moon_phase")
    told = train(settings, promote=False)
    assert (told["promoted"], told["prod_version"]) == (False, prod)
    assert "difference" not in told
    assert "gives no moon_phase" in caplog.text
    with pytest.raises(BatchError, match=r"3 is registered, but prod \(version 1\)"):
        train(settings, promote=True)
    assert registry.prod_version() == prod
