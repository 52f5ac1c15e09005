"""The loops of the compiled scorer, which numba compiles to machine code.

Read from the entry `rank` downwards: for each user it encodes the features of all items
(`encode_user`) and ranks the items with the trees (`rank_items`).

A feature is kept as a row of codes, one per item, and not as floats. A code counts the
model's thresholds for the feature that are not above the item's value. It takes a byte
or two, so that a processor compares 32 or 64 codes at once.

`sql/marts/pair_features.sql` defines the features; tests compare every cell and every
list with it.

This is one file because numba caches the machine code of a function until the file of
that function changes, and would miss a change in another file. Functions take single
arrays rather than the tuples that hold them, because the compilation time grows with
each array that is passed on.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from batch.machine.native import compiled

Codes = npt.NDArray[np.unsignedinteger[Any]]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]

CHUNK = 2048
"""Number of items to compare at a time, so that their codes stay in the cache."""

MAX_COUNTED = 128
"""With more thresholds, a binary search is faster than comparing with all of them."""

MIN_TREES_TO_COMPACT = 20
"""With fewer trees left, compacting the survivors costs more than it saves."""

N_SUMS = 7
"""How many features are sums over the user's last items."""

SUM_UNITS = 10_000_000_000
"""Divides them: they are sums of millionths times ten-thousandths."""


class Forest(NamedTuple):
    """The trees of a model; `batch/scoring/forest.py` lays them out."""

    thresholds: Floats  # of all features, one after the other
    threshold_starts: Longs  # (n_features + 1,)
    depth: int  # all trees are full, with 2 ** depth leaves
    features: Ints  # (n_trees, 2 ** depth - 1), as are cuts and shifts
    cuts: Codes
    shifts: Codes
    leaves: Floats  # (n_trees, 2 ** depth)
    remaining: Doubles  # (n_trees + 1,): the most that the trees from here on can add
    base: np.float32
    missing: np.unsignedinteger[Any]  # the code of a missing value, the largest
    is_logistic: bool
    slack: float  # an upper bound of the sum of all rounding errors


class Items(NamedTuple):
    """The data of the items; `batch/scoring/arrays.py` reads it."""

    codes: Codes  # (n item features, n_items)
    first_code: int
    doubles: Doubles  # (n attributes, n_items)
    gaps: Longs  # (n_gaps, 4): feature, attribute of items, of users, kind
    genre_set: Longs  # (n_items,); -1 for items without genres
    set_starts: Longs  # (n_sets + 1,)
    set_genres: Longs
    weeks: Codes  # (n_weeks + 1, 2, n_items); the last for an unknown week
    audiences: Codes  # (n_audiences + 1, 2, n_items); the last for an unknown audience
    sequence_starts: Longs  # (n_items + 1,)
    sequences: Ints  # (n, 5): other item, next share, next, previous, session
    films: Ints  # (n_items,): the item that stands for its film
    ineligible: Ints  # the items that no list may hold
    rows: Longs  # the first feature of: user, trend, audience, genre, sequence


class Users(NamedTuple):
    """The data of a block of users."""

    ids: Longs  # (n_users,)
    floats: Floats  # (n_users, n user features)
    doubles: Doubles  # (n_users, n attributes)
    places: Longs  # (n_users, 3): week, audiences by age and by occupation
    history_starts: Longs  # (n_users + 1,)
    history: Ints  # (n, 6): item, recent, liked, slow, usual, fast weight
    genre_starts: Longs  # (n_users + 1,)
    genres: Longs  # (n, 6): genre, history, recent, liked share, liking, lift


class Scratch(NamedTuple):
    """The buffers of one thread."""

    codes: Codes  # (n_features, n_items)
    compacted: Codes  # (n_features, n_items)
    buffers: Codes  # (3, at least n_items and CHUNK)
    values: Floats  # (2, n_items)
    scores: Floats  # (n_items,)
    sums: Longs  # (n_items, N_SUMS + 1)
    touched: Ints  # (n_items,)
    places: Ints  # (2, n_items)
    is_excluded: npt.NDArray[np.bool_]  # (n_items,)
    by_genre: Longs  # (n_genres, 6)


