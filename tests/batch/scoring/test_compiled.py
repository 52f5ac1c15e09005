from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import xgboost

from batch import warehouse
from batch.features import candidates, columns, tables
from batch.features.columns import FEATURES
from batch.model import train
from batch.scoring import arrays, compiled, kernels
from batch.scoring.forest import encoded_column
from batch.scoring.kernels import Forest
from tests import worlds
from tests.batch.scoring.conftest import lists
from tests.worlds import Connection


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Build the features of the real release as of the hold-out."""
    folder = tmp_path_factory.mktemp("real")
    with warehouse.connect(folder / "spill") as connection:
        worlds.stage(connection, worlds.real(folder))
        tables.build(connection, n_cuts=1)
        yield connection


def sharp_forest(pairs: candidates.Pairs, n_thresholds: int) -> Forest:
    """Make a forest whose thresholds are values that the features really have."""
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
    """Count the cells of each feature in which the kernels differ from the SQL."""
    pairs = candidates.pairs(connection, user_ids)
    forest = sharp_forest(pairs, n_thresholds)
    catalogue = arrays.read_catalogue(connection, forest)
    items = catalogue.items
    users = arrays.read_users(connection, catalogue, user_ids)
    scratch = compiled.scratch_for(items, forest)
    scratch.codes[items.first_code :][: len(columns.ITEM)] = items.codes
    places = np.searchsorted(catalogue.item_ids, pairs.item_ids)
    of_pairs = np.zeros((len(FEATURES), len(pairs)), np.uint8)
    for u, user_id in enumerate(user_ids):
        kernels.encode_user(u, users, items, forest, scratch)
        own = pairs.user_ids == user_id
        of_pairs[:, own] = scratch.codes[:, places[own]]
    found = {}
    for row, name in enumerate(FEATURES):
        expected = encoded_column(forest, row, pairs.values[name].to_numpy())
        found[name] = int(np.count_nonzero(of_pairs[row] != expected))
    return {name: n for name, n in found.items() if n}


@pytest.mark.parametrize("n_thresholds", [250, 100])
def test_every_cell_is_that_of_the_sql(ragged: Connection, n_thresholds: int) -> None:
    """With thresholds that are themselves values of the feature."""
    user_ids = warehouse.user_ids(ragged)
    assert differing_cells(ragged, user_ids, n_thresholds) == {}


@pytest.mark.slow
def test_every_cell_of_real_users_is_that_of_the_sql(real: Connection) -> None:
    """With their long histories, popular items and rare genres."""
    user_ids = warehouse.user_ids(real)[::18]
    assert differing_cells(real, user_ids, n_thresholds=100) == {}


@pytest.mark.slow
def test_lists_of_the_real_release_are_those_of_the_plain_way(real: Connection) -> None:
    """For every user, with a model of 200 trees."""
    user_ids = candidates.evenly_spaced(warehouse.user_ids(real), 100)
    pairs = candidates.pairs(real, user_ids)
    parameters = {"nthread": 1, "min_child_weight": 0.0}
    booster = train.train([pairs], None, parameters, 200).booster
    assert lists(real, booster, 100) == lists(real, booster, 100, scorer="xgboost")


def test_scoring_compiles_nothing_after_warming_up(
    ragged: Connection, booster: xgboost.Booster
) -> None:
    compiled.warm_up()
    n_signatures = len(kernels.rank.signatures)
    lists(ragged, booster, 10)
    assert len(kernels.rank.signatures) == n_signatures
