"""Boosters and `MLmodel` files, damaged and whole, without an MLflow store."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xgboost

from batch.features.base_scores import COLUMNS
from batch.model import model_file
from batch.model.model_file import UnfitError
from tests.batch.model.test_registry import VALUES, trained

RANDOM = bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8))
NESTED = "flavors: &l0 [x]\n" + "".join(
    f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 13)
)
"""YAML of a few hundred bytes for a list of a million million texts."""
LIKELY = "model_class: xgboost.core.Booster, data: "
TREE = ("learner", "gradient_booster", "model", "trees", 0)


def changed(*path: str | int, value: object) -> bytes:
    """Return a good booster's JSON with another value at a path."""
    model = json.loads(trained().save_raw("json"))
    node = model
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return json.dumps(model).encode()


def grown(**parameters: Any) -> xgboost.Booster:
    matrix = xgboost.DMatrix(VALUES, np.array([0, 1, 2, 1]))
    return xgboost.train({"nthread": 1, **parameters}, matrix, 2)


@pytest.mark.parametrize(
    ("mlmodel", "expected"),
    [
        (RANDOM, "its MLmodel is damaged"),
        (b"[" * 60_000, "its MLmodel is damaged"),
        (b"flavors: {xgboost: !!python/name:os.system }", "its MLmodel is damaged"),
        (b"[1]", "describes no xgboost model"),
        (b"flavors: 1", "describes no xgboost model"),
        (b"flavors: {sklearn: {pickled_model: model.pkl}}", "describes no xgboost"),
        (b"flavors: {xgboost: {model_class: a.XGBClassifier, data: a}}", "is a XGBCl"),
        (
            f"{NESTED}flavors: {{xgboost: {{model_class: *l12, data: a}}}}".encode(),
            "expected a native xgboost Booster",
        ),
        *(
            (f"flavors: {{xgboost: {{{LIKELY}{name}}}}}".encode(), "outside its folder")
            for name in ("../../model.json", "/etc/passwd", "null", "''", "[a]")
        ),
    ],
)
def test_an_mlmodel_that_names_no_booster(mlmodel: bytes, expected: str) -> None:
    with pytest.raises(UnfitError, match=expected):
        model_file.booster_name(mlmodel)


def without_names() -> xgboost.Booster:
    values = VALUES.to_pandas().to_numpy()
    return xgboost.train({"nthread": 1}, xgboost.DMatrix(values, [0, 1, 0, 1]), 1)


def with_categories() -> xgboost.Booster:
    frame = VALUES.to_pandas().astype({"second": "int"}).astype({"second": "category"})
    matrix = xgboost.DMatrix(frame, [0, 1, 0, 1], enable_categorical=True)
    return xgboost.train({"nthread": 1}, matrix, 2)


def several_targets() -> xgboost.Booster:
    return grown(objective="reg:quantileerror", quantile_alpha=[0.1, 0.9])


def infinite() -> xgboost.Booster:
    content = changed("learner", "learner_model_param", "base_score", value="[1e39]")
    return model_file.load(content)


def with_margin(text: str) -> Callable[[], xgboost.Booster]:
    def make() -> xgboost.Booster:
        booster = trained()
        booster.set_attr(base_margin=text)
        return booster

    return make


INFINITE = json.dumps({name: [1.0, float("inf")] for name in COLUMNS})
ONE_KIND = json.dumps({name: [1.0] for name in COLUMNS})


@pytest.mark.parametrize(
    ("booster", "expected"),
    [
        *((with_margin(text), "holds no weights") for text in ("{", "[1]", '{"a": 1}')),
        (with_margin(INFINITE), "other than finite weights"),
        (with_margin(ONE_KIND), "other than finite weights"),
        (without_names, "its features have no names"),
        (with_categories, "second is a category, not a number"),
        (several_targets, "it gives several scores a pair"),
        (infinite, "its scores are not finite"),
    ],
)
def test_a_booster_that_cannot_score_pairs(
    booster: Callable[[], xgboost.Booster], expected: str
) -> None:
    with pytest.raises(UnfitError, match=expected):
        model_file.check(booster())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (RANDOM, "xgboost refuses it: "),
        (
            changed(*TREE, "left_children", 0, value=2**30),
            r"on loading it \(signal 11",
        ),
        (bytes(grown(booster="gblinear").save_raw("json")), "not supported"),
    ],
)
def test_a_file_that_does_harm_does_it_to_a_child(
    content: bytes, expected: str
) -> None:
    with pytest.raises(UnfitError, match=expected):
        model_file.try_out(content)


def test_a_file_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "TRIAL_SECONDS", 0.01)
    with pytest.raises(UnfitError, match="xgboost needs over"):
        model_file.try_out(b"{}")
