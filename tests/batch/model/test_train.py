from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xgboost

import batch.model.train
from batch import warehouse
from batch.commands import train as training
from batch.errors import BatchError
from batch.evaluation.evaluation import Evaluation, evaluate
from batch.features import candidates, columns, tables
from batch.features.base_scores import COLUMNS, Strong
from batch.features.candidates import Pairs
from batch.model import base_margin
from batch.model.train import (
    MIN_NEGATIVES,
    N_STAGES,
    NEGATIVE_SHARE,
    PARAMETERS,
    STAGES,
    is_trainable,
    sample_negatives,
    to_matrix,
    train,
)
from batch.scoring import rank
from tests import worlds
from tests.worlds import Connection, Cutoff

WINDOWS = tuple(Cutoff(*window) for window in training.SPARSE_WINDOWS)
"""The windows that the evaluated model is trained on where histories are short."""
ONE_THREAD: dict[str, str | int | float] = {"nthread": 1}
"""Threads cost more than they save with few pairs."""


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Pairs of a ragged world to train with."""
    with warehouse.connect(tmp_path_factory.mktemp("spill")) as connection:
        worlds.stage(connection, worlds.ragged())
        tables.build(connection, n_cuts=2)
        return candidates.pairs(connection, warehouse.user_ids(connection))


def shuffled(pairs: Pairs, seed: int) -> Pairs:
    return pairs.take(np.random.default_rng(seed).permutation(len(pairs)))


def raw(booster: xgboost.Booster) -> bytes:
    return bytes(booster.save_raw())


def literal(rows: list[tuple[int, int, float]]) -> Pairs:
    """Make pairs of (user_id, item_id, label) with one feature."""
    users, items, labels = zip(*rows, strict=True) if rows else ((), (), ())
    item_ids = np.array(items, np.int32)
    return Pairs(
        np.array(users, np.int32),
        item_ids,
        np.array(labels, np.float32),
        pa.table({"item": item_ids.astype(np.float32)}),
    )


# --- the same pairs, the same model --------------------------------------------------


def test_a_model_depends_on_its_pairs_alone(ragged: Pairs) -> None:
    """Not on the order of rows, on threads, on earlier trainings or on validation."""
    before = dict(PARAMETERS)
    train([ragged], ragged, {"eta": 0.9}, n_rounds=1)
    assert before == PARAMETERS
    first, second = (train([ragged], ragged, ONE_THREAD, n_rounds=10) for _ in range(2))
    assert first.curve == second.curve
    other = replace(ragged, labels=(ragged.item_ids % 2).astype(np.float32))
    revalidated = train([ragged], other, ONE_THREAD, n_rounds=10)
    assert first.curve["training"] == revalidated.curve["training"]
    assert first.curve["validation"] != revalidated.curve["validation"]
    alone = train([ragged], None, ONE_THREAD, n_rounds=10)
    assert alone.curve == {}
    mixed = shuffled(ragged, 0)
    reordered = train([mixed], mixed, ONE_THREAD, n_rounds=10)
    threaded = train([ragged], ragged, {"nthread": 2}, n_rounds=10)
    same = {raw(one.booster) for one in (first, second, revalidated, alone)}
    assert same == {raw(reordered.booster)} == {raw(threaded.booster)}


@pytest.mark.slow
def test_the_real_release_trains_to_the_same_bytes(
    connection: Connection, tmp_path: Path
) -> None:
    """With one thread or two, and the rows of its pairs in another order."""
    worlds.stage(connection, worlds.real(tmp_path))
    tables.build(connection, n_cuts=2)
    pairs = candidates.sample(connection, warehouse.user_ids(connection)[::2])
    few = candidates.sample(connection, [1, 2])
    one = train([pairs], few, {"nthread": 1}, n_rounds=10)
    two = train([shuffled(pairs, 0)], few, {"nthread": 2}, n_rounds=10)
    assert raw(one.booster) == raw(two.booster)


def test_the_record_of_a_training(ragged: Pairs) -> None:
    trained = train([ragged], ragged, ONE_THREAD | {"max_depth": 3}, n_rounds=25)
    given = ONE_THREAD | {"max_depth": 3}
    expected = PARAMETERS | given | {"n_rounds": 25, "liked_from": 4.0} | STAGES
    assert trained.parameters == expected
    assert trained.booster.feature_names == list(columns.FEATURES)
    assert trained.booster.num_boosted_rounds() == 25
    assert list(trained.curve) == ["training", "validation"]
    assert {len(points) for points in trained.curve.values()} == {N_STAGES}
    assert all(0.5 < point <= 1 for point in trained.curve["training"])
    assert trained.importance
    assert set(trained.importance) <= set(columns.FEATURES)


# --- windows and stages --------------------------------------------------------------


def test_trees_learn_what_the_base_margin_does_not_know(ragged: Pairs) -> None:
    """Where it knows all, they are left with nothing; other weights, other trees."""
    pairs, n = ragged.in_order(), len(ragged)
    scores = np.zeros((n, len(COLUMNS)), np.float32)
    scores[:, 0] = np.where(pairs.labels >= 4, 2, pairs.labels > 0)
    known = replace(pairs, strong=Strong(scores, np.full(n, 9)))
    weights = np.zeros((2, len(COLUMNS)))
    matrix = to_matrix(known, weights=weights)
    assert (matrix.get_base_margin() == 0).all()
    weights[1, 0] = 100
    matrix = to_matrix(known, weights=weights)
    expected = 100 / base_margin.SCALE * scores[:, 0]
    assert np.allclose(matrix.get_base_margin(), expected)

    def trees(weights: base_margin.Weights | None) -> dict[str, float]:
        found = train([known], None, ONE_THREAD, n_rounds=8, weights=weights)
        return found.importance

    assert trees(None)
    assert not trees(weights)
    weights[1, 0] = 0.1
    assert trees(weights)


@pytest.mark.parametrize("n_rounds", [1, 9, 10])
def test_stages_grow_as_many_trees(ragged: Pairs, n_rounds: int) -> None:
    trained = train([ragged], None, ONE_THREAD, n_rounds)
    assert trained.booster.num_boosted_rounds() == n_rounds


def test_matrices_are_sorted_and_graded() -> None:
    """Liked items have a slightly larger gain than other rated ones."""
    pairs = literal(
        [(2, 7, 0.0), (1, 9, 1.0), (1, 4, 0.0), (2, 3, 4.0), (1, 5, 3.5), (2, 1, 5.0)]
    )
    matrix = to_matrix(pairs.in_order())
    assert matrix.get_label().tolist() == [0.0, 3.0, 3.0, 4.0, 4.0, 0.0]
    assert matrix.get_group().tolist() == [3, 3]
    assert matrix.feature_names == ["item"]


def test_stages_take_the_windows_in_turn(
    ragged: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each samples its own negatives; a window without positives is left out."""
    half = ragged.of_every(2)
    barren = replace(ragged, labels=np.zeros(len(ragged), np.float32))
    stages: list[tuple[int, int]] = []

    def noted(pairs: Pairs, seed: int) -> Pairs:
        stages.append((pairs.n_users, seed))
        return sample_negatives(pairs, seed)

    monkeypatch.setattr(batch.model.train, "sample_negatives", noted)
    train([ragged, barren, half], None, ONE_THREAD | {"seed": 7}, n_rounds=10)
    users = [ragged.n_users, half.n_users] * N_STAGES
    assert stages == list(zip(users, range(7, 7 + N_STAGES), strict=False))


