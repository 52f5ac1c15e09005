"""Reads the tables of a cutoff into the arrays of the compiled scorer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch import warehouse
from batch.features import columns
from batch.scoring.forest import encoded_column
from batch.scoring.kernels import Codes, Doubles, Forest, Items, Longs, Users


def row_of(name: str) -> int:
    """Return the position of a feature in FEATURES."""
    return columns.FEATURES.index(name)


GAPS = {
    "seconds_since_rated": ("last_rated_at", "last_rated_at", -1),
    "release_year_gap": ("release_year", "avg_release_year", 1),
    "last_ten_release_year_gap": ("release_year", "last_ten_avg_release_year", 1),
    "position_share_gap": ("avg_position_share", "last_ten_avg_position_share", 1),
    "position_gap": ("avg_position", "n_ratings", 1),
    "n_history_gap": ("avg_n_history", "n_ratings", 1),
    "age_gap": ("avg_age", "age", 0),
}
"""Feature → attribute of the item, attribute of the user, and the kind of gap: 1 for
item minus user, -1 for user minus item, 0 for the absolute difference."""

ATTRIBUTES = tuple({item: None for item, _, _ in GAPS.values()})
USER_ATTRIBUTES = tuple({user: None for _, user, _ in GAPS.values()})

GROUPS = (
    columns.USER,
    columns.TREND,
    columns.AUDIENCE[1:],
    columns.GENRE,
    columns.SEQUENCE,
)


@dataclass(frozen=True)
class Catalogue:
    """The items as of a cutoff, and where to find them.

    Attributes:
        items: in the order of `item_ids`.
        item_ids: of shape (n_items,), ascending.
        weeks: ascending; the weeks in which some user's history ends.
        audiences: name → place.
        genres: name → place.
    """

    items: Items
    item_ids: npt.NDArray[np.int32]
    weeks: Longs
    audiences: Mapping[str, int]
    genres: Mapping[str, int]


def read_catalogue(connection: duckdb.DuckDBPyConnection, forest: Forest) -> Catalogue:
    """Read the items of a cutoff, encoded with the thresholds of a forest."""
    table = warehouse.fetch(connection, "marts/scorer_items", {})
    ids = table["item_id"].to_numpy()
    genres, genre_set, set_starts, set_genres = genre_sets(table["genres"])
    audiences, audience_codes = read_audiences(connection, ids, forest)
    weeks, week_codes = read_weeks(connection, ids, forest)
    sequence_starts, sequences = read_sequences(connection, ids)
    item_features = [
        encoded_column(forest, row_of(name), floats(table, name.removeprefix("item_")))
        for name in columns.ITEM
    ]
    gaps = [
        (row_of(name), ATTRIBUTES.index(item), USER_ATTRIBUTES.index(user), kind)
        for name, (item, user, kind) in GAPS.items()
    ]
    items = Items(
        codes=np.stack(item_features),
        first_code=row_of(columns.ITEM[0]),
        doubles=np.stack([doubles(table, name) for name in ATTRIBUTES]),
        gaps=np.array(gaps, np.int64),
        genre_set=genre_set,
        set_starts=set_starts,
        set_genres=set_genres,
        weeks=week_codes,
        audiences=audience_codes,
        sequence_starts=sequence_starts,
        sequences=sequences,
        films=np.searchsorted(ids, table["film_id"].to_numpy()).astype(np.int32),
        ineligible=np.flatnonzero(~table["is_eligible"].to_numpy()).astype(np.int32),
        rows=np.array([row_of(group[0]) for group in GROUPS], np.int64),
    )
    return Catalogue(items, ids, weeks, audiences, genres)


def read_users(
    connection: duckdb.DuckDBPyConnection, catalogue: Catalogue, user_ids: Sequence[int]
) -> Users:
    """Read a block of users, in ascending order; all have a history at the cutoff."""
    wanted = {"user_ids": list(user_ids)}
    table = warehouse.fetch(connection, "marts/scorer_users", wanted)
    history = warehouse.fetch(connection, "marts/scorer_histories", wanted)
    genres = warehouse.fetch(connection, "marts/scorer_genres", wanted)
    week = table["week"].to_numpy()
    is_known = np.isin(week, catalogue.weeks)
    week_places = np.where(is_known, np.searchsorted(catalogue.weeks, week), -1)
    weights = "is_recent is_liked slow_weight weight fast_weight"
    shares = "history_share recent_share liked_share avg_liking history_lift"
    rated = np.searchsorted(catalogue.item_ids, history["item_id"].to_numpy())
    genre_places = places(genres["genre"], catalogue.genres)
    names = [name.removeprefix("user_") for name in columns.USER]
    return Users(
        ids=np.asarray(user_ids, np.int64),
        floats=np.column_stack([floats(table, name) for name in names]),
        doubles=np.column_stack([doubles(table, name) for name in USER_ATTRIBUTES]),
        places=np.column_stack(
            [
                week_places,
                places(table["age_audience"], catalogue.audiences),
                places(table["occupation_audience"], catalogue.audiences),
            ]
        ),
        history_starts=starts(history["user_id"].to_numpy(), user_ids),
        history=rows_of(rated, history, weights.split(), np.int32),
        genre_starts=starts(genres["user_id"].to_numpy(), user_ids),
        genres=rows_of(genre_places, genres, shares.split(), np.int64),
    )


def split(users: Users, size: int) -> Iterator[Users]:
    """Split a block of users into parts of at most `size`, without copies."""
    for first in range(0, len(users.floats), size):
        last = min(first + size, len(users.floats))
        own = slice(first, last)
        histories = users.history_starts[first : last + 1]
        genres = users.genre_starts[first : last + 1]
        yield Users(
            ids=users.ids[own],
            floats=users.floats[own],
            doubles=users.doubles[own],
            places=users.places[own],
            history_starts=histories - histories[0],
            history=users.history[histories[0] : histories[-1]],
            genre_starts=genres - genres[0],
            genres=users.genres[genres[0] : genres[-1]],
        )


def genre_sets(column: pa.ChunkedArray) -> tuple[dict[str, int], Any, Longs, Any]:
    """Number the genres, and the sets of genres that items have.

    Returns:
        Genre → place, each item's set (-1 for none), where each set's genres start, and
        the genres of all sets.
    """
    of_items = [tuple(genres or ()) for genres in column.to_pylist()]
    sets = sorted(set(of_items) - {()})
    genres = {name: i for i, name in enumerate(sorted({g for s in sets for g in s}))}
    numbers = {genres_: i for i, genres_ in enumerate(sets)} | {(): -1}
    lengths = [len(genres_) for genres_ in sets]
    return (
        genres,
        np.array([numbers[genres_] for genres_ in of_items], np.int64),
        np.cumsum([0, *lengths]).astype(np.int64),
        np.array([genres[g] for s in sets for g in s], np.int64),
    )


def read_audiences(
    connection: duckdb.DuckDBPyConnection, ids: npt.NDArray[np.int32], forest: Forest
) -> tuple[dict[str, int], Codes]:
    """Return audience → place, and the codes by audience, feature and item.

    The last row is for users of no audience.
    """
    table = connection.table("int_item_audiences").to_arrow_table()
    names = sorted(set(table["audience"].to_pylist()) - {None})
    numbers = {name: i for i, name in enumerate(names)}
    lifts = np.full((len(names) + 1, len(ids)), np.nan, np.float32)
    items = np.searchsorted(ids, table["item_id"].to_numpy())
    lifts[places(table["audience"], numbers), items] = floats(table, "lift")
    lifts[-1] = np.nan
    codes = [
        encoded_column(forest, row_of(name), lifts) for name in columns.AUDIENCE[1:]
    ]
    return numbers, np.stack(codes, axis=1)


def read_weeks(
    connection: duckdb.DuckDBPyConnection, ids: npt.NDArray[np.int32], forest: Forest
) -> tuple[Longs, Codes]:
    """Return the weeks, and the codes by week, feature and item.

    The last row is for users whose week is not in the table. The table has up to
    one row per item and week, so it is read in parts.
    """
    table = connection.table("int_item_weeks")
    found = table.project("week").distinct().order("week").to_arrow_table()
    weeks = found["week"].to_numpy().astype(np.int64)
    names = [name.removeprefix("item_") for name in columns.TREND[:2]]
    codes = np.full(
        (len(weeks) + 1, len(names), len(ids)), forest.missing, forest.cuts.dtype
    )
    for batch in table.to_arrow_reader(100_000):
        part = pa.Table.from_batches([batch])
        week = np.searchsorted(weeks, part["week"].to_numpy())
        item = np.searchsorted(ids, part["item_id"].to_numpy())
        for i, name in enumerate(names):
            row = row_of(columns.TREND[i])
            codes[week, i, item] = encoded_column(forest, row, floats(part, name))
    return weeks, codes


def read_sequences(
    connection: duckdb.DuckDBPyConnection, ids: npt.NDArray[np.int32]
) -> tuple[Longs, npt.NDArray[np.int32]]:
    """Return where each item's rows start, and the rows: other item, then numbers."""
    table = warehouse.fetch(connection, "marts/scorer_sequences", {})
    others = np.searchsorted(ids, table["other_item_id"].to_numpy())
    names = "next_share next_similarity previous_similarity session_similarity"
    rows = rows_of(others, table, names.split(), np.int32)
    return starts(table["item_id"].to_numpy(), ids), rows


