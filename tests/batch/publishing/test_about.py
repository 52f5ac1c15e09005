from pathlib import Path

from batch import warehouse
from batch.publishing import about
from lookup.shared.contract import About
from tests import worlds


def test_about_a_small_world(tmp_path: Path) -> None:
    """Genres sorted, examples spread over the users, metrics as they are given."""
    metrics = {"model": {"ndcg_at_10": 0.25}}
    with warehouse.connect(tmp_path) as connection:
        items: list[tuple[int, int | None, list[str]]] = [
            (1, 1990, ["War", "Drama"]),
            (2, None, ["Drama"]),
            (3, 1991, []),
        ]
        worlds.stage(connection, worlds.World([], items, []))
        told = about.read(connection, range(1, 25), "by time", metrics)
    examples = [1, 4, 7, 10, 13, 16, 19, 22]
    assert told == About(24, 3, ["Drama", "War"], examples, "by time", metrics)
