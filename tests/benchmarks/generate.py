"""Raw files of a release's shape, for those who do not have the release.

    python -m tests.benchmarks.generate --shape ml-25m --out DIR [--users N] [--seed S]

Format, numbers, popularity and lengths of histories are those of the release; the
ratings are drawn. Users and items have tastes, popular items come early in a history,
and items of one taste come together, so that there is something to learn. The quality
of a model here says nothing about its quality on the release. The same arguments give
the same bytes. With `--users` there are fewer users, and the whole catalogue.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from tests.benchmarks.shapes import SHAPES, Floats, Ints, Shape

N_TASTES = 12
MAIN_SHARE = 0.7
"""The share of a user's ratings that follow the main of two tastes."""

TASTE_SPREAD = 1.3
USERS_PER_CHUNK = 1000
LONG_SHARE = 0.02
"""Histories of a larger share of the catalogue are drawn from all of it at once."""

DAY = 86_400
SESSION_LENGTH = 60


def words(text: str) -> list[str]:
    """Split a text at its spaces."""
    return text.split()


GENRES = words(
    "Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
)
ADJECTIVES = words(
    "Last Silent Golden Broken Little Long Secret Dark Lost Wild Quiet Red Blue Old "
    "Crazy Dangerous Eternal Final Hidden Lonely Perfect Strange Sweet Young Misérable"
)
NOUNS = words(
    "Night Summer River House Garden Road Star Shadow City Heart Dream Train Island "
    "Window Letter Storm King Stranger Wedding Mirror Winter Soldier Café Station Sea"
)
ARTICLES = ("", ", The", ", A", "", ", Les")
OCCUPATIONS = words("artist doctor educator engineer lawyer programmer student writer")
AGES = (1, 18, 25, 35, 45, 50, 56)
AGE_SHARES = (0.04, 0.18, 0.35, 0.20, 0.09, 0.08, 0.06)

Draw = np.random.Generator


@dataclass(frozen=True)
class Format:
    """The files of a release: their names, and how they separate fields."""

    ratings: str
    items: str
    users: str | None
    delimiter: str
    encoding: str = "utf-8"


FORMATS = {
    "ml-100k": Format("u.data", "u.item", "u.user", "\t", "latin-1"),
    "ml-1m": Format("ratings.dat", "movies.dat", "users.dat", "::", "latin-1"),
    "ml-10m": Format("ratings.dat", "movies.dat", None, "::"),
    "ml-25m": Format("ratings.csv", "movies.csv", None, ","),
}


