"""What the compiled scorer knows of a moment: its tables, as arrays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch import warehouse
from batch.features import candidates, item_models
from batch.scoring.forest import encoded_column
from batch.scoring.kernels import Codes, Doubles, Forest, Items, Longs, Users


def row_of(name: str) -> int:
    """Return a feature's place."""
    return candidates.FEATURES.index(name)


ATTRIBUTES = (
    "last_rated_at",
    "release_year",
    "avg_position_share",
    "avg_position",
    "avg_n_history",
    "avg_age",
)
USER_ATTRIBUTES = (
    "last_rated_at",
    "avg_release_year",
    "last_ten_avg_release_year",
    "last_ten_avg_position_share",
    "n_ratings",
    "age",
)
GAPS = {
    "seconds_since_rated": ("last_rated_at", "last_rated_at", -1),
    "release_year_gap": ("release_year", "avg_release_year", 1),
    "last_ten_release_year_gap": ("release_year", "last_ten_avg_release_year", 1),
    "position_share_gap": ("avg_position_share", "last_ten_avg_position_share", 1),
    "position_gap": ("avg_position", "n_ratings", 1),
    "n_history_gap": ("avg_n_history", "n_ratings", 1),
    "age_gap": ("avg_age", "age", 0),
}
"""Feature → attributes of item and user, and 1 for item less user, -1 for user less
item, 0 for how far they are apart."""

GROUPS = (
    candidates.USER,
    candidates.TREND,
    candidates.AUDIENCE[1:],
    candidates.GENRE,
    candidates.TASTE,
    candidates.SEQUENCE,
    candidates.LINEAR,
)
WEIGHTED, PLAIN = 10_000_000_000, 1_000_000
SCALES = (
    (PLAIN, WEIGHTED, WEIGHTED, PLAIN, PLAIN, PLAIN, PLAIN),
    (WEIGHTED,) * 7,
)
"""Of similarities in millionths, and of these times weights in ten-thousandths."""

STATES = ("whole", "slow", "recent", "soon", "liked")


@dataclass(frozen=True)
class Moment:
    """What is the same for all users, and how to find it.

    Attributes:
        items: their places are those of `item_ids`.
        item_ids: of shape (n_items,), rising.
        known_ids: of shape (n_known,), rising; of the items linear models know.
        weeks: rising; those that some user's history ends in.
        audiences: name → place.
        genres: name → place.
    """

    items: Items
    item_ids: npt.NDArray[np.int32]
    known_ids: npt.NDArray[np.int32]
    weeks: Longs
    audiences: Mapping[str, int]
    genres: Mapping[str, int]


def read_moment(connection: duckdb.DuckDBPyConnection, forest: Forest) -> Moment:
    """Read what is known of the items, in the codes of a forest.

    Args:
        connection: holds the moment's tables.
        forest: with the features in the order of FEATURES.
    """
    table = warehouse.fetch(connection, "marts/scorer_items", {})
    ids = table["item_id"].to_numpy()
    genres, genre_set, set_starts, set_genres = genre_sets(table["genres"])
    audiences, audience_codes = read_audiences(connection, ids, forest)
    weeks, week_codes = read_weeks(connection, ids, forest)
    near_starts, near = grouped(
        connection, "scorer_neighbours", ids, "similarity liked_similarity"
    )
    along_starts, along = grouped(
        connection,
        "scorer_sequences",
        ids,
        "next_share next_similarity previous_similarity session_similarity",
    )
    weights = item_models.read(connection)
    item_features = [
        encoded_column(forest, row_of(name), floats(table, name.removeprefix("item_")))
        for name in candidates.ITEM
    ]
    gaps = [
        (row_of(name), ATTRIBUTES.index(item), USER_ATTRIBUTES.index(user), kind)
        for name, (item, user, kind) in GAPS.items()
    ]
    scores = [
        (item_models.MODELS.index(model), STATES.index(state))
        for model, state in item_models.SCORES.values()
    ]
    items = Items(
        codes=np.stack(item_features),
        first_code=row_of(candidates.ITEM[0]),
        doubles=np.stack([doubles(table, name) for name in ATTRIBUTES]),
        gaps=np.array(gaps, np.int64),
        genre_set=genre_set,
        set_starts=set_starts,
        set_genres=set_genres,
        weeks=week_codes,
        audiences=audience_codes,
        near_starts=near_starts,
        near=near,
        along_starts=along_starts,
        along=along,
        known=np.searchsorted(ids, weights.item_ids).astype(np.int32),
        weights=np.stack([weights.models[name] for name in item_models.MODELS]),
        scores=np.array(scores, np.int64),
        unit=item_models.UNIT * item_models.STATE_UNIT,
        rows=np.array([row_of(group[0]) for group in GROUPS], np.int64),
        scales=np.array(SCALES, np.int64),
    )
    return Moment(items, ids, weights.item_ids, weeks, audiences, genres)


