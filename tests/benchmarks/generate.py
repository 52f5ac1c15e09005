"""Raw files of a release's shape, for those who do not have the release.

    python -m tests.benchmarks.generate --shape ml-25m --out DIR [--users N] [--seed S]

Format, numbers, popularity and lengths of history are those of the release; who rated
what is drawn. Users and items have tastes, popular items come early in a history, and
what belongs together comes together, so that there is something to learn; how well a
model does here says nothing of how well it does on the release. The same arguments
give the same bytes. With `--users` there are fewer users, and the whole catalogue.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from tests.benchmarks.shapes import SHAPES, Floats, Ints, Shape

N_TASTES = 12
MAIN_SHARE = 0.7
"""Of a user's ratings as many are of the main taste, the others of a second one."""

TASTE_SPREAD = 1.3
USERS_PER_CHUNK = 1000
LONG_SHARE = 0.02
"""Who rated more of the catalogue than this is drawn from all of it at once."""

N_CELLS = 2**21
DAY = 86_400
SESSION_LENGTH = 60


def words(text: str) -> list[str]:
    """Part a text at its spaces."""
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
OCCUPATIONS = words(
    "administrator artist doctor educator engineer executive healthcare homemaker "
    "lawyer librarian marketing none other programmer retired salesman scientist "
    "student technician writer"
)
AGE_GROUPS = (1, 18, 25, 35, 45, 50, 56)
AGE_SHARES = (0.04, 0.18, 0.35, 0.20, 0.09, 0.08, 0.06)

Draw = np.random.Generator


@dataclass(frozen=True)
class Catalogue:
    """The items, the most popular first.

    Attributes:
        item_ids: of shape (n_items,).
        weights: taste × item that somebody rated, how likely it is to be drawn.
        tastes: of shape (n_items,), the one that an item suits best.
        qualities: of shape (n_items,), what it is rated on the average.
    """

    item_ids: Ints
    weights: Floats
    tastes: Ints
    qualities: Floats


@dataclass(frozen=True)
class People:
    """The users, in the order of their ids.

    Attributes:
        user_ids: of shape (n_users,).
        lengths: how many ratings each gives.
        tastes: of shape (n_users, 2), the main one and the other.
        planted: rising places in `user_ids`, and what each of these users rates anyway,
            so that no item that should be rated is not.
    """

    user_ids: Ints
    lengths: Ints
    tastes: Ints
    planted: tuple[Ints, Ints]


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
    shape: Shape = SHAPES[arguments.shape]
    n_users = arguments.users or shape.n_users
    if not 1 <= n_users <= shape.n_users:
        parser.error(f"--users {n_users}: {shape.name} has 1 to {shape.n_users}")
    generate(shape, arguments.out, n_users, arguments.seed)


