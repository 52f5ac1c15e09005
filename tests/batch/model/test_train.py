from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xgboost

import batch.model.train
from batch import warehouse
from batch.__main__ import N_NEAR
from batch.errors import BatchError
from batch.evaluation.evaluation import Evaluation, evaluate
from batch.features import candidates, columns, tables
from batch.features.candidates import Pairs
from batch.model.train import (
    MIN_NEGATIVES,
    N_STAGES,
    NEGATIVE_SHARE,
    PARAMETERS,
    sample_negatives,
    to_matrix,
    train,
)
from batch.scoring import rank
from tests import worlds
from tests.worlds import Connection, Cutoff


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
        tables.build(connection, n_cuts=2)
        return candidates.pairs(connection, warehouse.user_ids(connection))


def shuffled(pairs: Pairs, seed: int) -> Pairs:
    """Put pairs in another order."""
    return pairs.take(np.random.default_rng(seed).permutation(len(pairs)))


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
    first, second = (train([ragged], ragged, ONE_THREAD, n_rounds=10) for _ in range(2))
    assert raw(first.booster) == raw(second.booster)
    assert first.curve == second.curve


@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_the_pairs_does_not_matter(ragged: Pairs, seed: int) -> None:
    """SQL gives its rows in any order."""
    expected = raw(train([ragged], ragged, ONE_THREAD, n_rounds=10).booster)
    mixed = shuffled(ragged, seed)
    assert raw(train([mixed], mixed, ONE_THREAD, n_rounds=10).booster) == expected


def test_the_number_of_threads_does_not_matter(ragged: Pairs) -> None:
    """Another machine learns the same."""
    one, two = (
        train([ragged], ragged, {"nthread": n}, n_rounds=10).booster for n in (1, 2)
    )
    assert raw(one) == raw(two)


def test_the_validation_decides_nothing(ragged: Pairs) -> None:
    """The hold-out stays one: other validation pairs, the same model."""
    other = replace(ragged, labels=(ragged.item_ids % 2).astype(np.float32))
    one, two = (
        train([ragged], pairs, ONE_THREAD, n_rounds=10) for pairs in (ragged, other)
    )
    assert raw(one.booster) == raw(two.booster)
    assert one.curve["training"] == two.curve["training"]
    assert one.curve["validation"] != two.curve["validation"]


def test_what_is_told_of_a_training(ragged: Pairs) -> None:
    """Its parameters, its features by name, and a curve that goes up."""
    trained = train([ragged], ragged, ONE_THREAD | {"max_depth": 3}, n_rounds=20)
    assert trained.parameters == PARAMETERS | ONE_THREAD | {
        "max_depth": 3,
        "n_rounds": 20,
    }
    assert trained.booster.feature_names == list(columns.FEATURES)
    assert trained.booster.num_boosted_rounds() == 20
    assert set(trained.curve) == {"training", "validation"}
    assert len(trained.curve["training"]) == len(trained.curve["validation"])
    assert len(trained.curve["training"]) == N_STAGES
    assert trained.curve["training"][-1] > trained.curve["training"][0] > 0
    assert trained.importance
    assert set(trained.importance) <= set(columns.FEATURES)


def test_parameters_of_one_training_are_not_those_of_the_next(ragged: Pairs) -> None:
    """What is given over the defaults leaves them as they are."""
    before = dict(PARAMETERS)
    train([ragged], ragged, {"eta": 0.9}, n_rounds=1)
    assert before == PARAMETERS


def test_without_a_validation_there_is_no_curve(ragged: Pairs) -> None:
    """And the model is the same."""
    drawn, bare = (
        train([ragged], pairs, ONE_THREAD, n_rounds=10) for pairs in (ragged, None)
    )
    assert bare.curve == {}
    assert raw(bare.booster) == raw(drawn.booster)


@pytest.mark.parametrize("n_rounds", [1, 9, 10, 25])
def test_stages_grow_as_many_trees_as_asked_for(ragged: Pairs, n_rounds: int) -> None:
    """Though they be no multiple of the stages, nor as many."""
    trained = train([ragged], None, ONE_THREAD, n_rounds)
    assert trained.booster.num_boosted_rounds() == n_rounds
    assert trained.parameters["n_rounds"] == n_rounds


def test_pairs_are_sorted_by_user_and_item() -> None:
    """Any rating that came next is relevant, and one that was liked a little more."""
    pairs = literal(
        [(2, 7, 0.0), (1, 9, 1.0), (1, 4, 0.0), (2, 3, 4.0), (1, 5, 3.5), (2, 1, 5.0)]
    )
    matrix = to_matrix(pairs.in_order())
    assert matrix.get_label().tolist() == [0.0, 3.0, 3.0, 4.0, 4.0, 0.0]
    assert matrix.get_group().tolist() == [3, 3]
    assert matrix.feature_names == ["item"]


# --- windows and stages --------------------------------------------------------------