def read_users(
    connection: duckdb.DuckDBPyConnection, moment: Moment, user_ids: Sequence[int]
) -> Users:
    """Read what is known of a block of users.

    Args:
        connection: holds the moment's tables.
        moment: read from the same.
        user_ids: rising, each with a history.
    """
    wanted = {"user_ids": list(user_ids)}
    table = warehouse.fetch(connection, "marts/scorer_users", wanted)
    history = warehouse.fetch(connection, "marts/scorer_histories", wanted)
    states = warehouse.fetch(connection, "marts/user_states", wanted)
    genres = warehouse.fetch(connection, "marts/scorer_genres", wanted)
    week = table["week"].to_numpy()
    place = np.searchsorted(moment.weeks, week)
    is_known = np.isin(week, moment.weeks)
    weights = "is_recent is_liked is_disliked slow_weight weight fast_weight"
    shares = "history_share recent_share liked_share avg_liking history_lift"
    history_places = np.searchsorted(moment.item_ids, history["item_id"].to_numpy())
    state_places = np.searchsorted(moment.known_ids, states["item_id"].to_numpy())
    genre_places = places(genres["genre"], moment.genres)
    names = [name.removeprefix("user_") for name in candidates.USER]
    return Users(
        floats=np.column_stack([floats(table, name) for name in names]),
        doubles=np.column_stack([doubles(table, name) for name in USER_ATTRIBUTES]),
        places=np.column_stack(
            [
                np.where(is_known, place, -1),
                places(table["age_audience"], moment.audiences),
                places(table["occupation_audience"], moment.audiences),
            ]
        ),
        history_starts=starts(history["user_id"].to_numpy(), user_ids),
        history=side_by_side(history_places, history, weights.split(), np.int32),
        state_starts=starts(states["user_id"].to_numpy(), user_ids),
        states=side_by_side(state_places, states, STATES, np.int32),
        genre_starts=starts(genres["user_id"].to_numpy(), user_ids),
        genres=side_by_side(genre_places, genres, shares.split(), np.int64),
    )


def parts_of(users: Users, size: int) -> Iterator[Users]:
    """Cut a block of users into parts of at most `size`, without copies."""
    for first in range(0, len(users.floats), size):
        last = min(first + size, len(users.floats))
        own = slice(first, last)
        histories = users.history_starts[first : last + 1]
        states = users.state_starts[first : last + 1]
        genres = users.genre_starts[first : last + 1]
        yield Users(
            floats=users.floats[own],
            doubles=users.doubles[own],
            places=users.places[own],
            history_starts=histories - histories[0],
            history=users.history[histories[0] : histories[-1]],
            state_starts=states - states[0],
            states=users.states[states[0] : states[-1]],
            genre_starts=genres - genres[0],
            genres=users.genres[genres[0] : genres[-1]],
        )


