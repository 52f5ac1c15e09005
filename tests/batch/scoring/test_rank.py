from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import warehouse
from batch.features import candidates, tables
from batch.features.candidates import FEATURES, Pairs
from batch.model import train
from batch.scoring import rank
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.worlds import Connection

Scores = npt.NDArray[np.float32]

SEEN_ALL = 50
"""A user of the world below who has rated every item."""


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Give a ragged world as of now, with one user who has nothing left to see."""
    ragged = worlds.ragged()
    everything = [(SEEN_ALL, i, 4.0, 900_000_000 + i) for i, _, _ in ragged.items]
    world = worlds.World(
        [*ragged.ratings, *everything],
        ragged.items,
        [*ragged.users, (SEEN_ALL, None, None, None)],
    )
    with warehouse.connect(tmp_path_factory.mktemp("spill")) as connection:
        worlds.stage(connection, world)
        tables.build(connection, n_cuts=0)
        yield connection


@pytest.fixture(scope="module")
def booster(tmp_path_factory: pytest.TempPathFactory) -> xgboost.Booster:
    """Give a model that tells items apart."""
    pairs = worlds.ragged_pairs(tmp_path_factory.mktemp("spill"))
    return train.train([pairs], pairs, {"nthread": 1}, n_rounds=10).booster


def scored(
    connection: Connection, booster: xgboost.Booster, top_n: int
) -> dict[int, list[tuple[int, float]]]:
    """Rank for every user: user_id → (item_id, score), best first."""
    rankings = rank.score(
        connection, booster, warehouse.user_ids(connection), top_n=top_n
    )
    return {r.user_id: as_list(r) for r in rankings}


def as_list(ranking: Ranking) -> list[tuple[int, float]]:
    """Put items and scores side by side."""
    items, scores = ranking.item_ids.tolist(), ranking.scores.tolist()
    return list(zip(items, scores, strict=True))


def test_every_user_is_ranked_every_unseen_item(
    connection: Connection, booster: xgboost.Booster
) -> None:
    """Best first, none twice, and nothing that the user has rated."""
    seen: dict[int, set[int]] = {}
    for user, item in connection.sql(
        "select user_id, item_id from stg_ratings"
    ).fetchall():
        seen.setdefault(user, set()).add(item)
    rankings = scored(connection, booster, top_n=1000)
    assert list(rankings) == [*range(1, 31), SEEN_ALL]
    for user, ranked in rankings.items():
        items = [item for item, _ in ranked]
        assert sorted(items) == sorted(set(range(1, 51)) - seen[user])
        assert ranked == sorted(ranked, key=lambda pair: (-pair[1], pair[0]))


def test_a_list_is_cut_at_top_n(
    connection: Connection, booster: xgboost.Booster
) -> None:
    """A shorter list is the beginning of a longer one."""
    long = scored(connection, booster, top_n=1000)
    for top_n in (1, 5, 20):
        short = scored(connection, booster, top_n=top_n)
        assert short == {user: ranked[:top_n] for user, ranked in long.items()}


def test_who_has_seen_everything_gets_an_empty_list(
    connection: Connection, booster: xgboost.Booster
) -> None:
    """Among others and alone."""
    assert scored(connection, booster, top_n=5)[SEEN_ALL] == []
    (alone,) = rank.score(connection, booster, [SEEN_ALL], top_n=5)
    assert (alone.user_id, as_list(alone)) == (SEEN_ALL, [])


def test_nobody_is_ranked_nothing(
    connection: Connection, booster: xgboost.Booster
) -> None:
    """No users, no rankings."""
    assert list(rank.score(connection, booster, [], top_n=5)) == []


@pytest.mark.parametrize("users_per_block", [1, 4, 30, 31])
def test_blocks_of_any_size_give_the_same_lists(
    connection: Connection,
    booster: xgboost.Booster,
    monkeypatch: pytest.MonkeyPatch,
    users_per_block: int,
) -> None:
    """All users at once are ranked as each of them alone, to the last bit."""
    at_once = scored(connection, booster, top_n=10)
    n_pairs = users_per_block * 50
    monkeypatch.setattr(candidates, "PAIRS_PER_BLOCK", n_pairs)
    assert scored(connection, booster, top_n=10) == at_once


def test_a_block_is_one_user_where_there_are_many_items(
    connection: Connection, booster: xgboost.Booster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many items there are, a block is never empty."""
    at_once = scored(connection, booster, top_n=3)
    monkeypatch.setattr(candidates, "PAIRS_PER_BLOCK", 1)
    assert scored(connection, booster, top_n=3) == at_once


def test_a_booster_is_given_the_features_that_it_names(
    connection: Connection, booster: xgboost.Booster
) -> None:
    """One trained on fewer, in another order, works on."""
    names = ["similarity", "item_n_ratings", "user_n_ratings"]
    pairs = candidates.pairs(connection, [1, 2, 3], names=names)
    # the target: the number of ratings, whatever column it stands in
    target = pairs.values["item_n_ratings"].to_numpy()
    matrix = xgboost.QuantileDMatrix(pairs.values, label=target, feature_names=names)
    fewer = xgboost.train({"max_depth": 6, "eta": 1.0, "nthread": 1}, matrix, 5)
    (ranking,) = rank.score(connection, fewer, [1], top_n=50)
    popular = candidates.pairs(connection, [1], names=["item_n_ratings"])
    counts = dict(
        zip(
            popular.item_ids.tolist(),
            popular.values["item_n_ratings"].to_pylist(),
            strict=True,
        )
    )
    ranked = [counts[item] for item, _ in as_list(ranking)]
    assert ranked[0] == max(counts.values())
    assert ranked[-1] == min(counts.values())