def crowd(n_items: int) -> Pairs:
    """Make pairs of five users who each rated two of so many items."""
    users, items = range(1, 6), range(1, n_items + 1)
    return literal([(u, i, 5.0 if i <= 2 else 0.0) for u in users for i in items])


def test_a_stage_samples_a_share_of_the_negatives() -> None:
    """All positives stay; the seed decides which negatives."""
    pairs = crowd(n_items=2000)
    one, again, other = (sample_negatives(pairs, seed) for seed in (1, 1, 2))
    for some in (one, other):
        assert np.count_nonzero(some.labels) == np.count_nonzero(pairs.labels) == 10
        share = np.count_nonzero(some.labels == 0) / np.count_nonzero(pairs.labels == 0)
        assert NEGATIVE_SHARE - 0.03 < share < NEGATIVE_SHARE + 0.03
    assert one.as_table().equals(again.as_table())
    assert not one.as_table().equals(other.as_table())
    few = sample_negatives(crowd(n_items=2 + 2 * MIN_NEGATIVES), 1)
    assert 0.8 < np.count_nonzero(few.labels == 0) / (5 * MIN_NEGATIVES) < 1.2
    assert len(sample_negatives(crowd(n_items=50), 1)) == 5 * 50


# --- nothing to learn from -----------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(1, 10, 0.0), (1, 20, 0.0)],
        # one user has only positives, the other none
        [(1, 10, 4.0), (1, 20, 3.0), (2, 10, 0.0), (2, 20, 0.0)],
    ],
)
def test_nothing_to_learn_from_is_an_error(rows: list[tuple[int, int, float]]) -> None:
    with pytest.raises(BatchError, match=f"learn from in {len(rows)} training pairs"):
        train([literal(rows)], literal([(1, 10, 1.0), (1, 20, 0.0)]), n_rounds=1)