def genre_sets(column: pa.ChunkedArray) -> tuple[dict[str, int], Any, Longs, Any]:
    """Number the genres, and the sets of them that items have.

    Returns:
        Genre → place, each item's set (-1 for none), where each set's genres begin,
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
    """Return audience → place, and codes: audience × feature × item.

    The last row is of those who belong to none.
    """
    table = connection.table("int_item_audiences").to_arrow_table()
    names = sorted(set(table["audience"].to_pylist()) - {None})
    numbers = {name: i for i, name in enumerate(names)}
    lifts = np.full((len(names) + 1, len(ids)), np.nan, np.float32)
    items = np.searchsorted(ids, table["item_id"].to_numpy())
    lifts[places(table["audience"], numbers), items] = floats(table, "lift")
    lifts[-1] = np.nan
    codes = [
        encoded_column(forest, row_of(name), lifts) for name in candidates.AUDIENCE[1:]
    ]
    return numbers, np.stack(codes, axis=1)


def read_weeks(
    connection: duckdb.DuckDBPyConnection, ids: npt.NDArray[np.int32], forest: Forest
) -> tuple[Longs, Codes]:
    """Return the weeks, and the codes of both features, week × feature × item.

    The last week is of those in whose no item had been rated. The table may have a row
    for each item and week, and is read a part at a time.
    """
    table = connection.table("int_item_weeks")
    found = table.project("week").distinct().order("week").to_arrow_table()
    weeks = found["week"].to_numpy().astype(np.int64)
    names = [name.removeprefix("item_") for name in candidates.TREND[:2]]
    codes = np.full(
        (len(weeks) + 1, len(names), len(ids)), forest.missing, forest.cuts.dtype
    )
    for batch in table.to_arrow_reader(100_000):
        part = pa.Table.from_batches([batch])
        week = np.searchsorted(weeks, part["week"].to_numpy())
        item = np.searchsorted(ids, part["item_id"].to_numpy())
        for i, name in enumerate(names):
            values = floats(part, name)
            row = row_of(candidates.TREND[i])
            codes[week, i, item] = encoded_column(forest, row, values)
    return weeks, codes


def grouped(
    connection: duckdb.DuckDBPyConnection,
    model: str,
    ids: npt.NDArray[np.int32],
    names: str,
) -> tuple[Longs, npt.NDArray[np.int32]]:
    """Return where the rows of each item begin, and these: other item and numbers."""
    table = warehouse.fetch(connection, f"marts/{model}", {})
    others = np.searchsorted(ids, table["other_item_id"].to_numpy())
    rows = side_by_side(others, table, names.split(), np.int32)
    return starts(table["item_id"].to_numpy(), ids), rows


def side_by_side(
    first: npt.NDArray[Any], table: pa.Table, names: Sequence[str], kind: type
) -> npt.NDArray[Any]:
    """Put whole numbers, those of `first` in front, into rows."""
    rows: npt.NDArray[Any] = np.empty((len(first), 1 + len(names)), kind)
    rows[:, 0] = first
    for i, name in enumerate(names, start=1):
        rows[:, i] = table[name].cast(pa.int64()).to_numpy()
    return rows


def starts(
    sorted_ids: npt.NDArray[Any], ids: Sequence[int] | npt.NDArray[Any]
) -> Longs:
    """Return where the rows of each of `ids`, rising, begin; and where the last end."""
    first = np.searchsorted(sorted_ids, ids, side="left")
    return np.append(first, len(sorted_ids)).astype(np.int64)


def places(column: pa.ChunkedArray, numbers: Mapping[str, int]) -> Longs:
    """Return the place of each name, -1 where there is none."""
    names = column.combine_chunks().dictionary_encode()
    of_names = [numbers.get(name, -1) for name in names.dictionary.to_pylist()]
    rows = names.indices.fill_null(len(of_names)).to_numpy(zero_copy_only=False)
    found: Longs = np.array([*of_names, -1], np.int64)[rows]
    return found


def doubles(table: pa.Table, name: str) -> Doubles:
    """Return a column, not a number where it is null."""
    column = table[name].cast(pa.float64()).to_numpy()
    return np.ascontiguousarray(column, np.float64)


def floats(table: pa.Table, name: str) -> npt.NDArray[np.float32]:
    """Return a column as the features have it."""
    return doubles(table, name).astype(np.float32)