def test_a_booster_without_names_takes_all_features(connection: Connection) -> None:
    """Their order is that of FEATURES."""
    pairs = candidates.pairs(connection, [1, 2, 3])
    column = FEATURES.index("item_n_ratings")
    matrix = np.column_stack([c.to_numpy() for c in pairs.values.columns])
    labelled = xgboost.QuantileDMatrix(matrix, label=np.nan_to_num(matrix[:, column]))
    nameless = xgboost.train({"eta": 1.0, "nthread": 1}, labelled, 5)
    assert nameless.feature_names is None
    expected = nameless.inplace_predict(matrix)
    assert rank.predict(nameless, pairs).tolist() == expected.tolist()


# --- early stopping ------------------------------------------------------------------


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
    """The trees grown after the best one have no say, nor after a reload."""
    booster, pairs = stopped
    best = booster.best_iteration
    assert best + 1 < booster.num_boosted_rounds()
    expected = booster.inplace_predict(pairs.values, iteration_range=(0, best + 1))
    every_tree = booster.inplace_predict(pairs.values, iteration_range=(0, 0))
    assert expected.tolist() != every_tree.tolist()
    loaded = xgboost.Booster(model_file=booster.save_raw("ubj"))
    for one in (booster, loaded):
        assert rank.predict(one, pairs).tolist() == expected.tolist()


def test_scores_are_32_bit_floats_and_none_of_none(
    booster: xgboost.Booster, connection: Connection
) -> None:
    """One a pair, in the order of the pairs."""
    pairs = candidates.pairs(connection, [1, 2])
    scores = rank.predict(booster, pairs)
    assert scores.dtype == np.float32
    assert scores.shape == (len(pairs),)
    none = rank.predict(booster, candidates.pairs(connection, [SEEN_ALL]))
    assert none.dtype == np.float32
    assert none.shape == (0,)


# --- ranking -------------------------------------------------------------------------


def pairs_of(rows: Sequence[tuple[int, int, float]]) -> tuple[Pairs, Scores]:
    """Make candidates of (user_id, item_id, score), and their scores."""
    users = np.array([user for user, _, _ in rows], dtype=np.int32)
    items = np.array([item for _, item, _ in rows], dtype=np.int32)
    scores = np.array([s for _, _, s in rows], dtype=np.float32)
    return Pairs(users, items, np.zeros(len(rows), np.float32), pa.table({})), scores


def ranked(
    rows: Sequence[tuple[int, int, float]], user_ids: Sequence[int], top_n: int
) -> dict[int, list[int]]:
    """Rank rows: user_id → item_ids, best first."""
    candidates, scores = pairs_of(rows)
    rankings = rank.rank(user_ids, candidates, scores, top_n)
    return {r.user_id: r.item_ids.tolist() for r in rankings}


def test_equal_scores_are_ranked_by_item() -> None:
    """The lower item_id is first, whatever order the rows came in."""
    rows = [(2, 7, 0.5), (1, 9, 0.5), (1, 4, 0.5), (1, 8, 2.0), (1, 2, -1.0)]
    assert ranked(rows, [1, 2, 3], 3) == {1: [8, 4, 9], 2: [7], 3: []}
    assert ranked(rows[::-1], [1, 2, 3], 3) == {1: [8, 4, 9], 2: [7], 3: []}


def test_the_cut_falls_between_equal_scores_by_item() -> None:
    """At the end of the list as well the lower item_id stays."""
    assert ranked([(1, 3, 1.0), (1, 2, 1.0), (1, 1, 0.0)], [1], 1) == {1: [2]}


SCORES = st.sampled_from([-1.5, -0.0, 0.0, 0.25, 1.0, float("inf"), float("-inf")])
WORLDS = st.dictionaries(
    st.integers(1, 6), st.dictionaries(st.integers(1, 40), SCORES, max_size=15)
)


@settings(max_examples=150, deadline=None)
@given(scores=WORLDS, top_n=st.integers(1, 20), data=st.data())
def test_a_ranking_is_a_sorted_part_of_the_candidates(
    scores: Mapping[int, Mapping[int, float]], top_n: int, data: st.DataObject
) -> None:
    """Each user's own items, none twice, the best of them, in their order."""
    rows = [(u, i, s) for u, items in scores.items() for i, s in items.items()]
    shuffled = data.draw(st.permutations(rows)) if rows else rows
    user_ids = sorted(scores)
    candidates, values = pairs_of(shuffled)
    rankings = list(rank.rank(user_ids, candidates, values, top_n))
    assert [ranking.user_id for ranking in rankings] == user_ids
    for ranking in rankings:
        own = scores[ranking.user_id]
        best = sorted(own, key=lambda item: (-own[item], item))[:top_n]
        assert ranking.item_ids.tolist() == best
        assert ranking.scores.tolist() == [own[item] for item in best]


@settings(max_examples=50, deadline=None)
@given(scores=WORLDS, top_n=st.integers(1, 20))
def test_a_users_ranking_does_not_depend_on_the_others(
    scores: Mapping[int, Mapping[int, float]], top_n: int
) -> None:
    """Alone in a block or among others."""
    rows = [(u, i, s) for u, items in scores.items() for i, s in items.items()]
    together = ranked(rows, sorted(scores), top_n)
    for user in scores:
        own = [row for row in rows if row[0] == user]
        assert ranked(own, [user], top_n) == {user: together[user]}