def generate(shape: Shape, folder: Path, n_users: int, seed: int = 0) -> None:
    """Write a release of some shape, or a slice of its users."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    people = draw_people(shape, n_users, draw)
    catalogue = draw_catalogue(shape, people.lengths, draw)
    people = plant(people, shape.n_rated, n_users / shape.n_users, draw)
    write_items(shape, folder, catalogue, draw)
    write_users(shape, folder, people.user_ids, draw)
    with (folder / RATINGS[shape.name]).open("wb") as file:
        if shape.name == "ml-25m":
            file.write(b"userId,movieId,rating,timestamp\n")
        for chunk in ratings(shape, catalogue, people, draw):
            file.write(encoded(shape, chunk))


# --- who and what ---------------------------------------------------------------------


def draw_people(shape: Shape, n_users: int, draw: Draw) -> People:
    """Choose ids, lengths and tastes."""
    ids = np.sort(draw.choice(shape.max_user_id, shape.n_users, replace=False)) + 1
    nothing = np.empty(0, np.int64)
    return People(
        user_ids=ids[:n_users],
        lengths=draw.permutation(shape.history_lengths(n_users)),
        tastes=draw.integers(0, N_TASTES, (n_users, 2)),
        planted=(nothing, nothing),
    )


def plant(people: People, n_rated: int, share: float, draw: Draw) -> People:
    """Give each item, or of a slice so many of them, to one user at least."""
    items = np.flatnonzero(draw.random(n_rated) < share)
    chances = people.lengths / people.lengths.sum()
    users = draw.choice(len(chances), len(items), p=chances)
    order = np.lexsort((items, users))
    users, items = users[order], items[order]
    # nobody gets more than fit
    nth = np.arange(len(users)) - np.searchsorted(users, users)
    fits = nth < people.lengths[users]
    return People(
        people.user_ids, people.lengths, people.tastes, (users[fits], items[fits])
    )


def draw_catalogue(shape: Shape, lengths: Ints, draw: Draw) -> Catalogue:
    """Choose ids, tastes and qualities; weigh the items so that counts come right."""
    ranks = np.arange(1, shape.n_items + 1)
    # what all have seen is to no particular taste
    spreads = TASTE_SPREAD * np.log(ranks) / np.log(shape.n_items)
    suits = np.exp(spreads * draw.standard_normal((N_TASTES, shape.n_items)))
    suits /= suits.mean(axis=0)
    counts = shape.item_counts() * len(lengths) / shape.n_users
    # one rating is planted
    weights = calibrated(np.maximum(counts - len(lengths) / shape.n_users, 0), lengths)
    popular = np.linspace(0.4, -0.4, shape.n_items)
    ids = draw.permutation(draw.choice(shape.max_item_id, shape.n_items, replace=False))
    return Catalogue(
        item_ids=ids + 1,
        weights=weights * suits[:, : shape.n_rated],
        tastes=suits.argmax(axis=0),
        qualities=3.4 + popular + 0.4 * draw.standard_normal(shape.n_items),
    )


def calibrated(counts: Floats, lengths: Ints) -> Floats:
    """Find weights with which items are drawn as often as they should be.

    Who draws n items without putting them back gets an item of weight w with a chance
    of 1 - exp(-w t), for the t at which these chances add up to n.
    """
    some = np.quantile(lengths, (np.arange(40) + 0.5) / 40)
    share: Floats = counts / counts.sum()
    weights = share
    for _ in range(12):
        expected = np.zeros(len(counts))
        for n in some:
            expected += 1 - np.exp(-weights * time_for(n, weights))
        found = expected / expected.sum()
        weights = weights * share / np.maximum(found, 1e-12)
        weights /= weights.sum()
    return weights


def time_for(n: float, weights: Floats) -> float:
    """Find the t of `calibrated` by Newton's steps, which come from below."""
    t = float(n)
    for _ in range(20):
        left = np.exp(-weights * t)
        t += (n - (len(weights) - left.sum())) / max((weights * left).sum(), 1e-9)
        t = min(t, 1e7)
    return t


# --- the ratings ----------------------------------------------------------------------


def ratings(
    shape: Shape, catalogue: Catalogue, people: People, draw: Draw
) -> Iterator[pa.Table]:
    """Draw the ratings of some users after the other, so that memory is bounded."""
    cells = np.stack([tabled(weights) for weights in catalogue.weights])
    for start in range(0, len(people.user_ids), USERS_PER_CHUNK):
        chunk = slice(start, min(start + USERS_PER_CHUNK, len(people.user_ids)))
        users, items = chosen(catalogue, cells, people, chunk, draw)
        users, items = in_order(catalogue, users, items, draw)
        times = timed(shape, users, draw)
        stars = rated(shape, catalogue, people.tastes[chunk, 0], users, items, draw)
        yield pa.table(
            {
                "user_id": people.user_ids[chunk][users],
                "item_id": catalogue.item_ids[items],
                "rating": stars,
                "rated_at": times,
            }
        )


def tabled(weights: Floats) -> npt.NDArray[np.int32]:
    """Lay weights out as cells of a table: a random cell is a weighted draw."""
    edges = np.cumsum(weights) / weights.sum()
    cells = np.searchsorted(edges, (np.arange(N_CELLS) + 0.5) / N_CELLS)
    return np.minimum(cells, len(weights) - 1).astype(np.int32)


