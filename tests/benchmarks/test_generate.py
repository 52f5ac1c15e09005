from pathlib import Path

import duckdb
import numpy as np
import pytest

from batch.ingest import load, release, rules
from tests.benchmarks.generate import generate
from tests.benchmarks.shapes import SHAPES, Shape

every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def counts(folder: Path) -> dict[str, int]:
    """Read a folder as the batch does, and count what is in it."""
    with duckdb.connect() as connection:
        load.read(connection, release.find(folder, folder / "unpacked"))
        rules.check(connection)
        query = """
            select
                (select count(distinct user_id) from stg_ratings),
                (select count(*) from stg_items),
                (select count(distinct item_id) from stg_ratings),
                (select count(*) from stg_ratings),
                max(count(*)) over ()
            from stg_ratings
            group by item_id
            limit 1
        """
        row = connection.execute(query).fetchone()
    assert row is not None
    return dict(zip(("users", "items", "rated", "ratings", "top"), row, strict=True))


@every_shape
def test_histories_add_up_to_the_ratings(shape: Shape) -> None:
    lengths = shape.history_lengths(shape.n_users)
    assert lengths.sum() == shape.n_ratings
    assert np.median(lengths) == pytest.approx(shape.median_history, rel=0.1)
    assert 20 <= lengths.min() <= 23
    assert 0.8 * shape.longest_history < lengths.max() <= shape.longest_history


@every_shape
def test_the_batch_reads_what_is_generated(tmp_path: Path, shape: Shape) -> None:
    """A slice has the release's form and all of its items, and breaks no rule."""
    generate(shape, tmp_path, n_users=150)
    found = counts(tmp_path)
    assert (found["users"], found["items"]) == (150, shape.n_items)
    assert found["ratings"] == shape.history_lengths(150).sum()


def test_a_whole_release_has_its_numbers(tmp_path: Path) -> None:
    generate(SHAPES["ml-100k"], tmp_path, SHAPES["ml-100k"].n_users)
    found = counts(tmp_path)
    assert (found["users"], found["items"], found["ratings"]) == (943, 1682, 100_000)
    assert found["rated"] > 0.8 * 1682
    assert found["top"] == pytest.approx(SHAPES["ml-100k"].counts[1], rel=0.3)


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    texts = []
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        generate(SHAPES["ml-1m"], tmp_path / name, 60, seed)
        files = sorted((tmp_path / name).iterdir())
        assert [path.name for path in files] == [
            *("movies.dat", "ratings.dat", "users.dat")
        ]
        texts.append([path.read_bytes() for path in files])
    assert texts[0] == texts[1]
    assert texts[0][0] != texts[2][0]
    assert texts[0][1] != texts[2][1]
