import numpy as np
import pytest
import xgboost

from batch import warehouse
from batch.features import candidates
from batch.model import train
from batch.scoring import compiled
from tests.batch.scoring.conftest import SEEN_ALL, lists
from tests.worlds import Connection


def test_every_user_is_ranked_every_unseen_item(
    ragged: Connection, booster: xgboost.Booster
) -> None:
    seen: dict[int, set[int]] = {}
    query = "select user_id, item_id from stg_ratings"
    for user, item in ragged.sql(query).fetchall():
        seen.setdefault(user, set()).add(item)
    rankings = lists(ragged, booster, top_n=1000)
    assert list(rankings) == [*range(1, 31), SEEN_ALL]
    for user, ranked in rankings.items():
        items = [item for item, _ in ranked]
        assert sorted(items) == sorted(set(range(1, 51)) - seen[user])
        assert ranked == sorted(ranked, key=lambda pair: (-pair[1], pair[0]))
    for top_n in (1, 5, 20):
        short = lists(ragged, booster, top_n=top_n)
        assert short == {user: ranked[:top_n] for user, ranked in rankings.items()}


@pytest.mark.parametrize("scorer", ["compiled", "xgboost"])
def test_users_without_unseen_items_and_no_users(
    ragged: Connection, booster: xgboost.Booster, scorer: str
) -> None:
    alone = lists(ragged, booster, 5, [SEEN_ALL], scorer)
    assert alone == {SEEN_ALL: []}
    assert lists(ragged, booster, 5, [], scorer) == {}


@pytest.mark.parametrize("top_n", [1, 10, 1000])
def test_both_scorers_give_the_same_lists(
    ragged: Connection, booster: xgboost.Booster, top_n: int
) -> None:
    """Items, order and scores, to the last bit."""
    plain = lists(ragged, booster, top_n, scorer="xgboost")
    assert lists(ragged, booster, top_n) == plain


@pytest.mark.parametrize("pairs_per_block", [1, 4 * 50, 30 * 50, 31 * 50])
def test_blocks_of_the_plain_scorer_change_nothing(
    ragged: Connection,
    booster: xgboost.Booster,
    monkeypatch: pytest.MonkeyPatch,
    pairs_per_block: int,
) -> None:
    at_once = lists(ragged, booster, 10, scorer="xgboost")
    monkeypatch.setattr(candidates, "SMALL_CATALOGUE", 0)
    monkeypatch.setattr(candidates, "PAIRS_PER_BLOCK", pairs_per_block)
    assert lists(ragged, booster, 10, scorer="xgboost") == at_once


def test_blocks_and_tasks_of_the_compiled_scorer_change_nothing(
    ragged: Connection, booster: xgboost.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = lists(ragged, booster, 10)
    monkeypatch.setattr(compiled, "USERS_PER_BLOCK", 7)
    monkeypatch.setattr(compiled.Threads, "users_per_task", 3)
    assert lists(ragged, booster, 10) == at_once


def test_a_booster_is_given_the_features_that_it_names(ragged: Connection) -> None:
    """They may be fewer than all, in another order."""
    names = ["similarity", "item_n_ratings", "user_n_ratings"]
    pairs = candidates.pairs(ragged, [1, 2, 3], names=names)
    target = pairs.values["item_n_ratings"].to_numpy()
    matrix = xgboost.QuantileDMatrix(pairs.values, label=target, feature_names=names)
    fewer = xgboost.train({"max_depth": 6, "eta": 1.0, "nthread": 1}, matrix, 5)
    popular = candidates.pairs(ragged, [1], names=["item_n_ratings"])
    counts = popular.values["item_n_ratings"].to_pylist()
    by_item = dict(zip(popular.item_ids.tolist(), counts, strict=True))
    ranked = [by_item[item] for item, _ in lists(ragged, fewer, 50, [1])[1]]
    assert ranked[0] == max(counts)
    assert ranked[-1] == min(counts)


def test_sql_that_the_kernels_do_not_follow_is_noticed(
    ragged: Connection,
    booster: xgboost.Booster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The lists are those of the changed SQL, with a warning."""
    read = warehouse.read

    def changed(model: str) -> str:
        wanted = "items.n_ratings::float as item_n_ratings"
        negative = "(-items.n_ratings)::float as item_n_ratings"
        return read(model).replace(wanted, negative)

    monkeypatch.setattr(warehouse, "read", changed)
    plain = lists(ragged, booster, 10, scorer="xgboost")
    assert lists(ragged, booster, 10) == plain
    assert "batch/scoring/kernels.py" in caplog.text


def test_a_booster_that_cannot_be_compiled_is_scored_by_xgboost(
    ragged: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = candidates.pairs(ragged, warehouse.user_ids(ragged))
    labelled = candidates.Pairs(
        pairs.user_ids, pairs.item_ids, np.sign(pairs.item_ids % 3), pairs.values
    )
    matrix = train.to_matrix(labelled.in_order())
    parameters = {"booster": "dart", "objective": "rank:ndcg", "rate_drop": 0.5}
    dart = xgboost.train(parameters, matrix, 3)
    assert lists(ragged, dart, 10) == lists(ragged, dart, 10, scorer="xgboost")
    assert "its booster is dart" in caplog.text
