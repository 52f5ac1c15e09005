from pathlib import Path

import duckdb
import numpy as np
import pytest

from batch import warehouse
from batch.ingest import load, release
from tests.benchmarks.generate import generate
from tests.benchmarks.shapes import SHAPES, Shape
from tests.sql import raw

every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def counts(folder: Path, query: str) -> tuple[object, ...]:
    """Read a folder as the batch does, and ask one row of it."""
    with duckdb.connect() as connection:
        load.read(connection, release.find(folder, folder / "unpacked"))
        warehouse.check(connection)
        (row,) = raw.rows(connection, query)
    return row


@every_shape
def test_histories_and_items_add_up_to_the_ratings(shape: Shape) -> None:
    """The published sums, medians and extremes are met by the laws."""
    lengths, items = shape.history_lengths(shape.n_users), shape.item_counts()
    assert lengths.sum() == shape.n_ratings
    assert items.sum() == pytest.approx(shape.n_ratings)
    assert np.median(lengths) == pytest.approx(shape.median_history, abs=1)
    assert 20 <= lengths.min() <= 22
    assert 0.8 * shape.longest_history < lengths.max() <= shape.longest_history
    assert items[0] == pytest.approx(shape.counts[1])
    assert (np.diff(items) <= 0).all()
    assert 1 <= items[-1] < 1.5


@every_shape
def test_the_batch_reads_what_is_generated(tmp_path: Path, shape: Shape) -> None:
    """A slice is the release's form, has all of its items, and breaks no rule."""
    generate(shape, tmp_path, n_users=150)
    n_users, n_items, n_ratings, longest = counts(
        tmp_path,
        """
        select
            (select count(distinct user_id) from stg_ratings),
            (select count(*) from stg_items),
            (select count(*) from stg_ratings),
            (select max(n) from (
                select count(*) as n from stg_ratings group by user_id
            ))
        """,
    )
    assert (n_users, n_items) == (150, shape.n_items)
    lengths = shape.history_lengths(150)
    assert (n_ratings, longest) == (lengths.sum(), lengths.max())


def test_a_whole_release_has_its_numbers(tmp_path: Path) -> None:
    """Every item is rated, the popular ones about as often as they should be."""
    shape = SHAPES["ml-100k"]
    generate(shape, tmp_path, shape.n_users)
    n_users, n_rated, n_ratings, top, earliest, latest = counts(
        tmp_path,
        """
        select
            (select count(*) from stg_users),
            (select count(distinct item_id) from stg_ratings),
            (select count(*) from stg_ratings),
            (select max(n) from (
                select count(*) as n from stg_ratings group by item_id
            )),
            (select min(rated_at) from stg_ratings),
            (select max(rated_at) from stg_ratings)
        """,
    )
    assert (n_users, n_rated, n_ratings) == (943, 1682, 100_000)
    assert isinstance(top, int)
    assert 0.7 * shape.counts[1] < top < 1.3 * shape.counts[1]
    assert (earliest, latest) > (shape.began_at - 1, 0)
    assert isinstance(latest, int)
    assert latest <= shape.ended_at


@pytest.mark.slow
def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    """And another seed others."""
    texts = []
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        generate(SHAPES["ml-1m"], tmp_path / name, 60, seed)
        files = sorted((tmp_path / name).iterdir())
        names = ["movies.dat", "ratings.dat", "users.dat"]
        assert [path.name for path in files] == names
        texts.append([path.read_bytes() for path in files])
    assert texts[0] == texts[1]
    assert texts[0][0] != texts[2][0]
    assert texts[0][1] != texts[2][1]
