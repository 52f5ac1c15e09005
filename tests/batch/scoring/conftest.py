from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
import xgboost

from batch import warehouse
from batch.features import base_scores, tables
from batch.model import base_margin, train
from batch.scoring import rank
from tests import worlds
from tests.worlds import Connection

Lists = Mapping[int, Sequence[tuple[int, float]]]

SEEN_ALL = 50
"""A user of the ragged world of this folder who has rated every item."""


def lists(
    connection: Connection,
    booster: xgboost.Booster,
    top_n: int,
    user_ids: Sequence[int] | None = None,
    scorer: str = "compiled",
    scheduler: str | None = None,
) -> Lists:
    """Rank for some or all users: user_id → (item_id, score), best first."""
    if user_ids is None:
        user_ids = warehouse.user_ids(connection)
    blocks = rank.rank_users(connection, booster, user_ids, top_n, scorer, scheduler)
    return {
        ranking.user_id: list(
            zip(ranking.item_ids.tolist(), ranking.scores.tolist(), strict=True)
        )
        for block in blocks
        for ranking in block
    }


@pytest.fixture(scope="package")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Build the features of a ragged world as of now, with a user who has seen all."""
    world = worlds.ragged()
    everything = [(SEEN_ALL, i, 4.0, 900_000_000 + i) for i, _, _ in world.items]
    world = worlds.World(
        [*world.ratings, *everything],
        world.items,
        [*world.users, (SEEN_ALL, None, None, None)],
    )
    with warehouse.connect(tmp_path_factory.mktemp("spill")) as connection:
        worlds.stage(connection, world)
        tables.build(connection, n_cuts=0)
        yield connection


@pytest.fixture(scope="package")
def booster(tmp_path_factory: pytest.TempPathFactory) -> xgboost.Booster:
    """Train a model that looks at many features, and begins at base margins."""
    pairs = worlds.ragged_pairs(tmp_path_factory.mktemp("spill"))
    parameters = {"nthread": 1, "min_child_weight": 0.0}
    booster = train.train([pairs], pairs, parameters, n_rounds=30).booster
    draw = np.random.default_rng(0)
    base_margin.write(booster, draw.normal(size=(2, len(base_scores.COLUMNS))))
    return booster
