from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xgboost

from batch import features, score, warehouse
from batch.errors import BatchError
from batch.evaluate import Evaluation, evaluate
from batch.features import Pairs
from batch.train import PARAMETERS, to_matrix, train
from tests import worlds
from tests.worlds import Connection


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Give an empty warehouse."""
    with warehouse.connect(tmp_path) as connection:
        yield connection


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Give the pairs of a ragged world to train with."""
    with warehouse.connect(tmp_path_factory.mktemp("spill")) as connection:
        worlds.stage(connection, worlds.ragged())
        warehouse.build_moment(connection, n_cuts=2)
        return features.pairs(connection, warehouse.user_ids(connection))


def shuffled(pairs: Pairs, seed: int) -> Pairs:
    """Put pairs in another order."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    return Pairs(
        pairs.user_ids[order],
        pairs.item_ids[order],
        pairs.labels[order],
        pairs.values.take(order),
    )


ONE_THREAD: dict[str, str | int | float] = {"nthread": 1}
"""Threads cost more than they bring where there are few pairs."""


def raw(booster: xgboost.Booster) -> bytes:
    """Return a booster's bytes."""
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


def test_training_twice_gives_the_same_bytes(ragged: Pairs) -> None:
    """No seed is left to chance."""
    first, second = (train(ragged, ragged, ONE_THREAD, n_rounds=10) for _ in range(2))
    assert raw(first.booster) == raw(second.booster)
    assert first.curve == second.curve


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_the_pairs_does_not_matter(ragged: Pairs, seed: int) -> None:
    """SQL gives its rows in any order."""
    expected = raw(train(ragged, ragged, ONE_THREAD, n_rounds=10).booster)
    mixed = shuffled(ragged, seed)
    assert raw(train(mixed, mixed, ONE_THREAD, n_rounds=10).booster) == expected


def test_the_number_of_threads_does_not_matter(ragged: Pairs) -> None:
    """Another machine learns the same."""
    one, two = (
        train(ragged, ragged, {"nthread": n}, n_rounds=10).booster for n in (1, 2)
    )
    assert raw(one) == raw(two)


def test_the_validation_decides_nothing(ragged: Pairs) -> None:
    """The hold-out stays one: other validation pairs, the same model."""
    other = replace(ragged, labels=(ragged.item_ids % 2).astype(np.float32))
    one, two = (
        train(ragged, pairs, ONE_THREAD, n_rounds=10) for pairs in (ragged, other)
    )
    assert raw(one.booster) == raw(two.booster)
    assert one.curve["training"] == two.curve["training"]
    assert one.curve["validation"] != two.curve["validation"]


def test_what_is_told_of_a_training(ragged: Pairs) -> None:
    """Its parameters, its features by name, and a curve that goes up."""
    trained = train(ragged, ragged, ONE_THREAD | {"max_depth": 3}, n_rounds=20)
    assert trained.parameters == PARAMETERS | ONE_THREAD | {
        "max_depth": 3,
        "n_rounds": 20,
    }
    assert trained.booster.feature_names == list(features.FEATURES)
    assert trained.booster.num_boosted_rounds() == 20
    assert set(trained.curve) == {"training", "validation"}
    assert trained.curve["training"][-1] > trained.curve["training"][0] > 0
    assert trained.importance
    assert set(trained.importance) <= set(features.FEATURES)


def test_parameters_of_one_training_are_not_those_of_the_next(ragged: Pairs) -> None:
    """What is given over the defaults leaves them as they are."""
    before = dict(PARAMETERS)
    train(ragged, ragged, {"eta": 0.9}, n_rounds=1)
    assert before == PARAMETERS


def test_pairs_are_sorted_by_user_and_item() -> None:
    """Any rating that came next is relevant, liked or not."""
    pairs = literal([(2, 7, 0.0), (1, 9, 1.0), (1, 4, 0.0), (2, 3, 5.0), (1, 5, 0.5)])
    matrix = to_matrix(pairs)
    assert matrix.get_label().tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert matrix.get_group().tolist() == [3, 2]
    assert matrix.feature_names == ["item"]