def test_stages_learn_from_the_windows_in_turn(
    ragged: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with negatives of its own; a window without positives is left out."""
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


def test_every_window_has_a_say(ragged: Pairs) -> None:
    """One more, and the model is another."""
    other = replace(ragged, labels=(ragged.item_ids % 2).astype(np.float32))
    one, two = (
        train(windows, None, ONE_THREAD, n_rounds=10).booster
        for windows in ([ragged], [ragged, other])
    )
    assert raw(one) != raw(two)


def crowd(n_items: int) -> Pairs:
    """Make pairs of five users who each rated two of so many items."""
    users, items = range(1, 6), range(1, n_items + 1)
    return literal([(u, i, 5.0 if i <= 2 else 0.0) for u in users for i in items])


def test_a_stage_draws_a_share_of_the_negatives() -> None:
    """All positives stay; another seed draws others, the same the same."""
    pairs = crowd(n_items=2000)
    one, again, other = (sample_negatives(pairs, seed) for seed in (1, 1, 2))
    for some in (one, other):
        assert np.count_nonzero(some.labels) == np.count_nonzero(pairs.labels) == 10
        share = np.count_nonzero(some.labels == 0) / np.count_nonzero(pairs.labels == 0)
        assert NEGATIVE_SHARE - 0.03 < share < NEGATIVE_SHARE + 0.03
    assert one.as_table().equals(again.as_table())
    assert not one.as_table().equals(other.as_table())


def test_a_stage_draws_enough_negatives_of_a_small_sample() -> None:
    """About so many a user, or all that there are."""
    n_items = 2 + 2 * MIN_NEGATIVES
    n_drawn = np.count_nonzero(sample_negatives(crowd(n_items), 1).labels == 0)
    assert 0.8 < n_drawn / (5 * MIN_NEGATIVES) < 1.2
    assert len(sample_negatives(crowd(n_items=50), 1)) == 5 * 50


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
        train([literal(rows)], literal([(1, 10, 1.0), (1, 20, 0.0)]), n_rounds=1)


@pytest.mark.parametrize(("n_ratings", "n_positives"), [(3, 0), (4, 3)])
def test_four_ratings_are_enough(
    connection: Connection, n_ratings: int, n_positives: int
) -> None:
    """The error's message tells how many: the last three are learned from one."""
    users = 30
    world = worlds.World(
        [(u, i, 4.0, i) for u in range(1, users + 1) for i in range(1, n_ratings + 1)],
        [(item, None, []) for item in range(1, 41)],
        [(user, None, None, None) for user in range(1, users + 1)],
    )
    worlds.stage(connection, world)
    windows = [sampled(connection, moment) for moment in WINDOWS]
    n_labels = sum(np.count_nonzero(window.labels) for window in windows)
    assert n_labels == users * n_positives
    if n_positives:
        train(windows, n_rounds=1)
    else:
        with pytest.raises(BatchError, match="at least 4 ratings"):
            train(windows, n_rounds=1)


# --- what is learned -----------------------------------------------------------------


WINDOWS = (Cutoff(1, n_next=N_NEAR), Cutoff(2))
"""Those that the batch trains the model on that it evaluates."""


def sampled(connection: Connection, cutoff: Cutoff, every: int = 1) -> Pairs:
    """Sample the pairs of one in `every` users as of a moment."""
    tables.build(connection, *cutoff)
    return candidates.sample(connection, warehouse.user_ids(connection)[::every])


def dealt_out(pairs: Pairs, seed: int) -> Pairs:
    """Shuffle the labels of each user: as many of each, on any of their items."""
    ordered = pairs.in_order()
    order = np.lexsort(
        (np.random.default_rng(seed).random(len(pairs)), ordered.user_ids)
    )
    return replace(ordered, labels=ordered.labels[order])


def learned(
    connection: Connection,
    world: worlds.World,
    *labels_seeds: int | None,
    parameters: dict[str, str | int | float] | None = None,
    n_rounds: int = 30,
    every: int = 1,
) -> list[Evaluation]:
    """Train as the batch does and measure with one in `every` users.

    Once for each of the seeds, on labels dealt out by it; None leaves them as they are.
    """
    worlds.stage(connection, world)
    windows = [sampled(connection, moment) for moment in WINDOWS]
    tables.build(connection, n_cuts=1)
    user_ids = warehouse.user_ids(connection)[::every]
    found = []
    for seed in labels_seeds:
        dealt = windows
        if seed is not None:
            dealt = [dealt_out(window, seed + i) for i, window in enumerate(windows)]
        booster = train(dealt, None, parameters, n_rounds).booster
        lists = chain.from_iterable(
            rank.rank_users(connection, booster, user_ids, top_n=10)
        )
        found.append(evaluate(connection, lists))
    return found


def test_labels_are_dealt_out_within_each_user() -> None:
    """As many of each kind a user, and on other items."""
    pairs = crowd(n_items=100)
    dealt = dealt_out(shuffled(pairs, 0), seed=1)
    assert dealt.item_ids.tolist() == pairs.item_ids.tolist()
    assert dealt.labels.tolist() != pairs.labels.tolist()
    assert sorted(dealt.labels[:100]) == sorted(pairs.labels[:100])


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
    """The model is far above item-kNN; without the truth it is below popularity.

    Were there a way round the labels, as by a candidate that gives away that it was
    rated next, shuffling them would not undo it.
    """
    world = worlds.real(tmp_path)
    found, blind = learned(connection, world, None, 0, n_rounds=40, every=4)
    assert found.model.ndcg_at_10 > 1.3 * found.item_knn.ndcg_at_10
    # a model that learned nothing ranks by chance, and knows no popular items either
    assert blind.model.ndcg_at_10 < blind.popularity.ndcg_at_10


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
