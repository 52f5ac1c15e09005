from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import xgboost

from batch import warehouse
from batch.features import candidates, tables
from batch.features.candidates import FEATURES
from batch.model import train
from batch.scoring import arrays, compiled, kernels, rank
from batch.scoring.forest import encoded_column
from batch.scoring.kernels import Forest
from batch.scoring.ranking import Ranking
from tests import worlds
from tests.worlds import Connection


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Give a ragged world, before its last ratings."""
    with warehouse.connect(tmp_path_factory.mktemp("spill")) as connection:
        worlds.stage(connection, worlds.ragged())
        tables.build(connection, n_cuts=1)
        yield connection


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Give the real release as of the hold-out."""
    folder = tmp_path_factory.mktemp("real")
    with warehouse.connect(folder / "spill") as connection:
        worlds.stage(connection, worlds.real(folder))
        tables.build(connection, n_cuts=1)
        yield connection


def booster_of(connection: Connection, n_rounds: int = 30) -> xgboost.Booster:
    """Train a model that looks at many features."""
    user_ids = candidates.every(warehouse.user_ids(connection), 100)
    pairs = candidates.pairs(connection, user_ids)
    parameters = {"nthread": 1, "min_child_weight": 0.0}
    return train.train([pairs], None, parameters, n_rounds).booster


def sharp_forest(pairs: candidates.Pairs, n_thresholds: int) -> Forest:
    """Make a forest that compares each feature with values which pairs really have."""
    thresholds = []
    for name in FEATURES:
        values = np.unique(pairs.values[name].to_numpy())
        known = values[~np.isnan(values)]
        chosen = np.linspace(0, len(known) - 1, min(n_thresholds, len(known)))
        thresholds.append(known[chosen.astype(int)])
    return compiled.stump()._replace(
        thresholds=np.concatenate(thresholds).astype(np.float32),
        threshold_starts=np.cumsum([0, *map(len, thresholds)]).astype(np.int64),
    )


def differing_cells(
    connection: Connection, user_ids: Sequence[int], n_thresholds: int
) -> dict[str, int]:
    """Count the cells of each feature that the kernels fill otherwise than the SQL."""
    pairs = candidates.pairs(connection, user_ids)
    forest = sharp_forest(pairs, n_thresholds)
    moment = arrays.read_moment(connection, forest)
    users = arrays.read_users(connection, moment, user_ids)
    scratch = compiled.scratch_for(moment.items, forest)
    scratch.codes[moment.items.first_code :][: len(candidates.ITEM)] = (
        moment.items.codes
    )
    items = np.searchsorted(moment.item_ids, pairs.item_ids)
    of_pairs = np.zeros((len(FEATURES), len(pairs)), np.uint8)
    for u, user_id in enumerate(user_ids):
        kernels.fill(u, users, moment.items, forest, scratch)
        own = pairs.user_ids == user_id
        of_pairs[:, own] = scratch.codes[:, items[own]]
    found = {}
    for row, name in enumerate(FEATURES):
        values = pairs.values[name].to_numpy()
        expected = encoded_column(forest, row, values)
        found[name] = int(np.count_nonzero(of_pairs[row] != expected))
    return {name: n for name, n in found.items() if n}


def lists(rankings: Iterator[Ranking]) -> list[tuple[int, list[int], list[float]]]:
    """Make rankings comparable."""
    return [(r.user_id, r.item_ids.tolist(), r.scores.tolist()) for r in rankings]


@pytest.mark.parametrize("n_thresholds", [250, 100])
def test_every_cell_is_that_of_the_sql(ragged: Connection, n_thresholds: int) -> None:
    """Compared at thresholds that are themselves values of the feature."""
    user_ids = warehouse.user_ids(ragged)
    assert differing_cells(ragged, user_ids, n_thresholds) == {}


@pytest.mark.slow
def test_every_cell_of_real_users_is_that_of_the_sql(real: Connection) -> None:
    """The long histories, popular items and rare genres of the real release."""
    user_ids = warehouse.user_ids(real)[::18]
    assert differing_cells(real, user_ids, n_thresholds=100) == {}


@pytest.mark.parametrize("top_n", [1, 10, 1000])
def test_lists_are_those_of_the_plain_way(ragged: Connection, top_n: int) -> None:
    """Items, order and scores, to the last bit."""
    booster, user_ids = booster_of(ragged), warehouse.user_ids(ragged)
    plain = lists(rank.score(ragged, booster, user_ids, top_n, "xgboost"))
    assert lists(rank.score(ragged, booster, user_ids, top_n, "compiled")) == plain


@pytest.mark.slow
def test_lists_of_the_real_release_are_those_of_the_plain_way(real: Connection) -> None:
    """For every user, with a model of 200 trees."""
    booster, user_ids = booster_of(real, 200), warehouse.user_ids(real)
    plain = lists(rank.score(real, booster, user_ids, 100, "xgboost"))
    assert lists(rank.score(real, booster, user_ids, 100, "compiled")) == plain


def test_blocks_and_tasks_change_nothing(
    ragged: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However users are parted."""
    booster, user_ids = booster_of(ragged), warehouse.user_ids(ragged)
    whole = lists(rank.score(ragged, booster, user_ids, 10))
    monkeypatch.setattr(compiled, "USERS_PER_BLOCK", 7)
    monkeypatch.setattr(compiled.Threads, "users_per_task", 3)
    assert lists(rank.score(ragged, booster, user_ids, 10)) == whole


def test_sql_that_the_kernels_do_not_follow_is_noticed(
    ragged: Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who changes a feature in SQL alone gets lists of the new feature, and a word."""
    booster, user_ids = booster_of(ragged), warehouse.user_ids(ragged)
    read = warehouse.read

    def changed(model: str) -> str:
        query = read(model)
        wanted = "items.n_ratings::float as item_n_ratings"
        return query.replace(wanted, "(-items.n_ratings)::float as item_n_ratings")

    monkeypatch.setattr(warehouse, "read", changed)
    plain = lists(rank.score(ragged, booster, user_ids, 10, "xgboost"))
    assert lists(rank.score(ragged, booster, user_ids, 10, "compiled")) == plain
    assert "batch/scoring/kernels.py" in caplog.text


def test_a_model_that_cannot_be_compiled_is_scored_by_xgboost(
    ragged: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning that says why."""
    pairs = candidates.pairs(ragged, warehouse.user_ids(ragged))
    matrix = train.to_matrix(pairs.in_order())
    parameters = {"booster": "dart", "objective": "rank:ndcg", "rate_drop": 0.5}
    booster = xgboost.train(parameters, matrix, 3)
    user_ids = warehouse.user_ids(ragged)
    plain = lists(rank.score(ragged, booster, user_ids, 10, "xgboost"))
    assert lists(rank.score(ragged, booster, user_ids, 10, "compiled")) == plain
    assert "its booster is dart" in caplog.text


def test_machine_code_is_made_once() -> None:
    """Warming up makes just the code that scoring needs."""
    compiled.warm_up()
    before = len(kernels.rank.signatures)
    compiled.warm_up()
    assert len(kernels.rank.signatures) == before


def test_nobody_is_ranked_nothing(ragged: Connection) -> None:
    """No users, no lists."""
    assert lists(rank.score(ragged, booster_of(ragged), [], 10)) == []