def chosen(
    catalogue: Catalogue,
    cells: npt.NDArray[np.int32],
    people: People,
    chunk: slice,
    draw: Draw,
) -> tuple[Ints, Ints]:
    """Choose each user's items, none twice: places in the chunk and in the catalogue.

    Whoever rated little draws until there are enough, with some to spare; the others
    take the first of an exponential race.
    """
    n_items = catalogue.weights.shape[1]
    lengths, tastes = people.lengths[chunk], people.tastes[chunk]
    planted = slice(*np.searchsorted(people.planted[0], (chunk.start, chunk.stop)))
    owners = people.planted[0][planted] - chunk.start
    gifts = people.planted[1][planted]
    kept = owners * n_items + gifts
    is_long = lengths > LONG_SHARE * n_items
    found = [kept]
    for user in np.flatnonzero(is_long).tolist():
        own = gifts[owners == user]
        found.append(user * n_items + race(catalogue, lengths, tastes, user, own, draw))
    short = np.where(is_long, 0, lengths - np.bincount(owners, minlength=len(lengths)))
    while short.any():
        users = np.repeat(np.arange(len(lengths)), short + short // 4)
        is_main = draw.random(len(users)) < MAIN_SHARE
        taste = np.where(is_main, tastes[users, 0], tastes[users, 1])
        items = cells[taste, draw.integers(0, N_CELLS, len(users))]
        pairs = np.setdiff1d(users * n_items + items, np.concatenate(found))
        pairs = pairs[draw.permutation(len(pairs))]
        owner = pairs // n_items
        order = np.argsort(owner, kind="stable")
        pairs, owner = pairs[order], owner[order]
        nth = np.arange(len(owner)) - np.searchsorted(owner, owner)
        pairs = pairs[nth < short[owner]]
        found.append(pairs)
        short = short - np.bincount(pairs // n_items, minlength=len(lengths))
    every = np.sort(np.concatenate(found))
    return every // n_items, every % n_items


def race(
    catalogue: Catalogue, lengths: Ints, tastes: Ints, user: int, own: Ints, draw: Draw
) -> Ints:
    """Draw without putting back: the items whose exponential clocks ring first."""
    main, other = catalogue.weights[tastes[user, 0]], catalogue.weights[tastes[user, 1]]
    weights = MAIN_SHARE * main / main.sum() + (1 - MAIN_SHARE) * other / other.sum()
    clocks = draw.standard_exponential(len(weights)) / np.maximum(weights, 1e-15)
    clocks[own] = np.inf
    n = min(int(lengths[user]) - len(own), len(weights) - len(own))
    return np.argsort(clocks, kind="stable")[:n]


def in_order(
    catalogue: Catalogue, users: Ints, items: Ints, draw: Draw
) -> tuple[Ints, Ints]:
    """Put a user's items in the order of rating: popular first, tastes together."""
    moods = draw.standard_exponential((int(users.max()) + 1, N_TASTES))
    keys = 0.7 * np.log1p(items) + moods[users, catalogue.tastes[items]]
    keys += draw.gumbel(size=len(items)) * 0.7
    order = np.lexsort((keys, users))
    return users[order], items[order]


def timed(shape: Shape, users: Ints, draw: Draw) -> Ints:
    """Give ratings in their order their times: sessions with days in between."""
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
    """Rate: what an item is worth, what the user is like, taste, and chance."""
    moods = 0.4 * draw.standard_normal(len(main_tastes))
    values = catalogue.qualities[items] + moods[users]
    values += np.where(catalogue.tastes[items] == main_tastes[users], 0.4, -0.1)
    values += 0.8 * draw.standard_normal(len(items))
    if not shape.has_half_stars:
        whole = np.clip(np.rint(values), 1, 5).astype(np.int32) - 1
        return texts(whole, [str(n) for n in range(1, 6)])
    # half stars are given less often than whole ones
    halves = np.where(draw.random(len(values)) < 0.5, np.rint(values * 2) / 2, 0)
    values = np.where(halves > 0, halves, np.rint(values))
    index = (np.clip(values, 0.5, 5) * 2).astype(np.int32) - 1
    form = ".1f" if shape.name == "ml-25m" else "g"
    return texts(index, [format((n + 1) / 2, form) for n in range(10)])


def texts(index: npt.NDArray[np.int32], words: list[str]) -> pa.Array:
    """Put the words of an index in its place."""
    return pa.DictionaryArray.from_arrays(index, words).cast(pa.string())


# --- the files ------------------------------------------------------------------------

RATINGS = {
    "ml-100k": "u.data",
    "ml-1m": "ratings.dat",
    "ml-10m": "ratings.dat",
    "ml-25m": "ratings.csv",
}
DELIMITERS = {"ml-100k": b"\t", "ml-1m": b"::", "ml-10m": b"::", "ml-25m": b","}


def encoded(shape: Shape, table: pa.Table) -> bytes:
    """Write ratings as the release does."""
    sink = pa.BufferOutputStream()
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    csv.write_csv(table, sink, options)
    text: bytes = sink.getvalue().to_pybytes()
    return text.replace(b",", DELIMITERS[shape.name])


def write_items(shape: Shape, folder: Path, catalogue: Catalogue, draw: Draw) -> None:
    """Write the catalogue, by item_id."""
    ages = draw.standard_exponential(shape.n_items) * 15
    years = np.maximum(shape.last_year - ages.astype(np.int64), shape.first_year)
    order = np.argsort(catalogue.item_ids)
    lines = []
    for place in order.tolist():
        title = titled(int(years[place]), draw)
        genres = genres_of(int(catalogue.tastes[place]), draw)
        lines.append(item_line(shape, int(catalogue.item_ids[place]), title, genres))
    if shape.name == "ml-25m":
        lines.insert(0, "movieId,title,genres")
    name = {"ml-100k": "u.item", "ml-25m": "movies.csv"}.get(shape.name, "movies.dat")
    is_old = shape.name in ("ml-100k", "ml-1m")
    write(folder / name, lines, "latin-1" if is_old else "utf-8")


def titled(year: int, draw: Draw) -> str:
    """Make a title up."""
    adjective, noun = draw.choice(ADJECTIVES), draw.choice(NOUNS)
    return f"{adjective} {noun}{draw.choice(ARTICLES)} ({year})"


def genres_of(taste: int, draw: Draw) -> list[str]:
    """Choose genres by taste, some items having none."""
    drawn = draw.random(4)
    if drawn[0] < 0.03:
        return []
    names = {GENRES[(taste * 3 + int(drawn[1] * 3)) % len(GENRES)]}
    if drawn[2] < 0.6:
        names.add(GENRES[int(drawn[3] * len(GENRES))])
    return sorted(names)


def item_line(shape: Shape, item_id: int, title: str, genres: list[str]) -> str:
    """Write one item as the release does."""
    if shape.name == "ml-100k":
        flags = "|".join(str(int(genre in genres)) for genre in GENRES)
        return f"{item_id}|{title}|01-Jan-{title[-5:-1]}|||{int(not genres)}|{flags}"
    named = "|".join(genres) or "(no genres listed)"
    if shape.name == "ml-25m":
        return (
            f'{item_id},"{title}",{named}'
            if "," in title
            else (f"{item_id},{title},{named}")
        )
    return f"{item_id}::{title}::{named}"


def write_users(shape: Shape, folder: Path, user_ids: Ints, draw: Draw) -> None:
    """Write what the older releases say of their users."""
    if shape.name not in ("ml-100k", "ml-1m"):
        return
    lines = []
    for user_id in user_ids.tolist():
        gender = "MF"[int(draw.random() < 0.28)]
        group = int(draw.choice(len(AGE_GROUPS), p=AGE_SHARES))
        zip_code = f"{draw.integers(1, 99_999):05d}"
        if shape.name == "ml-1m":
            work = draw.integers(0, 21)
            lines.append(
                f"{user_id}::{gender}::{AGE_GROUPS[group]}::{work}::{zip_code}"
            )
        else:
            age = max(7, AGE_GROUPS[group] + int(draw.integers(0, 8)))
            work = draw.choice(OCCUPATIONS)
            lines.append(f"{user_id}|{age}|{gender}|{work}|{zip_code}")
    write(folder / ("users.dat" if shape.name == "ml-1m" else "u.user"), lines)


def write(path: Path, lines: list[str], encoding: str = "utf-8") -> None:
    """Write lines."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))


if __name__ == "__main__":
    main()