class Encoder(NamedTuple):
    """The codes of a user's features, and the thresholds to turn values into codes."""

    codes: Codes  # (n_features, n_items)
    values: Floats  # (n_items,): the values of one feature
    buffer: Codes  # (n_items,): the codes of some items
    thresholds: Floats
    starts: Longs
    missing: np.unsignedinteger[Any]


@compiled
def rank(
    users: Any,
    items: Any,
    forest: Any,
    margins: Any,
    scratch: Any,
    best_items: Any,
    best_scores: Any,
    n_best: Any,
) -> None:
    """Rank the unseen items for each user.

    The sums of leaves begin at `margins`, of shape (n_users, n_items). Fills
    `best_items` (places of items, best first) and `best_scores`, both of shape
    (n_users, top_n), and `n_best`, the length of each user's list.
    """
    row, n_rows = items.first_code, len(items.codes)
    scratch.codes[row : row + n_rows] = items.codes
    for u in range(len(users.floats)):
        encode_user(u, users, items, forest, scratch)
        seen = users.history[users.history_starts[u] : users.history_starts[u + 1], 0]
        n_best[u] = rank_items(
            forest, margins[u], items.ineligible, items.films, seen, scratch,
            best_items[u], best_scores[u],
        )  # fmt: skip


@compiled
def encode_user(u: Any, users: Any, items: Any, forest: Any, scratch: Any) -> None:
    """Encode a user's features; `rank` has filled the rows of the item features."""
    to = Encoder(
        scratch.codes, scratch.values[0], scratch.buffers[2], forest.thresholds,
        forest.threshold_starts, forest.missing,
    )  # fmt: skip
    rows, sums, touched = items.rows, scratch.sums, scratch.touched
    encode_constants(to, rows[0], users.floats[u])
    for i in range(2):
        to.codes[rows[1] + i] = items.weeks[users.places[u, 0], i]
        to.codes[rows[2] + i] = items.audiences[users.places[u, 1 + i], i]
    encode_gaps(to, items.gaps, items.doubles, users.doubles[u])

    genres = users.genres[users.genre_starts[u] : users.genre_starts[u + 1]]
    read_genres(genres, scratch.by_genre)
    encode_genres(
        to,
        rows[3],
        scratch.by_genre,
        items.genre_set,
        items.set_starts,
        items.set_genres,
    )

    history = users.history[users.history_starts[u] : users.history_starts[u + 1]]
    n = sum_sequences(history, items.sequence_starts, items.sequences, sums, touched)
    encode_sums(to, rows[4], sums, touched[:n])


# --- a user's features ---------------------------------------------------------------


@compiled
def encode_constants(to: Any, row: Any, values: Any) -> None:
    """Encode the features that are the same for all of the user's items."""
    for i in range(len(values)):
        thresholds = thresholds_of(to, row + i)
        to.codes[row + i, :] = code_of(values[i], thresholds, to.missing)


@compiled
def encode_gaps(to: Any, gaps: Any, of_items: Any, of_user: Any) -> None:
    """Encode the differences between attributes of the items and of the user.

    Kinds of gaps: 1 is item minus user, -1 user minus item, 0 the absolute difference.
    """
    for g in range(len(gaps)):
        row, kind, user = gaps[g, 0], gaps[g, 3], of_user[gaps[g, 2]]
        thresholds = thresholds_of(to, row)
        if not len(thresholds):
            continue
        items = of_items[gaps[g, 1]]
        if kind == 0:
            for i in range(len(items)):
                to.values[i] = abs(items[i] - user)
        else:
            for i in range(len(items)):
                to.values[i] = (items[i] - user) * kind
        encode(to.codes[row], to.values, thresholds, to.missing)


