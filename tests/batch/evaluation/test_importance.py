from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xgboost

from batch import warehouse
from batch.evaluation import importance
from batch.evaluation.importance import shap_values
from batch.features import candidates, tables
from batch.model.train import to_matrix
from tests import worlds
from tests.worlds import Connection

NAMES = ("item_n_ratings", "similarity", "next_share")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Give a checkerboard as of its hold-out."""
    with warehouse.connect(tmp_path) as connection:
        worlds.stage(connection, worlds.checkerboard())
        tables.build(connection, n_cuts=1)
        yield connection


@pytest.fixture
def booster(connection: Connection) -> xgboost.Booster:
    """Train a booster that sees the board: who is like a user has its colour."""
    users = warehouse.user_ids(connection)
    matrix = to_matrix(candidates.pairs(connection, users, names=NAMES))
    return xgboost.train({"objective": "rank:ndcg", "nthread": 1}, matrix, 5)


LISTS = {user: [1 + user % 2, 3 + user % 2] for user in range(1, 41)}


def test_what_the_model_sees_the_board_by_is_the_strongest(
    connection: Connection, booster: xgboost.Booster
) -> None:
    """All features that it takes are told, the strongest first."""
    found = shap_values(connection, booster, LISTS)
    assert set(found) == set(NAMES)
    assert next(iter(found)) == "similarity"
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found["similarity"] > 0


def test_shares_add_up_to_the_score(
    connection: Connection, booster: xgboost.Booster
) -> None:
    """They are SHAP values: one pair's sum is what its score is above the bias."""
    pairs = candidates.pairs(connection, [1], names=NAMES)
    scores = booster.inplace_predict(pairs.values)
    matrix = xgboost.DMatrix(pairs.values, feature_names=list(NAMES))
    shares = booster.predict(matrix, pred_contribs=True)
    assert shares.shape == (len(pairs), len(NAMES) + 1)
    assert np.allclose(shares.sum(axis=1), scores, atol=1e-5)


def test_the_same_model_gives_the_same_values(
    connection: Connection, booster: xgboost.Booster
) -> None:
    assert shap_values(connection, booster, LISTS) == pytest.approx(
        shap_values(connection, booster, dict(reversed(LISTS.items())))
    )


def test_memory_is_bounded(
    connection: Connection, booster: xgboost.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalogue of any size is read of at least one user, and a few pairs of it."""
    monkeypatch.setattr(importance, "MAX_PAIRS", 1)
    monkeypatch.setattr(importance, "N_DRAWN", 3)
    assert importance.some_users(connection, list(LISTS)) == [1]
    pairs = candidates.pairs(connection, [1], names=NAMES)
    chosen = importance.some_pairs(pairs, {1: pairs.item_ids[:2].tolist()})
    assert len(set(chosen.tolist())) == 5
    assert shap_values(connection, booster, LISTS)


def test_nobody_to_look_at_is_no_failure(
    connection: Connection, booster: xgboost.Booster
) -> None:
    assert shap_values(connection, booster, {}) == dict.fromkeys(sorted(NAMES), 0.0)
