"""How well the lists predict each user's next item, from the order of items alone.

    python -m tests.benchmarks.order --sequences FILE [--json]

FILE has a line a user: the ids of items in the order in which the user rated them. The
last one is held out. The others are written in ml-1m's form without users, a minute
apart and with four stars each, and `python -m batch run` makes the lists in an empty
folder. NDCG@10 and the hit rate of these lists and of two baselines are counted here.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from batch.features import item_models
from tests.benchmarks import frame, scale

K = 10
STARTED_AT = 978_300_000

Sequences = Sequence[Sequence[int]]
Ranks = npt.NDArray[np.float64]


def main() -> None:
    """Print a table, and with `--json` one JSON line after it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", type=Path, required=True, metavar="FILE")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    lines = arguments.sequences.read_text().splitlines()
    sequences = [list(map(int, line.split())) for line in lines]
    ranks: dict[str, Ranks] = {}
    with tempfile.TemporaryDirectory() as folder:
        raw, clone = Path(folder) / "ml-1m", Path(folder) / "clone"
        clone.mkdir()
        write(sequences, raw)
        cost = scale.run(raw, clone)
        ranks |= baselines(sequences)
        ranks["MovieLens-XGB"] = of_lists(sequences, read_lists(clone))
    results = {name: metrics(of) for name, of in ranks.items()}
    frame.header(f"{len(sequences):,} users", "NDCG@10", "HR@10")
    for name, found in results.items():
        frame.row(name, *found.values())
    print(
        f"\nfirst run: {cost['seconds']['total']:.0f} s, of which features "
        f"{cost['seconds']['features']:.0f} and training "
        f"{cost['seconds']['train']:.0f}; at most {cost['peak_bytes'] / 2**30:.2f} GiB"
    )
    frame.finish(arguments, {"metrics": results, "run": cost})


def write(sequences: Sequences, folder: Path) -> None:
    """Write all items but the last of each sequence as ratings of a user."""
    folder.mkdir()
    items = sorted({item for sequence in sequences for item in sequence})
    movies = [f"{item}::Item {item}::(no genres listed)" for item in items]
    ratings = [
        f"{user}::{item}::4::{STARTED_AT + 60 * minute}"
        for user, sequence in enumerate(sequences, start=1)
        for minute, item in enumerate(sequence[:-1])
    ]
    for name, rows in (("movies.dat", movies), ("ratings.dat", ratings)):
        (folder / name).write_text("\n".join(rows) + "\n")


def read_lists(folder: Path) -> dict[int, list[int]]:
    """Return user → the first ten items of the list that a run has written."""
    [path] = folder.glob("data/processed/recommendations/*.parquet")
    lists: dict[int, list[int]] = {}
    table = pq.read_table(path, filters=[("rank", "<=", K)])
    for row in table.sort_by(
        [("user_id", "ascending"), ("rank", "ascending")]
    ).to_pylist():
        lists.setdefault(row["user_id"], []).append(row["item_id"])
    return lists


def of_lists(sequences: Sequences, lists: Mapping[int, Sequence[int]]) -> Ranks:
    """Return the rank of each user's last item, from 1; infinite if it isn't listed."""
    ranks = np.full(len(sequences), np.inf)
    for row, sequence in enumerate(sequences):
        listed = [*lists.get(row + 1, ())]
        if sequence[-1] in listed:
            ranks[row] = 1 + listed.index(sequence[-1])
    return ranks


def baselines(sequences: Sequences) -> dict[str, Ranks]:
    """Return the ranks that popularity and EASE over all items give."""
    items = sorted({item for sequence in sequences for item in sequence})
    column = {item: i for i, item in enumerate(items)}
    seen = np.zeros((len(sequences), len(items)))
    for row, sequence in enumerate(sequences):
        seen[row, [column[item] for item in sequence[:-1]]] = 1
    last = np.array([column[sequence[-1]] for sequence in sequences])
    inverse = item_models.inverted(seen.T @ seen, item_models.PENALTY)
    weights = item_models.ease(inverse)
    return {
        "popularity": ranks_of(last, np.where(seen, -np.inf, seen.sum(axis=0))),
        "EASE": ranks_of(last, np.where(seen, -np.inf, seen @ weights)),
    }


def ranks_of(last: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> Ranks:
    """Return the rank of each row's column; of equal scores the first column leads."""
    own = np.take_along_axis(scores, last[:, None], axis=1)
    is_before = np.arange(scores.shape[1]) < last[:, None]
    leads = (scores > own) | (is_before & (scores == own))
    ranks: Ranks = 1.0 + leads.sum(axis=1)
    return ranks


def metrics(ranks: Ranks) -> dict[str, float]:
    """Return NDCG@10 and the hit rate of one relevant item a user."""
    gains = np.where(ranks <= K, 1 / np.log2(ranks + 1), 0)
    return {"ndcg_at_10": gains.mean(), "hit_rate_at_10": (ranks <= K).mean()}


if __name__ == "__main__":
    main()
