from collections.abc import Iterator

import pytest
import xgboost

from batch import warehouse
from batch.features import candidates, tables
from batch.model import train
from batch.scoring import compiled, kernels
from tests import worlds
from tests.batch.scoring.cells import differing_cells
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


@pytest.mark.parametrize("n_thresholds", [None, 250, 100])
def test_every_cell_is_that_of_the_sql(
    ragged: Connection, n_thresholds: int | None
) -> None:
    """To the last bit, or with thresholds that are themselves values of the feature."""
    user_ids = warehouse.user_ids(ragged)
    assert differing_cells(ragged, user_ids, n_thresholds) == {}


@pytest.mark.slow
def test_every_cell_of_real_users_is_that_of_the_sql(real: Connection) -> None:
    """With their long histories, popular items and rare genres."""
    user_ids = warehouse.user_ids(real)[::56]
    assert differing_cells(real, user_ids) == {}


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