def sampled(connection: Connection, cutoff: Cutoff, every: int = 1) -> Pairs:
    """Sample the pairs of one in `every` users as of a cutoff."""
    tables.build(connection, *cutoff)
    return candidates.sample(connection, warehouse.user_ids(connection)[::every])


@pytest.mark.parametrize(("n_ratings", "n_positives"), [(1, 0), (2, 1), (4, 3)])
def test_two_ratings_are_enough(
    connection: Connection, n_ratings: int, n_positives: int
) -> None:
    """As the error says: the last ratings, up to three, are learned from the first."""
    users, items = range(1, 31), range(1, n_ratings + 1)
    world = worlds.World(
        [(user, item, 4.0, item) for user in users for item in items],
        [(item, None, []) for item in range(1, 41)],
        [(user, None, None, None) for user in users],
    )
    worlds.stage(connection, world)
    windows = [sampled(connection, cutoff) for cutoff in WINDOWS]
    n_labels = sum(np.count_nonzero(window.labels) for window in windows)
    assert n_labels == len(users) * n_positives
    if n_positives:
        assert any(is_trainable(window) for window in windows)
    else:
        with pytest.raises(BatchError, match="at least 2 ratings"):
            train(windows, n_rounds=1)


# --- what is learned -----------------------------------------------------------------


def relabelled(pairs: Pairs, seed: int) -> Pairs:
    """Shuffle the labels of each user among the user's items."""
    ordered = pairs.in_order()
    order = np.lexsort(
        (np.random.default_rng(seed).random(len(pairs)), ordered.user_ids)
    )
    return replace(ordered, labels=ordered.labels[order])


def learned(
    connection: Connection,
    world: worlds.World,
    *label_seeds: int | None,
    parameters: dict[str, str | int | float] | None = None,
    n_rounds: int = 30,
    every: int = 1,
) -> list[Evaluation]:
    """Train as the batch does and evaluate one in `every` users.

    Once for each seed, on labels shuffled with it; None leaves them as they are.
    """
    worlds.stage(connection, world)
    windows = [sampled(connection, cutoff) for cutoff in WINDOWS]
    tables.build(connection, n_cuts=1)
    user_ids = warehouse.user_ids(connection)[::every]
    found = []
    for seed in label_seeds:
        used = windows
        if seed is not None:
            used = [relabelled(window, seed + i) for i, window in enumerate(windows)]
        booster = train(used, None, parameters, n_rounds).booster
        lists = chain.from_iterable(
            rank.rank_users(connection, booster, user_ids, top_n=10)
        )
        found.append(evaluate(connection, lists))
    return found


def test_a_checkerboard_is_learned(connection: Connection) -> None:
    """All three held-out items are among the eight unseen ones of the user's colour."""
    [found] = learned(connection, worlds.checkerboard(), None, parameters=ONE_THREAD)
    assert found.n_users == 40
    assert found.model.recall_at_10 == 1.0
    assert found.model.ndcg_at_10 > 3 * found.popularity.ndcg_at_10
    assert found.popularity.recall_at_10 < 0.5


@pytest.mark.slow
def test_ml_100k_is_learned_and_shuffled_labels_are_not(
    connection: Connection, tmp_path: Path
) -> None:
    """Any leak past the labels would survive their shuffling."""
    world = worlds.real(tmp_path)
    found, blind = learned(connection, world, None, 0, n_rounds=40, every=4)
    assert found.model.ndcg_at_10 > 1.3 * found.item_knn.ndcg_at_10
    # a model that learned nothing ranks by chance, and knows no popular items either
    assert blind.model.ndcg_at_10 < blind.popularity.ndcg_at_10
