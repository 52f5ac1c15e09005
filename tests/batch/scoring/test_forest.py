from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.scoring import compiled, forest, kernels
from batch.scoring.forest import UnsupportedError
from batch.scoring.kernels import Forest, Scratch

Floats = npt.NDArray[np.float32]

NAMES = ("a", "b", "c", "d")


def features_of(draw: np.random.Generator, n: int) -> Floats:
    """Draw features with missing values, ties, and values that are thresholds."""
    values = draw.normal(size=(n, len(NAMES))).astype(np.float32)
    values[:, 1] = draw.integers(0, 4, n)
    values[:, 2] = np.round(values[:, 2], 1)
    values[draw.random(values.shape) < 0.2] = np.nan
    return values


def trained(
    seed: int, objective: str, depth: int, n_trees: int, n: int = 400, **more: Any
) -> xgboost.Booster:
    """Train a model on noise and a sum of the features."""
    draw = np.random.default_rng(seed)
    values = features_of(draw, n)
    wish = np.nan_to_num(values).sum(axis=1) + draw.normal(size=n)
    label = wish if objective == "reg:squarederror" else wish > 0
    matrix = xgboost.DMatrix(values, label=label, feature_names=list(NAMES))
    if objective.startswith("rank"):
        matrix.set_info(qid=np.arange(n) // 40)
    parameters = {
        "objective": objective,
        "max_depth": depth,
        "min_child_weight": 0,
        "nthread": 1,
        "seed": seed,
    }
    return xgboost.train(parameters | more, matrix, n_trees)


def scratch_for(trees: Forest, values: Floats) -> Scratch:
    """Put the codes of one user's items into the buffers of a thread."""
    n = len(values)
    scratch = compiled.new_scratch(trees, n)
    for row, column in enumerate(values.T):
        scratch.codes[row] = forest.encoded_column(trees, row, column)
    return scratch


def ranked(
    trees: Forest, values: Floats, seen: npt.NDArray[np.int32], top_n: int
) -> list[tuple[int, float]]:
    """Rank items in machine code: (place, score), best first."""
    top_n = min(top_n, len(values))
    places, scores = np.zeros(top_n, np.int32), np.zeros(top_n, np.float32)
    ineligible, scratch = seen[:1], scratch_for(trees, values)  # one may be both
    films = np.arange(len(values), dtype=np.int32)
    margin = np.full(len(values), trees.base)
    n = kernels.rank_items(
        trees, margin, ineligible, films, seen[1:], scratch, places, scores
    )
    return list(zip(places[:n].tolist(), scores[:n].tolist(), strict=True))


def plainly_ranked(
    booster: xgboost.Booster, values: Floats, seen: npt.NDArray[np.int32], top_n: int
) -> list[tuple[int, float]]:
    """Rank items with xgboost, the score first and then the place."""
    unseen = np.setdiff1d(np.arange(len(values), dtype=np.int32), seen)
    predicted = np.asarray(booster.inplace_predict(values[unseen]), np.float32)
    order = np.lexsort((unseen, -predicted))[:top_n]
    return list(zip(unseen[order].tolist(), predicted[order].tolist(), strict=True))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    objective=st.sampled_from(["rank:ndcg", "binary:logistic", "reg:squarederror"]),
    depth=st.integers(1, 8),
    n_trees=st.sampled_from([1, 2, 19, 20, 41, 120]),
    n_items=st.sampled_from([1, 5, 50, 400, 3000]),
    top_n=st.sampled_from([1, 10, 100]),
    eta=st.sampled_from([0.01, 0.3, 1.0]),
)
def test_lists_are_those_of_xgboost(
    seed: int,
    objective: str,
    depth: int,
    n_trees: int,
    n_items: int,
    top_n: int,
    eta: float,
) -> None:
    """To the last bit, with missing values, ties and seen items."""
    booster = trained(seed, objective, depth, n_trees, eta=eta)
    trees = forest.lay_out(booster, NAMES)
    draw = np.random.default_rng(seed + 1)
    values = features_of(draw, n_items)
    # equal items tie
    values[n_items // 2 :] = values[: n_items - n_items // 2]
    n_seen = min(n_items, int(draw.integers(0, 40)))
    seen = draw.permutation(n_items)[:n_seen].astype(np.int32)
    own = ranked(trees, values, seen, top_n)
    assert own == plainly_ranked(booster, values, seen, top_n)


@pytest.mark.slow
def test_hundreds_of_trees_and_thousands_of_thresholds() -> None:
    """Codes take 16 bits where a feature is compared with more than 254 thresholds."""
    booster = trained(1, "rank:ndcg", 6, 600, n=4000, max_bin=4096)
    trees = forest.lay_out(booster, NAMES)
    assert trees.cuts.dtype == np.uint16
    values = features_of(np.random.default_rng(2), 2000)
    nothing = np.zeros(0, np.int32)
    own = ranked(trees, values, nothing, 100)
    assert own == plainly_ranked(booster, values, nothing, 100)


def test_where_the_missing_go_is_kept() -> None:
    """A tree that splits on nothing but whether a value is there."""
    for is_good in (0, 1):
        values = np.array([[np.nan], [1.0]] * 20, np.float32)
        label = [is_good, 1 - is_good] * 20
        matrix = xgboost.DMatrix(values, label=label, feature_names=["a"])
        booster = xgboost.train({"max_depth": 1, "min_child_weight": 0}, matrix, 1)
        trees = forest.lay_out(booster, ["a"])
        own = ranked(trees, values[:2], np.zeros(0, np.int32), 2)
        assert [place for place, _ in own] == ([1, 0] if not is_good else [0, 1])


def test_features_are_found_by_name() -> None:
    booster = trained(3, "rank:ndcg", 4, 30)
    shuffled = ("d", "x", "b", "a", "y", "c")
    trees = forest.lay_out(booster, shuffled)
    values = features_of(np.random.default_rng(4), 300)
    wide = np.zeros((300, 6), np.float32)
    wide[:, [shuffled.index(name) for name in NAMES]] = values
    nothing = np.zeros(0, np.int32)
    own = ranked(trees, wide, nothing, 10)
    assert own == plainly_ranked(booster, values, nothing, 10)


def test_only_the_trees_up_to_the_best_iteration_count() -> None:
    booster = trained(5, "rank:ndcg", 3, 30)
    booster.set_attr(best_iteration="9")
    trees = forest.lay_out(booster, NAMES)
    assert len(trees.remaining) - 1 == 10


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"booster": "dart", "rate_drop": 0.5}, "dart"),
        ({"booster": "gblinear"}, "gblinear"),
        ({"objective": "reg:gamma"}, "reg:gamma"),
        ({"objective": "multi:softprob", "num_class": 2}, "multi:softprob"),
        ({"max_depth": 20, "min_child_weight": 0, "lambda": 0}, "more than 8"),
    ],
)
def test_other_boosters_are_refused(parameters: dict[str, Any], reason: str) -> None:
    draw = np.random.default_rng(6)
    values = np.nan_to_num(features_of(draw, 100))
    label = draw.integers(0, 2, 100) + (parameters.get("objective") == "reg:gamma")
    matrix = xgboost.DMatrix(values, label=label, feature_names=list(NAMES))
    booster = xgboost.train(parameters, matrix, 2)
    with pytest.raises(UnsupportedError, match=reason):
        forest.lay_out(booster, NAMES)


def test_unknown_features_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="it wants d"):
        forest.lay_out(trained(7, "rank:ndcg", 2, 2), ("a", "b", "c"))
