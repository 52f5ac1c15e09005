import math
from pathlib import Path

import numpy as np
import pytest

from batch import warehouse
from tests.benchmarks import frame, order

SEQUENCES = [[30, 10, 20, 40], [10, 20, 30], [10, 50]]


def test_the_batch_reads_the_order_without_the_last_items(tmp_path: Path) -> None:
    order.write(SEQUENCES, tmp_path / "ml-1m")
    with frame.staged(tmp_path / "ml-1m") as (_, connection):
        assert warehouse.count(connection, "stg_items") == 5
        warehouse.build(connection, "intermediate/int_ratings", {})
        query = "select user_id, item_id from int_ratings order by user_id, position"
        assert connection.sql(query).fetchall() == [
            *((1, 30), (1, 10), (1, 20), (2, 10), (2, 20), (3, 10))
        ]


def test_ranks_of_the_last_items() -> None:
    """By popularity 10, 20, 30 have 3, 2 and 1 ratings, and 40 and 50 none."""
    ranks = order.baselines(SEQUENCES)
    assert ranks["popularity"].tolist() == [1, 1, 4]
    lists = {1: [50, 40], 2: [40, 50], 3: [20, 30, 50]}
    assert order.of_lists(SEQUENCES, lists).tolist() == [2, math.inf, 3]
    found = order.metrics(np.array([1, 3, 10, 11, math.inf]))
    assert found["hit_rate_at_10"] == 3 / 5
    assert found["ndcg_at_10"] == pytest.approx((1 + 1 / 2 + 1 / math.log2(11)) / 5)