# --- nothing to learn from -----------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(1, 10, 0.0), (1, 20, 0.0)],
        [(1, 10, 4.0), (1, 20, 3.0)],
        # one user has nothing but positives, the other none
        [(1, 10, 4.0), (1, 20, 3.0), (2, 10, 0.0), (2, 20, 0.0)],
    ],
)
def test_nothing_to_learn_from_is_an_error(rows: list[tuple[int, int, float]]) -> None:
    """It takes a user who rated something next and left something out."""
    with pytest.raises(BatchError, match=f"learn from in {len(rows)} training pairs"):
        train(literal(rows), literal([(1, 10, 1.0), (1, 20, 0.0)]), n_rounds=1)


@pytest.mark.parametrize(("n_ratings", "n_positives"), [(5, 0), (6, 1)])
def test_six_ratings_are_enough(
    connection: Connection, n_ratings: int, n_positives: int
) -> None:
    """The error's message tells how many: five are cut to four and to four again."""
    users = 30
    world = worlds.World(
        [(u, i, 4.0, i) for u in range(1, users + 1) for i in range(1, n_ratings + 1)],
        [(item, None, []) for item in range(1, 41)],
        [(user, None, None, None) for user in range(1, users + 1)],
    )
    worlds.stage(connection, world)
    warehouse.build_moment(connection, n_cuts=2)
    pairs = features.sample(connection, warehouse.user_ids(connection))
    assert (pairs.labels > 0).sum() == users * n_positives
    if n_positives:
        train(pairs, pairs, n_rounds=1)
    else:
        with pytest.raises(BatchError, match="at least 6 ratings"):
            train(pairs, pairs, n_rounds=1)


# --- what is learned -----------------------------------------------------------------


def learned(
    connection: Connection,
    world: worlds.World,
    parameters: dict[str, str | int | float] | None = None,
    labels_seed: int | None = None,
    n_rounds: int = 30,
) -> Evaluation:
    """Train as the batch does and measure; with a seed on labels dealt out anew."""
    worlds.stage(connection, world)
    warehouse.build_moment(connection, n_cuts=2)
    training = features.sample(connection, warehouse.user_ids(connection))
    if labels_seed is not None:
        labels = np.random.default_rng(labels_seed).permutation(training.labels)
        training = replace(training, labels=labels)
    warehouse.build_moment(connection, n_cuts=1)
    user_ids = warehouse.user_ids(connection)
    validation = features.sample(connection, user_ids[::5])
    booster = train(training, validation, parameters, n_rounds).booster
    return evaluate(connection, score.score(connection, booster, user_ids, top_n=10))


def test_a_checkerboard_is_learned(connection: Connection) -> None:
    """All three held-out items are among the eight unseen ones of the user's colour."""
    found = learned(connection, worlds.checkerboard(), ONE_THREAD)
    assert found.n_users == 40
    assert found.model.recall_at_10 == 1.0
    assert found.model.ndcg_at_10 > 3 * found.popularity.ndcg_at_10
    assert found.popularity.recall_at_10 < 0.5


@pytest.mark.slow
def test_ml_100k_is_learned_and_shuffled_labels_are_not(
    connection: Connection, tmp_path: Path
) -> None:
    """The model beats item-kNN; without the truth it is no better than popularity.

    Were there a way round the labels, as by a feature that knows the future, shuffling
    them would not undo it.
    """
    world = worlds.real(tmp_path)
    found = learned(connection, world)
    blind = learned(connection, world, labels_seed=0)
    assert found.model.ndcg_at_10 > found.item_knn.ndcg_at_10
    assert blind.model.ndcg_at_10 < blind.popularity.ndcg_at_10 + 0.01


@pytest.mark.slow
def test_the_real_release_trains_to_the_same_bytes(
    connection: Connection, tmp_path: Path
) -> None:
    """With one thread or two, and the rows of its pairs in another order."""
    worlds.stage(connection, worlds.real(tmp_path))
    warehouse.build_moment(connection, n_cuts=2)
    pairs = features.sample(connection, warehouse.user_ids(connection)[::2])
    few = features.sample(connection, [1, 2])
    one = train(pairs, few, {"nthread": 1}, n_rounds=10)
    two = train(shuffled(pairs, 0), few, {"nthread": 2}, n_rounds=10)
    assert raw(one.booster) == raw(two.booster)