@compiled
def read_genres(genres: Any, by_genre: Any) -> None:
    """Copy a user's genres into `by_genre`, with a 1 before the values of each."""
    by_genre[:] = 0
    for i in range(len(genres)):
        by_genre[genres[i, 0], 0] = 1
        for column in range(1, 6):
            by_genre[genres[i, 0], column] = genres[i, column]


@compiled
def encode_genres(
    to: Any, row: Any, by_genre: Any, genre_set: Any, starts: Any, set_genres: Any
) -> None:
    """Encode the user's taste for the items' genres, once for each set of genres."""
    n_sets = len(starts) - 1
    for which in range(6):
        for s in range(n_sets):
            genres = set_genres[starts[s] : starts[s + 1]]
            to.values[s] = genre_value(which, genres, by_genre)
        thresholds = thresholds_of(to, row + which)
        encode(to.buffer[:n_sets], to.values, thresholds, to.missing)
        for i in range(len(genre_set)):
            s = genre_set[i]
            to.codes[row + which, i] = to.buffer[s] if s >= 0 else to.missing


@compiled
def genre_value(which: Any, genres: Any, by_genre: Any) -> Any:
    """Return the value of a genre feature for a set of genres."""
    total, n, n_known = 0, len(genres), 0
    column = which if which > 1 else 1
    for genre in genres:
        n_known += by_genre[genre, 0]
        if which == 1:  # max_genre_share
            total = max(total, by_genre[genre, 1])
        else:
            total += by_genre[genre, column]
    if which == 1:
        return as_float(total, 1_000_000) if n_known else np.float32(np.nan)
    if which == 4:  # genre_liking averages over the genres that the user has rated
        n = n_known
    return np.float32(total / (n * 1_000_000.0)) if n else np.float32(np.nan)


@compiled
def sum_sequences(
    history: Any, starts: Any, sequences: Any, sums: Any, touched: Any
) -> Any:
    """Sum items' closeness in time to recent ones; return how many items it touched."""
    n = 0
    for i in range(len(history)):
        if not history[i, 1]:
            continue
        item, slow = history[i, 0], np.int64(history[i, 3])
        usual, fast = np.int64(history[i, 4]), np.int64(history[i, 5])
        for j in range(starts[item], starts[item + 1]):
            other, following = sequences[j, 0], np.int64(sequences[j, 2])
            previous = np.int64(sequences[j, 3])
            if sums[other, 7] == 0:
                touched[n] = other
                n += 1
            sums[other, 0] += np.int64(sequences[j, 1]) * usual
            sums[other, 1] += following * fast
            sums[other, 2] += following * slow
            sums[other, 3] = max(sums[other, 3], following * usual)
            sums[other, 4] += previous * fast
            sums[other, 5] += previous * slow
            sums[other, 6] += np.int64(sequences[j, 4]) * usual
            sums[other, 7] = 1
    return n


@compiled
def encode_sums(to: Any, row: Any, sums: Any, touched: Any) -> None:
    """Encode the sums of the touched items, and reset them."""
    for column in range(N_SUMS):
        for i in range(len(touched)):
            to.values[i] = as_float(sums[touched[i], column], SUM_UNITS)
        encode_places(to, row + column, touched)
    for i in range(len(touched)):
        sums[touched[i], :] = 0


# --- values to codes -----------------------------------------------------------------


@compiled
def encode_places(to: Any, row: Any, places: Any) -> None:
    """Encode a feature that has values for some items and is missing for the others."""
    codes = to.buffer[: len(places)]
    encode(codes, to.values, thresholds_of(to, row), to.missing)
    to.codes[row, :] = to.missing
    for i in range(len(places)):
        to.codes[row, places[i]] = codes[i]


@compiled
def encode(codes: Any, values: Any, thresholds: Any, missing: Any) -> None:
    """Turn the values of a feature into codes."""
    if len(thresholds) > MAX_COUNTED:
        for i in range(len(codes)):
            codes[i] = code_of(values[i], thresholds, missing)
        return
    for start in range(0, len(codes), CHUNK):
        own, some = codes[start : start + CHUNK], values[start : start + CHUNK]
        own[:] = 0
        for threshold in thresholds:
            for i in range(len(own)):
                own[i] = own[i] + (some[i] >= threshold)
        for i in range(len(own)):
            own[i] = missing if np.isnan(some[i]) else own[i]


