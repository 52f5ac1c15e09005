from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.features import candidates
from batch.features.candidates import Pairs
from batch.features.columns import FEATURES
from batch.scoring import plain
from tests.batch.scoring.conftest import SEEN_ALL
from tests.worlds import Connection

Scores = npt.NDArray[np.float32]

# --- predictions ---------------------------------------------------------------------


def test_a_booster_without_names_takes_all_features(ragged: Connection) -> None:
    """In the order of FEATURES."""
    pairs = candidates.pairs(ragged, [1, 2, 3])
    column = FEATURES.index("item_n_ratings")
    matrix = np.column_stack([c.to_numpy() for c in pairs.values.columns])
    labelled = xgboost.QuantileDMatrix(matrix, label=np.nan_to_num(matrix[:, column]))
    nameless = xgboost.train({"eta": 1.0, "nthread": 1}, labelled, 5)
    assert nameless.feature_names is None
    expected = nameless.inplace_predict(matrix)
    assert plain.predict(nameless, pairs).tolist() == expected.tolist()


@pytest.fixture(scope="module")
def stopped() -> tuple[xgboost.Booster, Pairs]:
    """Give a booster that got worse after its best trees, and pairs."""
    draw = np.random.default_rng(0)
    matrices, tables = [], []
    for _ in range(2):
        x = draw.random((200, 2)).astype(np.float32)
        noisy = x[:, 0] + draw.normal(0, 0.5, 200)
        tables.append(pa.table({"a": x[:, 0], "b": x[:, 1]}))
        matrices.append(xgboost.DMatrix(tables[-1], label=noisy))
    booster = xgboost.train(
        {"eta": 0.5, "nthread": 1},
        matrices[0],
        50,
        evals=[(matrices[1], "validation")],
        early_stopping_rounds=10,
        verbose_eval=False,
    )
    ids = np.arange(200, dtype=np.int32)
    return booster, Pairs(ids, ids, ids.astype(np.float32), tables[1])


def test_scores_are_those_of_the_best_iteration(
    stopped: tuple[xgboost.Booster, Pairs],
) -> None:
    """The trees after it do not count, nor after a reload."""
    booster, pairs = stopped
    best = booster.best_iteration
    assert best + 1 < booster.num_boosted_rounds()
    expected = booster.inplace_predict(pairs.values, iteration_range=(0, best + 1))
    every_tree = booster.inplace_predict(pairs.values, iteration_range=(0, 0))
    assert expected.tolist() != every_tree.tolist()
    loaded = xgboost.Booster(model_file=booster.save_raw("ubj"))
    for one in (booster, loaded):
        assert plain.predict(one, pairs).tolist() == expected.tolist()


@pytest.mark.parametrize("user_ids", [[1, 2], [SEEN_ALL]])
def test_a_pair_has_one_score(
    booster: xgboost.Booster, ragged: Connection, user_ids: list[int]
) -> None:
    pairs = candidates.pairs(ragged, user_ids)
    scores = plain.predict(booster, pairs)
    assert scores.dtype == np.float32
    assert scores.shape == (len(pairs),)


# --- ranking -------------------------------------------------------------------------


def ranked(
    rows: Sequence[tuple[int, int, float]], user_ids: Sequence[int], top_n: int
) -> dict[int, list[tuple[int, float]]]:
    """Rank rows of (user_id, item_id, score): user_id → items and scores."""
    users = np.array([user for user, _, _ in rows], np.int32)
    items = np.array([item for _, item, _ in rows], np.int32)
    scores = np.array([score for _, _, score in rows], np.float32)
    pairs = Pairs(users, items, np.zeros(len(rows), np.float32), pa.table({}))
    return {
        r.user_id: list(zip(r.item_ids.tolist(), r.scores.tolist(), strict=True))
        for r in plain.rank_pairs(user_ids, pairs, scores, top_n)
    }


SCORES = st.sampled_from([-1.5, -0.0, 0.0, 0.25, 1.0, float("inf"), float("-inf")])
WORLDS = st.dictionaries(
    st.integers(1, 6), st.dictionaries(st.integers(1, 40), SCORES, max_size=15)
)


@settings(max_examples=150, deadline=None)
@given(scores=WORLDS, top_n=st.integers(1, 20), data=st.data())
def test_a_ranking_is_the_sorted_best_of_a_users_pairs(
    scores: Mapping[int, Mapping[int, float]], top_n: int, data: st.DataObject
) -> None:
    """By score and then by item, in any order of the rows, alone and among others."""
    rows = [(u, i, s) for u, items in scores.items() for i, s in items.items()]
    shuffled = data.draw(st.permutations(rows)) if rows else rows
    user_ids = sorted(scores)
    together = ranked(shuffled, user_ids, top_n)
    assert list(together) == user_ids
    for user, own in scores.items():
        best = sorted(own.items(), key=lambda pair: (-pair[1], pair[0]))[:top_n]
        assert together[user] == best
        alone = [row for row in rows if row[0] == user]
        assert ranked(alone, [user], top_n) == {user: best}