def rows_of(
    first: npt.NDArray[Any], table: pa.Table, names: Sequence[str], kind: type
) -> npt.NDArray[Any]:
    """Return rows of integers: `first`, then the named columns of a table."""
    rows: npt.NDArray[Any] = np.empty((len(first), 1 + len(names)), kind)
    rows[:, 0] = first
    for i, name in enumerate(names, start=1):
        rows[:, i] = table[name].cast(pa.int64()).to_numpy()
    return rows


def starts(
    sorted_ids: npt.NDArray[Any], ids: Sequence[int] | npt.NDArray[Any]
) -> Longs:
    """Return where each id's rows start and the last ones end; `ids` are ascending."""
    first = np.searchsorted(sorted_ids, ids, side="left")
    return np.append(first, len(sorted_ids)).astype(np.int64)


def places(column: pa.ChunkedArray, numbers: Mapping[str, int]) -> Longs:
    """Return the place of each name, or -1 if it has none."""
    names = column.combine_chunks().dictionary_encode()
    of_names = [numbers.get(name, -1) for name in names.dictionary.to_pylist()]
    rows = names.indices.fill_null(len(of_names)).to_numpy(zero_copy_only=False)
    found: Longs = np.array([*of_names, -1], np.int64)[rows]
    return found


def doubles(table: pa.Table, name: str) -> Doubles:
    """Return a column as 64-bit floats, NaN where it is null."""
    column = table[name].cast(pa.float64()).to_numpy()
    return np.ascontiguousarray(column, np.float64)


def floats(table: pa.Table, name: str) -> npt.NDArray[np.float32]:
    """Return a column as 32-bit floats, the type of the features."""
    return doubles(table, name).astype(np.float32)
