import pytest
import xgboost

from batch import warehouse
from batch.evaluation import importance
from batch.evaluation.importance import shap_values
from batch.features import candidates
from batch.model.train import to_matrix
from tests import worlds
from tests.batch.evaluation.conftest import HoldOut
from tests.worlds import Connection

NAMES = ("item_n_ratings", "next_similarity", "user_n_ratings")
LISTS = {user: [1 + user % 2, 3 + user % 2] for user in range(1, 41)}


@pytest.fixture
def connection(hold_out: HoldOut) -> Connection:
    return hold_out(worlds.checkerboard())


@pytest.fixture
def booster(connection: Connection) -> xgboost.Booster:
    """Train on the board, whose colours what comes next predicts."""
    users = warehouse.user_ids(connection)
    pairs = candidates.pairs(connection, users, names=NAMES).in_order()
    matrix = to_matrix(pairs)
    return xgboost.train({"objective": "rank:ndcg", "nthread": 1}, matrix, 5)


def test_the_predictive_feature_is_the_strongest(
    connection: Connection, booster: xgboost.Booster
) -> None:
    found = shap_values(connection, booster, LISTS)
    assert next(iter(found)) == "next_similarity"
    assert sorted(found.values(), reverse=True) == list(found.values()) != [0.0] * 3
    reverse = shap_values(connection, booster, dict(reversed(LISTS.items())))
    assert reverse == pytest.approx(found)
    assert shap_values(connection, booster, {}) == dict.fromkeys(NAMES, 0.0)


def test_memory_is_bounded(
    connection: Connection, booster: xgboost.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large catalogue still gives one user and a sample of that user's pairs."""
    monkeypatch.setattr(importance, "MAX_PAIRS", 1)
    monkeypatch.setattr(importance, "N_DRAWN", 3)
    assert importance.some_users(connection, list(LISTS)) == [1]
    pairs = candidates.pairs(connection, [1], names=NAMES)
    chosen = importance.some_pairs(pairs, {1: pairs.item_ids[:2].tolist()})
    assert len(set(chosen.tolist())) == 5
    assert shap_values(connection, booster, LISTS)