@dataclass(frozen=True)
class Catalogue:
    """The items, the most popular first.

    Attributes:
        item_ids: of shape (n_items,).
        weights: taste × rated item, the odds of being drawn.
        tastes: the taste that each item suits best.
        qualities: the average rating of each item.
    """

    item_ids: Ints
    weights: Floats
    tastes: Ints
    qualities: Floats


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", required=True, choices=SHAPES)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR")
    parser.add_argument("--users", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    n_users = arguments.users or shape.n_users
    if not 1 <= n_users <= shape.n_users:
        parser.error(f"--users {n_users}: {shape.name} has 1 to {shape.n_users}")
    generate(shape, arguments.out, n_users, arguments.seed)


def generate(shape: Shape, folder: Path, n_users: int, seed: int = 0) -> None:
    """Write a release of some shape, or its first users."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    ids = np.sort(draw.choice(shape.max_user_id, shape.n_users, replace=False)) + 1
    user_ids = ids[:n_users]
    catalogue = draw_catalogue(shape, draw)
    form = FORMATS[shape.name]
    write(folder / form.items, item_lines(shape, catalogue, draw), form.encoding)
    if form.users is not None:
        write(folder / form.users, user_lines(shape, user_ids, draw))
    with (folder / form.ratings).open("wb") as file:
        if shape.name == "ml-25m":
            file.write(b"userId,movieId,rating,timestamp\n")
        for table in ratings(shape, catalogue, user_ids, draw):
            file.write(encoded(table, form.delimiter))


def draw_catalogue(shape: Shape, draw: Draw) -> Catalogue:
    """Draw ids, tastes and qualities."""
    ranks = np.arange(1, shape.n_items + 1)
    # the most popular items suit every taste
    spreads = TASTE_SPREAD * np.log(ranks) / np.log(shape.n_items)
    suits = np.exp(spreads * draw.standard_normal((N_TASTES, shape.n_items)))
    suits /= suits.mean(axis=0)
    # each user draws an item at most once: with weight w, with odds of 1 - exp(-w)
    weights = -np.log1p(-shape.item_shares())
    popular = np.linspace(0.4, -0.4, shape.n_items)
    ids = draw.permutation(draw.choice(shape.max_item_id, shape.n_items, replace=False))
    return Catalogue(
        item_ids=ids + 1,
        weights=weights * suits[:, : shape.n_rated],
        tastes=suits.argmax(axis=0),
        qualities=3.4 + popular + 0.4 * draw.standard_normal(shape.n_items),
    )


# --- the ratings ----------------------------------------------------------------------


def ratings(
    shape: Shape, catalogue: Catalogue, user_ids: Ints, draw: Draw
) -> Iterator[pa.Table]:
    """Draw the ratings of some users after others, so that memory is bounded."""
    lengths = draw.permutation(shape.history_lengths(len(user_ids)))
    tastes = draw.integers(0, N_TASTES, (len(user_ids), 2))
    for start in range(0, len(user_ids), USERS_PER_CHUNK):
        chunk = slice(start, start + USERS_PER_CHUNK)
        users, items = chosen(catalogue, lengths[chunk], tastes[chunk], draw)
        users, items = in_order(catalogue, users, items, draw)
        yield pa.table(
            {
                "user_id": user_ids[chunk][users],
                "item_id": catalogue.item_ids[items],
                "rating": rated(shape, catalogue, tastes[chunk, 0], users, items, draw),
                "rated_at": timed(shape, users, draw),
            }
        )


def chosen(
    catalogue: Catalogue, lengths: Ints, tastes: Ints, draw: Draw
) -> tuple[Ints, Ints]:
    """Choose each user's items, none twice: places in the chunk and the catalogue."""
    n_items = catalogue.weights.shape[1]
    edges = np.cumsum(catalogue.weights, axis=1)
    edges /= edges[:, -1:]
    is_long = lengths > LONG_SHARE * n_items
    found = [np.empty(0, np.int64)]
    for user in np.flatnonzero(is_long).tolist():
        items = race(catalogue, int(lengths[user]), tastes[user], draw)
        found.append(user * n_items + items)
    missing = np.where(is_long, 0, lengths)
    while missing.any():
        users = np.repeat(np.arange(len(lengths)), missing + missing // 4)
        is_main = draw.random(len(users)) < MAIN_SHARE
        taste = np.where(is_main, tastes[users, 0], tastes[users, 1])
        places = draw.random(len(users))
        items = np.empty(len(users), np.int64)
        for number in range(N_TASTES):
            mine = taste == number
            items[mine] = np.searchsorted(edges[number], places[mine])
        pairs = np.setdiff1d(users * n_items + items, np.concatenate(found))
        pairs = draw.permutation(pairs)
        pairs = pairs[np.argsort(pairs // n_items, kind="stable")]
        owner = pairs // n_items
        nth = np.arange(len(owner)) - np.searchsorted(owner, owner)
        pairs = pairs[nth < missing[owner]]
        found.append(pairs)
        missing = missing - np.bincount(pairs // n_items, minlength=len(lengths))
    every = np.sort(np.concatenate(found))
    return every // n_items, every % n_items


def race(catalogue: Catalogue, n: int, tastes: Ints, draw: Draw) -> Ints:
    """Draw n items without putting back: those whose exponential clocks ring first."""
    main, other = (weights / weights.sum() for weights in catalogue.weights[tastes])
    weights = MAIN_SHARE * main + (1 - MAIN_SHARE) * other
    clocks = draw.standard_exponential(len(weights)) / np.maximum(weights, 1e-15)
    return np.argsort(clocks, kind="stable")[:n]


def in_order(
    catalogue: Catalogue, users: Ints, items: Ints, draw: Draw
) -> tuple[Ints, Ints]:
    """Order each user's items: popular first, tastes together."""
    moods = draw.standard_exponential((int(users.max()) + 1, N_TASTES))
    keys = 0.7 * np.log1p(items) + moods[users, catalogue.tastes[items]]
    keys += draw.gumbel(size=len(items)) * 0.7
    order = np.lexsort((keys, users))
    return users[order], items[order]


def timed(shape: Shape, users: Ints, draw: Draw) -> Ints:
    """Draw the times of ratings in their order: sessions with days in between."""
    n_users = int(users.max()) + 1
    gaps = draw.integers(0, 25, len(users))
    is_new = draw.random(len(users)) < 1 / SESSION_LENGTH
    pauses = draw.standard_exponential(int(is_new.sum())) * 12 * DAY
    gaps[is_new] = pauses.astype(np.int64) + 1000
    starts = np.searchsorted(users, np.arange(n_users))
    gaps[starts] = 0
    since = np.cumsum(gaps)
    since -= since[starts][users]
    spans = np.maximum.reduceat(since, starts)
    room = np.maximum(shape.ended_at - shape.began_at - spans, 0)
    began = shape.began_at + (draw.random(n_users) * room).astype(np.int64)
    times: Ints = np.minimum(began[users] + since, shape.ended_at)
    return times


def rated(
    shape: Shape,
    catalogue: Catalogue,
    main_tastes: Ints,
    users: Ints,
    items: Ints,
    draw: Draw,
) -> pa.Array:
    """Rate by the item's quality, the user's mood, taste, and chance."""
    moods = 0.4 * draw.standard_normal(len(main_tastes))
    values = catalogue.qualities[items] + moods[users]
    values += np.where(catalogue.tastes[items] == main_tastes[users], 0.4, -0.1)
    values += 0.8 * draw.standard_normal(len(items))
    if shape.has_half_stars:  # they are given less often than whole ones
        is_half = draw.random(len(values)) < 0.5
        values = np.where(is_half, np.rint(values * 2) / 2, np.rint(values))
        values = np.clip(values, 0.5, 5)
    else:
        values = np.clip(np.rint(values), 1, 5)
    form = ".1f" if shape.name == "ml-25m" else "g"
    texts = [format(n / 2, form) for n in range(11)]
    places = (values * 2).astype(np.int32)
    return pa.DictionaryArray.from_arrays(places, texts).cast(pa.string())


# --- the files ------------------------------------------------------------------------


def encoded(table: pa.Table, delimiter: str) -> bytes:
    """Write ratings as the release does."""
    sink = pa.BufferOutputStream()
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    csv.write_csv(table, sink, options)
    text: bytes = sink.getvalue().to_pybytes()
    return text.replace(b",", delimiter.encode())


def item_lines(shape: Shape, catalogue: Catalogue, draw: Draw) -> Iterator[str]:
    """Write the catalogue, by item_id."""
    n = shape.n_items
    ages = (draw.standard_exponential(n) * 15).astype(np.int64)
    last_year = 1970 + shape.ended_at // 31_556_952
    years = np.maximum(last_year - ages, 1922)
    names = draw.integers(0, 25, (n, 3))
    chances = draw.random((n, 4))
    if shape.name == "ml-25m":
        yield "movieId,title,genres"
    for place in np.argsort(catalogue.item_ids).tolist():
        first, second, third = names[place].tolist()
        title = f"{ADJECTIVES[first]} {NOUNS[second]}{ARTICLES[third % len(ARTICLES)]}"
        title += f" ({years[place]})"
        genres = genres_of(int(catalogue.tastes[place]), chances[place].tolist())
        yield item_line(shape, int(catalogue.item_ids[place]), title, genres)


def genres_of(taste: int, chances: list[float]) -> list[str]:
    """Choose none, one or two genres by taste."""
    if chances[0] < 0.03:
        return []
    names = {GENRES[(taste * 3 + int(chances[1] * 3)) % len(GENRES)]}
    if chances[2] < 0.6:
        names.add(GENRES[int(chances[3] * len(GENRES))])
    return sorted(names)


def item_line(shape: Shape, item_id: int, title: str, genres: list[str]) -> str:
    """Write one item as the release does."""
    if shape.name == "ml-100k":
        flags = "|".join(str(int(genre in genres)) for genre in GENRES)
        return f"{item_id}|{title}|01-Jan-{title[-5:-1]}|||{int(not genres)}|{flags}"
    names = "|".join(genres) or "(no genres listed)"
    if shape.name == "ml-25m" and "," in title:
        title = f'"{title}"'
    return FORMATS[shape.name].delimiter.join((str(item_id), title, names))


def user_lines(shape: Shape, user_ids: Ints, draw: Draw) -> Iterator[str]:
    """Write what the older releases have about their users."""
    for user_id in user_ids.tolist():
        gender = "MF"[int(draw.random() < 0.28)]
        age = int(draw.choice(AGES, p=AGE_SHARES))
        zip_code = f"{draw.integers(1, 99_999):05d}"
        if shape.name == "ml-1m":
            yield f"{user_id}::{gender}::{age}::{draw.integers(0, 21)}::{zip_code}"
        else:
            work = draw.choice(OCCUPATIONS)
            yield f"{user_id}|{max(7, age)}|{gender}|{work}|{zip_code}"


def write(path: Path, lines: Iterator[str], encoding: str = "utf-8") -> None:
    """Write lines."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))


if __name__ == "__main__":
    main()