@compiled
def code_of(value: Any, thresholds: Any, missing: Any) -> Any:
    """Count the thresholds that are not above a value, by binary search."""
    if np.isnan(value):
        return missing
    low, high = 0, len(thresholds)
    while low < high:
        middle = (low + high) // 2
        if thresholds[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def thresholds_of(to: Any, row: Any) -> Any:
    """Return the thresholds of a feature."""
    return to.thresholds[to.starts[row] : to.starts[row + 1]]


@compiled
def as_float(whole: Any, scale: Any) -> Any:
    """Cast a decimal to a 32-bit float as DuckDB does, by way of a 64-bit one."""
    return np.float32(whole / scale)


# --- the best items ------------------------------------------------------------------


@compiled
def rank_items(
    forest: Any,
    margin: Any,
    ineligible: Any,
    films: Any,
    seen: Any,
    scratch: Any,
    places: Any,
    scores: Any,
) -> Any:
    """Rank the items whose codes are in `scratch`, except ineligible and seen films.

    Fills `places` and `scores`, of shape (top_n,), best first.

    Returns:
        The length of the list.
    """
    is_excluded, n = scratch.is_excluded, 0
    n_left = len(is_excluded)
    for i in seen:
        if not is_excluded[films[i]]:
            n_left -= 1
        is_excluded[films[i]] = True
    for i in ineligible:
        if not is_excluded[i]:
            n_left -= 1
        is_excluded[i] = True
    n_scored = score_items(forest, margin, n_left, len(scores), scratch)
    for i in seen:
        is_excluded[films[i]] = False
    for i in ineligible:
        is_excluded[i] = False
    for k in range(n_scored):
        i = scratch.places[0, k]
        score = to_score(scratch.scores[i], forest.is_logistic)
        n = push(scores, places, n, score, i)
    sort_heap(scores, places, n)
    return n


@compiled
def score_items(forest: Any, margin: Any, n_left: Any, top_n: Any, scratch: Any) -> Any:
    """Score the items that can be among the best, and drop the others on the way.

    The first half of the trees scores every item. The other half scores the leaders,
    which gives a bound, and then only those items that can still reach the bound.

    Returns:
        The number of items in `scratch.places[0]`, whose scores are complete.
    """
    scores, is_excluded = scratch.scores, scratch.is_excluded
    places = scratch.places[0]
    n_trees = len(forest.remaining) - 1
    is_small = n_left <= 2 * top_n or n_trees < MIN_TREES_TO_COMPACT
    first = n_trees if is_small else n_trees // 2
    scores[:] = margin
    add_trees(forest, 0, first, scratch.codes, scores, scratch.buffers)
    n = 0
    if is_small:
        for i in range(len(scores)):
            if not is_excluded[i]:
                places[n] = i
                n += 1
        return n
    bound = score_leaders(forest, first, top_n, scratch)
    n = score_contenders(forest, first, bound, scratch)
    for i in scratch.places[1, :top_n]:
        is_excluded[i] = False
        places[n] = i
        n += 1
    return n


@compiled
def score_leaders(forest: Any, first: Any, top_n: Any, scratch: Any) -> Any:
    """Complete the scores of the items that lead so far, and exclude these items.

    Returns:
        The lowest of their scores, which an item must reach to be among the best.
    """
    scores, is_excluded, n = scratch.scores, scratch.is_excluded, 0
    leaders, best_scores = scratch.places[1, :top_n], scratch.values[1, :top_n]
    for i in range(len(scores)):
        if not is_excluded[i]:
            n = push(best_scores, leaders, n, scores[i], i)
    add_trees_at(forest, first, len(forest.remaining) - 1, leaders, scratch)
    bound = scores[leaders[0]]
    for i in leaders:
        bound = min(bound, scores[i])
        is_excluded[i] = True
    return bound


@compiled
def score_contenders(forest: Any, first: Any, bound: Any, scratch: Any) -> Any:
    """Add the trees from `first` on to the scores that can still reach the bound.

    Returns:
        The number of items in `scratch.places[0]`, whose scores are complete.
    """
    n_trees, places = len(forest.remaining) - 1, scratch.places[0]
    n = len(scratch.scores)
    for i in range(n):
        places[i] = i
    while True:
        n = keep_contenders(forest, first, bound, places, n, scratch)
        if first == n_trees:
            return n
        last = (first + n_trees) // 2
        last = n_trees if n_trees - last < MIN_TREES_TO_COMPACT else last
        add_trees_at(forest, first, last, places[:n], scratch)
        first = last


@compiled
def keep_contenders(
    forest: Any, first: Any, bound: Any, places: Any, n: Any, scratch: Any
) -> Any:
    """Keep those of n items that can reach the bound; return how many."""
    gain, n_kept = forest.remaining[first] + forest.slack, 0
    least = to_score(bound, forest.is_logistic)
    for k in range(n):
        i = places[k]
        most = np.float32(scratch.scores[i] + gain)
        if not scratch.is_excluded[i] and to_score(most, forest.is_logistic) >= least:
            places[n_kept] = i
            n_kept += 1
    return n_kept


@compiled
def push(scores: Any, places: Any, n: Any, score: Any, place: Any) -> Any:
    """Push an item onto a heap of n that keeps the best len(scores), worst at the root.

    Returns:
        The size of the heap afterwards.
    """
    if n == len(scores):
        if is_better(score, place, scores[0], places[0]):
            scores[0], places[0] = score, place
            sift_down(scores, places, n)
        return n
    at = n
    scores[at], places[at] = score, place
    while at:
        above = (at - 1) // 2
        if is_better(scores[at], places[at], scores[above], places[above]):
            break
        scores[at], scores[above] = scores[above], scores[at]
        places[at], places[above] = places[above], places[at]
        at = above
    return n + 1


@compiled
def sort_heap(scores: Any, places: Any, n: Any) -> None:
    """Sort a heap of n, best first."""
    while n > 1:
        n -= 1
        scores[0], scores[n] = scores[n], scores[0]
        places[0], places[n] = places[n], places[0]
        sift_down(scores, places, n)


@compiled
def sift_down(scores: Any, places: Any, n: Any) -> None:
    """Move the root of a heap of n down to its place."""
    at = 0
    while True:
        worst = at
        for child in range(2 * at + 1, min(2 * at + 3, n)):
            if is_better(scores[worst], places[worst], scores[child], places[child]):
                worst = child
        if worst == at:
            return
        scores[at], scores[worst] = scores[worst], scores[at]
        places[at], places[worst] = places[worst], places[at]
        at = worst


@compiled
def is_better(score: Any, place: Any, than: Any, than_place: Any) -> Any:
    """Return whether one item ranks above another: by score, then by item_id."""
    return score > than or (score == than and place < than_place)


# --- trees ---------------------------------------------------------------------------

# A node sends an item right if `code + shift > cut`, in the 8 or 16 bits of a code.
# Where missing values go left, the shift is 1: it wraps their code, the largest, to 0.


@compiled
def add_trees_at(forest: Any, first: Any, last: Any, places: Any, scratch: Any) -> None:
    """Add some trees to the scores of some items, after compacting their codes."""
    n = len(places)
    for row in range(len(scratch.codes)):
        codes, compacted = scratch.codes[row], scratch.compacted[row]
        for i in range(n):
            compacted[i] = codes[places[i]]
    scores = scratch.values[0, :n]
    for i in range(n):
        scores[i] = scratch.scores[places[i]]
    add_trees(forest, first, last, scratch.compacted, scores, scratch.buffers)
    for i in range(n):
        scratch.scores[places[i]] = scores[i]


@compiled
def add_trees(
    forest: Any, first: Any, last: Any, codes: Any, scores: Any, buffers: Any
) -> None:
    """Add some trees to scores, tree by tree as xgboost does.

    A sum of floats depends on its order, and equal lists need equal sums.
    """
    buffers[1, :] = 0
    for start in range(0, len(scores), CHUNK):
        some, chunk = scores[start : start + CHUNK], codes[:, start : start + CHUNK]
        for t in range(first, last):
            add_tree(
                some, chunk, forest.depth, forest.features[t], forest.cuts[t],
                forest.shifts[t], forest.leaves[t], buffers[0, : len(some)],
                buffers[1, : len(some)],
            )  # fmt: skip


@compiled
def add_tree(
    scores: Any,
    codes: Any,
    depth: Any,
    f: Any,
    cuts: Any,
    shifts: Any,
    leaves: Any,
    leaf: Any,
    bit: Any,
) -> None:
    """Add a tree to the scores of a chunk of items, level by level."""
    split_root(leaf, codes[f[0]], shifts[0], cuts[0])
    if depth > 1:
        split_two(leaf, codes, f[1:], shifts[1:], cuts[1:])
    for level in range(2, depth):
        for at in range(0, 1 << level, 4):
            node, first = (1 << level) - 1 + at, leaf.dtype.type(at)
            split_four(bit, leaf, first, codes, f[node:], shifts[node:], cuts[node:])
        for i in range(len(leaf)):
            leaf[i] = leaf.dtype.type(leaf[i] + leaf[i] + bit[i])
            bit[i] = 0
    for i in range(len(scores)):
        scores[i] += leaves[leaf[i]]


@compiled
def split_root(leaf: Any, codes: Any, shift: Any, cut: Any) -> None:
    """Send items to the left (0) or the right (1) of a tree's root."""
    kind = leaf.dtype.type
    for i in range(len(leaf)):
        leaf[i] = kind(codes[i] + shift) > cut


@compiled
def split_two(leaf: Any, codes: Any, f: Any, shifts: Any, cuts: Any) -> None:
    """Send items on at the two nodes below the root."""
    kind = leaf.dtype.type
    q0, q1 = codes[f[0]], codes[f[1]]
    s0, s1, c0, c1 = shifts[0], shifts[1], cuts[0], cuts[1]
    for i in range(len(leaf)):
        right0 = kind(kind(q0[i] + s0) > c0)
        right1 = kind(kind(q1[i] + s1) > c1)
        at = leaf[i]
        right = (right0 & kind(at == 0)) | (right1 & kind(at == 1))
        leaf[i] = kind(at + at + right)


@compiled
def split_four(
    bit: Any, leaf: Any, first: Any, codes: Any, f: Any, shifts: Any, cuts: Any
) -> None:
    """Set the bit of items that go right at four nodes of a level, from `first` on."""
    kind = leaf.dtype.type
    q0, q1, q2, q3 = codes[f[0]], codes[f[1]], codes[f[2]], codes[f[3]]
    s0, s1, s2, s3 = shifts[0], shifts[1], shifts[2], shifts[3]
    c0, c1, c2, c3 = cuts[0], cuts[1], cuts[2], cuts[3]
    for i in range(len(leaf)):
        right0 = kind(kind(q0[i] + s0) > c0)
        right1 = kind(kind(q1[i] + s1) > c1)
        right2 = kind(kind(q2[i] + s2) > c2)
        right3 = kind(kind(q3[i] + s3) > c3)
        at = kind(leaf[i] - first)
        # masks: LLVM turns conditions into a switch, which it does not vectorize
        right = (right0 & kind(at == 0)) | (right1 & kind(at == 1))
        right |= (right2 & kind(at == 2)) | (right3 & kind(at == 3))
        bit[i] = kind(bit[i] | right)


@compiled
def to_score(margin: Any, is_logistic: Any) -> Any:
    """Turn a sum of leaves into the score that xgboost gives."""
    if is_logistic:
        x = min(-margin, np.float32(88.7))
        return np.float32(1) / (np.exp(x) + np.float32(1) + np.float32(1e-16))
    return margin
