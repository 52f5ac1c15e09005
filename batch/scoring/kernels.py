"""The loops of the compiled scorer, which numba turns into machine code.

A user's features are no matrix of floats. Each is a row with a column an item, of
codes: how many of the thresholds that the model compares this feature with are not
above its value. Trees compare codes, of which a processor takes 32 or 64 at once.

What the features are is told by `sql/marts/pair_features.sql`; tests hold each cell of
these, and each list, against it.

It is one file because numba keeps the code of a function until this function's file
changes, and would not notice a change of what it calls elsewhere. Functions take the
few arrays that they need: numba spends its time on every array that is passed on.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Codes = npt.NDArray[np.unsignedinteger[Any]]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]

CHUNK = 2048
"""Items whose codes are compared at once: they, and what is known of them, stay in the
nearest caches."""

MOST_COUNTED = 128
"""With more thresholds than that a search takes less than to compare with all."""

FEWEST_TREES = 20
"""Fewer are not worth to lay codes aside for."""

NULL = np.iinfo(np.int64).min


def compiled(function: Callable[..., Any]) -> Any:
    """Have numba compile a function when it is called first, and keep the code."""
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no folder to keep it in can be written to
        return njit(nogil=True, error_model="numpy")(function)


class Forest(NamedTuple):
    """The trees, as `batch/scoring/forest.py` lays them out."""

    thresholds: Floats  # of all features, one behind the other
    threshold_starts: Longs  # (n_features + 1,)
    depth: int  # 0: trees are walked item by item
    features: Ints
    cuts: Codes
    shifts: Codes
    leaves: Floats
    roots: Longs
    children: Ints  # (2, n_nodes), -1 below leaves
    remaining: Doubles  # (n_trees + 1,): what the trees from here on add at most
    base: np.float32
    missing: np.unsignedinteger[Any]
    is_logistic: bool
    slack: float


class Items(NamedTuple):
    """What is known of items; `batch/scoring/arrays.py` reads it."""

    codes: Codes  # (n item features, n_items)
    first_code: int
    doubles: Doubles  # (n attributes, n_items)
    gaps: Longs  # (n_gaps, 4): feature, attribute of items, of users, kind
    genre_set: Longs  # (n_items,); -1 where there are no genres
    set_starts: Longs  # (n_sets + 1,)
    set_genres: Longs
    weeks: Codes  # (n_weeks + 1, 2, n_items); the last of nobody
    audiences: Codes  # (n_audiences + 1, 2, n_items); the last of nobody
    near_starts: Longs  # (n_items + 1,)
    near: Ints  # (n_neighbours, 3): other item, similarity, liked similarity
    along_starts: Longs  # (n_items + 1,)
    along: Ints  # (n_sequences, 5): other item, next share, next, previous, session
    known: Ints  # (n_known,): the items that linear models know
    weights: Ints  # (n_models, n_known, n_known)
    scores: Longs  # (n linear scores, 2): model, state
    unit: float  # of linear scores
    rows: Longs  # the first feature of: user, trend, audience, genre, taste, sequence,
    # linear
    scales: Longs  # (2, 7): of the sums of tastes and of sequences


class Users(NamedTuple):
    """What is known of a block of users."""

    floats: Floats  # (n_users, n user features)
    doubles: Doubles  # (n_users, n attributes)
    places: Longs  # (n_users, 3): week, audiences by age and by occupation
    history_starts: Longs  # (n_users + 1,)
    history: Ints  # (n, 7): item, recent, liked, disliked, slow, usual, fast weight
    state_starts: Longs  # (n_users + 1,)
    states: Ints  # (n, 1 + n_states): known item, its weight in each state
    genre_starts: Longs  # (n_users + 1,)
    genres: Longs  # (n, 6): genre, history, recent, liked share, liking, lift


class Scratch(NamedTuple):
    """What a thread writes on."""

    codes: Codes  # (n_features, n_items)
    kept: Codes  # (n_features, n_items)
    small: Codes  # (3, n_items or CHUNK)
    values: Floats  # (2, n_items)
    scores: Floats  # (n_items,)
    sums: Longs  # (n_items, 8)
    touched: Ints  # (n_items,)
    places: Ints  # (2, n_items)
    is_out: npt.NDArray[np.bool_]  # (n_items,)
    linear: Doubles  # (n linear scores, n_known)
    by_genre: Longs  # (n_genres, 6)


# --- codes ---------------------------------------------------------------------------


@compiled
def code_of(value: Any, thresholds: Any, missing: Any) -> Any:
    """Count the thresholds not above a value."""
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
def encode(codes: Any, values: Any, thresholds: Any, missing: Any) -> None:
    """Turn the values of a feature into codes."""
    if len(thresholds) > MOST_COUNTED:
        for i in range(len(codes)):
            codes[i] = code_of(values[i], thresholds, missing)
        return
    for start in range(0, len(codes), CHUNK):
        some, those = codes[start : start + CHUNK], values[start : start + CHUNK]
        some[:] = 0
        for threshold in thresholds:
            for i in range(len(some)):
                some[i] = some[i] + (those[i] >= threshold)
        for i in range(len(some)):
            some[i] = missing if np.isnan(those[i]) else some[i]


@compiled
def encode_some(
    codes: Any, where: Any, values: Any, thresholds: Any, missing: Any, small: Any
) -> None:
    """Turn the values of a feature of some items into codes; the others miss it."""
    encode(small[: len(where)], values, thresholds, missing)
    codes[:] = missing
    for i in range(len(where)):
        codes[where[i]] = small[i]


@compiled
def as_float(whole: Any, scale: Any) -> Any:
    """Cast a decimal to a 32-bit float as DuckDB does, by way of one of 64 bits."""
    if whole == NULL:
        return np.float32(np.nan)
    return np.float32(whole / scale)


# --- a user's features ---------------------------------------------------------------


@compiled
def add_user(
    codes: Any, row: Any, values: Any, u: Any, cuts: Any, starts: Any, missing: Any
) -> None:
    """Fill the rows of what is known of the user alone."""
    for i in range(values.shape[1]):
        thresholds = cuts[starts[row + i] : starts[row + i + 1]]
        codes[row + i, :] = code_of(values[u, i], thresholds, missing)


@compiled
def add_gaps(
    codes: Any,
    gaps: Any,
    of_items: Any,
    of_users: Any,
    u: Any,
    values: Any,
    cuts: Any,
    starts: Any,
    missing: Any,
) -> None:
    """Fill the rows of how far items are from the user, in one way or another.

    Kinds of gaps: 1 is item less user, -1 user less item, 0 how far, whichever way.
    """
    for g in range(len(gaps)):
        row, kind, user = gaps[g, 0], gaps[g, 3], of_users[u, gaps[g, 2]]
        thresholds = cuts[starts[row] : starts[row + 1]]
        if not len(thresholds):
            continue
        items = of_items[gaps[g, 1]]
        if kind == 0:
            for i in range(len(items)):
                values[i] = abs(items[i] - user)
        else:
            for i in range(len(items)):
                values[i] = (items[i] - user) * kind
        encode(codes[row], values, thresholds, missing)


@compiled
def genre_value(which: Any, genres: Any, by_genre: Any) -> Any:
    """Sum up what a user's taste for genres is, over the genres of a set.

    `by_genre` has a 1 in front for genres that the user knows.
    """
    total, n, n_known = 0, len(genres), 0
    column = which if which > 1 else 1
    for genre in genres:
        n_known += by_genre[genre, 0]
        if which == 1:  # the share of the genre that is seen most
            total = max(total, by_genre[genre, 1])
        else:
            total += by_genre[genre, column]
    if which == 1:
        return as_float(total, 1_000_000) if n_known else np.float32(np.nan)
    if which == 4:  # how the genre is liked is only known if it was rated
        n = n_known
    return np.float32(total / (n * 1_000_000.0)) if n else np.float32(np.nan)


@compiled
def add_genres(
    codes: Any,
    row: Any,
    genres: Any,
    first: Any,
    last: Any,
    by_genre: Any,
    set_starts: Any,
    set_genres: Any,
    genre_set: Any,
    values: Any,
    small: Any,
    cuts: Any,
    starts: Any,
    missing: Any,
) -> None:
    """Fill the rows of the user's taste for the items' genres, set by set of these."""
    by_genre[:] = 0
    for i in range(first, last):
        by_genre[genres[i, 0], 0] = 1
        for column in range(1, 6):
            by_genre[genres[i, 0], column] = genres[i, column]
    n_sets = len(set_starts) - 1
    for which in range(6):
        thresholds = cuts[starts[row + which] : starts[row + which + 1]]
        for s in range(n_sets):
            some = set_genres[set_starts[s] : set_starts[s + 1]]
            values[s] = genre_value(which, some, by_genre)
        encode(small[:n_sets], values, thresholds, missing)
        for i in range(len(genre_set)):
            s = genre_set[i]
            codes[row + which, i] = small[s] if s >= 0 else missing


@compiled
def sum_tastes(
    history: Any,
    first: Any,
    last: Any,
    near_starts: Any,
    near: Any,
    sums: Any,
    touched: Any,
) -> Any:
    """Sum how near items are to those that the user has rated; count the touched."""
    n = 0
    for i in range(first, last):
        item, liked, disliked = history[i, 0], history[i, 2], history[i, 3]
        slow, usual = np.int64(history[i, 4]), np.int64(history[i, 5])
        for j in range(near_starts[item], near_starts[item + 1]):
            other, similarity = near[j, 0], np.int64(near[j, 1])
            if sums[other, 7] == 0:
                touched[n] = other
                n += 1
            sums[other, 0] += similarity
            sums[other, 1] += similarity * slow
            sums[other, 2] += similarity * usual
            sums[other, 3] = max(sums[other, 3], similarity)
            sums[other, 4] += np.int64(near[j, 2]) * liked
            sums[other, 5] += similarity * disliked
            sums[other, 6] |= liked | (disliked << 1)
            sums[other, 7] = 1
    for i in range(n):
        other = touched[i]
        if not sums[other, 6] & 1:
            sums[other, 4] = NULL
        if not sums[other, 6] & 2:
            sums[other, 5] = NULL
    return n


@compiled
def sum_sequences(
    history: Any,
    first: Any,
    last: Any,
    along_starts: Any,
    along: Any,
    sums: Any,
    touched: Any,
) -> Any:
    """Sum how items go along in time with those last rated; count the touched."""
    n = 0
    for i in range(first, last):
        if not history[i, 1]:
            continue
        item, slow = history[i, 0], np.int64(history[i, 4])
        usual, fast = np.int64(history[i, 5]), np.int64(history[i, 6])
        for j in range(along_starts[item], along_starts[item + 1]):
            other, following = along[j, 0], np.int64(along[j, 2])
            before = np.int64(along[j, 3])
            if sums[other, 7] == 0:
                touched[n] = other
                n += 1
            sums[other, 0] += np.int64(along[j, 1]) * usual
            sums[other, 1] += following * fast
            sums[other, 2] += following * slow
            sums[other, 3] = max(sums[other, 3], following * usual)
            sums[other, 4] += before * fast
            sums[other, 5] += before * slow
            sums[other, 6] += np.int64(along[j, 4]) * usual
            sums[other, 7] = 1
    return n


@compiled
def add_sums(
    codes: Any,
    row: Any,
    n_columns: Any,
    sums: Any,
    touched: Any,
    n: Any,
    scales: Any,
    which: Any,
    values: Any,
    small: Any,
    cuts: Any,
    starts: Any,
    missing: Any,
) -> None:
    """Fill the rows of what was summed for n items, and forget the sums."""
    where = touched[:n]
    for column in range(n_columns):
        for i in range(len(where)):
            values[i] = as_float(sums[where[i], column], scales[which, column])
        thresholds = cuts[starts[row + column] : starts[row + column + 1]]
        encode_some(codes[row + column], where, values, thresholds, missing, small)
    for i in range(len(where)):
        sums[where[i], :] = 0


@compiled
def sum_linear(
    states: Any, first: Any, last: Any, weights: Any, scores: Any, linear: Any
) -> None:
    """Sum what the linear models say of each item that they know."""
    linear[:] = 0
    for i in range(first, last):
        for k in range(len(scores)):
            factor = float(states[i, 1 + scores[k, 1]])
            if factor != 0:
                row, to = weights[scores[k, 0], states[i, 0]], linear[k]
                for j in range(len(to)):
                    to[j] += row[j] * factor


@compiled
def add_linear(
    codes: Any,
    row: Any,
    linear: Any,
    unit: Any,
    known: Any,
    values: Any,
    small: Any,
    cuts: Any,
    starts: Any,
    missing: Any,
) -> None:
    """Fill the rows of the linear models' scores."""
    for k in range(len(linear)):
        for j in range(len(known)):
            values[j] = linear[k, j] * unit
        thresholds = cuts[starts[row + k] : starts[row + k + 1]]
        encode_some(codes[row + k], known, values, thresholds, missing, small)


# --- trees ---------------------------------------------------------------------------

# A comparison is `code + shift > cut`, in the codes' own few bits. Where what is
# missing goes left, shift is 1 and the code of what is missing, the largest, becomes 0.


@compiled
def split_root(leaf: Any, q: Any, shift: Any, cut: Any) -> None:
    """Send items to the left (0) or the right (1) of a tree's root."""
    kind = leaf.dtype.type
    for i in range(len(leaf)):
        leaf[i] = kind(q[i] + shift) > cut


@compiled
def split_two(leaf: Any, q: Any, f: Any, shifts: Any, cuts: Any) -> None:
    """Send items on at the two nodes below the root."""
    kind = leaf.dtype.type
    q0, q1 = q[f[0]], q[f[1]]
    s0, s1, c0, c1 = shifts[0], shifts[1], cuts[0], cuts[1]
    for i in range(len(leaf)):
        right0 = kind(kind(q0[i] + s0) > c0)
        right1 = kind(kind(q1[i] + s1) > c1)
        at = leaf[i]
        leaf[i] = kind(at + at + (right1 if at else right0))


@compiled
def split_four(
    bit: Any, leaf: Any, first: Any, q: Any, f: Any, shifts: Any, cuts: Any
) -> None:
    """Tell which items go right at four of a level's nodes, from `first` on."""
    kind = leaf.dtype.type
    q0, q1, q2, q3 = q[f[0]], q[f[1]], q[f[2]], q[f[3]]
    s0, s1, s2, s3 = shifts[0], shifts[1], shifts[2], shifts[3]
    c0, c1, c2, c3 = cuts[0], cuts[1], cuts[2], cuts[3]
    nothing = kind(0)
    for i in range(len(leaf)):
        right0 = kind(kind(q0[i] + s0) > c0)
        right1 = kind(kind(q1[i] + s1) > c1)
        right2 = kind(kind(q2[i] + s2) > c2)
        right3 = kind(kind(q3[i] + s3) > c3)
        at = kind(leaf[i] - first)
        right = right3 if at == 3 else nothing
        right = right2 if at == 2 else right
        right = right1 if at == 1 else right
        right = right0 if at == 0 else right
        bit[i] = kind(bit[i] | right)


@compiled
def go_down(leaf: Any, bit: Any) -> None:
    """Go one level down, and forget where to."""
    kind = leaf.dtype.type
    for i in range(len(leaf)):
        leaf[i] = kind(leaf[i] + leaf[i] + bit[i])
        bit[i] = 0


@compiled
def add_level_tree(
    scores: Any,
    q: Any,
    depth: Any,
    f: Any,
    cuts: Any,
    shifts: Any,
    leaves: Any,
    leaf: Any,
    bit: Any,
) -> None:
    """Add what a shallow tree says of a chunk of items, level by level."""
    split_root(leaf, q[f[0]], shifts[0], cuts[0])
    if depth > 1:
        split_two(leaf, q, f[1:], shifts[1:], cuts[1:])
    for level in range(2, depth):
        for at in range(0, 1 << level, 4):
            node, first = (1 << level) - 1 + at, leaf.dtype.type(at)
            split_four(bit, leaf, first, q, f[node:], shifts[node:], cuts[node:])
        go_down(leaf, bit)
    for i in range(len(scores)):
        scores[i] += leaves[leaf[i]]


@compiled
def add_deep_tree(
    scores: Any,
    q: Any,
    root: Any,
    f: Any,
    cuts: Any,
    shifts: Any,
    leaves: Any,
    children: Any,
) -> None:
    """Add what a deep tree says of a chunk of items, item by item."""
    kind = cuts.dtype.type
    for i in range(len(scores)):
        node = root
        while children[0, node] >= 0:
            goes_right = kind(q[f[node], i] + shifts[node]) > cuts[node]
            node = children[1, node] if goes_right else children[0, node]
        scores[i] += leaves[node]


@compiled
def add_trees(
    forest: Any, first: Any, last: Any, q: Any, scores: Any, small: Any
) -> None:
    """Add to scores what some trees say, tree by tree as xgboost does.

    A sum of floats depends on its order, and equal lists need equal sums.
    """
    small[1, :] = 0
    for start in range(0, len(scores), CHUNK):
        some, codes = scores[start : start + CHUNK], q[:, start : start + CHUNK]
        for t in range(first, last):
            if forest.depth > 0:
                add_level_tree(
                    some,
                    codes,
                    forest.depth,
                    forest.features[t],
                    forest.cuts[t],
                    forest.shifts[t],
                    forest.leaves[t],
                    small[0, : len(some)],
                    small[1, : len(some)],
                )
            else:
                add_deep_tree(
                    some,
                    codes,
                    forest.roots[t],
                    forest.features[0],
                    forest.cuts[0],
                    forest.shifts[0],
                    forest.leaves[0],
                    forest.children,
                )


@compiled
def shown(margin: Any, is_logistic: Any) -> Any:
    """Turn the sum of leaves into the score that xgboost gives."""
    if is_logistic:
        x = min(-margin, np.float32(88.7))
        return np.float32(1) / (np.exp(x) + np.float32(1) + np.float32(1e-16))
    return margin


@compiled
def show(scores: Any, is_logistic: Any) -> None:
    """Turn the sums of leaves into scores, in place."""
    for i in range(len(scores)):
        scores[i] = shown(scores[i], is_logistic)


# --- the best ------------------------------------------------------------------------


@compiled
def is_better(score: Any, place: Any, than: Any, than_place: Any) -> Any:
    """Tell which of two ranks higher: of equal scores the lower item_id."""
    return score > than or (score == than and place < than_place)


@compiled
def sift(scores: Any, places: Any, n: Any) -> None:
    """Move the root of a heap of n, which has the worst at its root, to its place."""
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
def offer(scores: Any, places: Any, n: Any, score: Any, place: Any) -> Any:
    """Offer an item to a heap that holds n and has room for len(scores) of the best.

    Returns:
        How many it holds then.
    """
    if n == len(scores):
        if is_better(score, place, scores[0], places[0]):
            scores[0], places[0] = score, place
            sift(scores, places, n)
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
def sort(scores: Any, places: Any, n: Any) -> None:
    """Sort a heap of n, best first."""
    while n > 1:
        n -= 1
        scores[0], scores[n] = scores[n], scores[0]
        places[0], places[n] = places[n], places[0]
        sift(scores, places, n)


@compiled
def can_reach(score: Any, remaining: Any, needed: Any, is_logistic: Any) -> Any:
    """Tell whether what is left of the trees could lift a score to what is needed."""
    most = np.float32(score + remaining)
    return shown(most, is_logistic) >= shown(needed, is_logistic)


@compiled
def go_on(forest: Any, first: Any, last: Any, where: Any, scratch: Any) -> None:
    """Let some trees add to the scores of some items."""
    n = len(where)
    for row in range(len(scratch.codes)):
        codes, kept = scratch.codes[row], scratch.kept[row]
        for i in range(n):
            kept[i] = codes[where[i]]
    scores = scratch.values[0, :n]
    for i in range(n):
        scores[i] = scratch.scores[where[i]]
    add_trees(forest, first, last, scratch.kept, scores, scratch.small)
    for i in range(n):
        scratch.scores[where[i]] = scores[i]


@compiled
def lead(forest: Any, first: Any, top_n: Any, scratch: Any) -> Any:
    """Score those that lead before the tree `first` to the end, and mark them as out.

    Returns:
        What it takes, at least, to be among the best: the least score of theirs.
    """
    scores, is_out, n = scratch.scores, scratch.is_out, 0
    leaders, best_scores = scratch.places[1, :top_n], scratch.values[1, :top_n]
    for i in range(len(scores)):
        if not is_out[i]:
            n = offer(best_scores, leaders, n, scores[i], i)
    go_on(forest, first, len(forest.remaining) - 1, leaders, scratch)
    needed = scores[leaders[0]]
    for i in leaders:
        needed = min(needed, scores[i])
        is_out[i] = True
    return needed


@compiled
def who_can_reach(
    forest: Any, first: Any, needed: Any, places: Any, n: Any, scratch: Any
) -> Any:
    """Keep those of n places, and count them, that are not out of the running."""
    most, n_kept = forest.remaining[first] + forest.slack, 0
    for k in range(n):
        i = places[k]
        if not scratch.is_out[i] and can_reach(
            scratch.scores[i], most, needed, forest.is_logistic
        ):
            places[n_kept] = i
            n_kept += 1
    return n_kept


@compiled
def follow(forest: Any, first: Any, needed: Any, scratch: Any) -> Any:
    """Score, from the tree `first` on, those that can still reach what is needed.

    Returns:
        The number of places in `scratch.places[0]` that have a whole score.
    """
    n_trees, places = len(forest.remaining) - 1, scratch.places[0]
    n = len(scratch.scores)
    for i in range(n):
        places[i] = i
    while True:
        n = who_can_reach(forest, first, needed, places, n, scratch)
        if first == n_trees:
            return n
        last = (first + n_trees) // 2
        last = n_trees if n_trees - last < FEWEST_TREES else last
        go_on(forest, first, last, places[:n], scratch)
        first = last


@compiled
def score_all(forest: Any, n_unseen: Any, top_n: Any, scratch: Any) -> Any:
    """Score a user's items as far as they can be among the best.

    Half of the trees see every item. Those that lead then are scored to the end, which
    tells how much it takes; of the others only who can still reach it go on.

    Returns:
        The number of places in `scratch.places[0]` that have a whole score.
    """
    scores, is_out, places = scratch.scores, scratch.is_out, scratch.places[0]
    n_trees = len(forest.remaining) - 1
    is_short = n_unseen <= 2 * top_n or n_trees < FEWEST_TREES
    first = n_trees if is_short else n_trees // 2
    scores[:] = forest.base
    add_trees(forest, 0, first, scratch.codes, scores, scratch.small)
    n = 0
    if is_short:
        for i in range(len(scores)):
            if not is_out[i]:
                places[n] = i
                n += 1
        return n
    needed = lead(forest, first, top_n, scratch)
    n = follow(forest, first, needed, scratch)
    for i in scratch.places[1, :top_n]:
        is_out[i] = False
        places[n] = i
        n += 1
    return n


@compiled
def best(forest: Any, seen: Any, scratch: Any, places: Any, scores: Any) -> Any:
    """Rank a user's items of which the codes are in `scratch`.

    Those `seen` are left out. `places` and `scores`, of shape (top_n,), get the best
    ones, best first.

    Returns:
        How many there are.
    """
    is_out, n = scratch.is_out, 0
    for i in seen:
        is_out[i] = True
    n_whole = score_all(forest, len(is_out) - len(seen), len(scores), scratch)
    for i in seen:
        is_out[i] = False
    for k in range(n_whole):
        i = scratch.places[0, k]
        score = shown(scratch.scores[i], forest.is_logistic)
        n = offer(scores, places, n, score, i)
    sort(scores, places, n)
    return n


@compiled
def fill(u: Any, users: Any, items: Any, forest: Any, scratch: Any) -> None:
    """Fill the codes of a user's features; those of items alone are there."""
    codes, values, small = scratch.codes, scratch.values[0], scratch.small[2]
    cuts, starts, missing = forest.thresholds, forest.threshold_starts, forest.missing
    sums, touched, rows = scratch.sums, scratch.touched, items.rows
    user, trend, audience, genre = rows[0], rows[1], rows[2], rows[3]
    taste, sequence, linear = rows[4], rows[5], rows[6]
    add_user(codes, user, users.floats, u, cuts, starts, missing)
    for i in range(2):
        codes[trend + i] = items.weeks[users.places[u, 0], i]
        codes[audience + i] = items.audiences[users.places[u, 1 + i], i]
    add_gaps(
        codes, items.gaps, items.doubles, users.doubles, u, values, cuts, starts,
        missing,
    )  # fmt: skip
    add_genres(
        codes, genre, users.genres, users.genre_starts[u], users.genre_starts[u + 1],
        scratch.by_genre, items.set_starts, items.set_genres, items.genre_set, values,
        small, cuts, starts, missing,
    )  # fmt: skip
    first, last = users.history_starts[u], users.history_starts[u + 1]
    n = sum_tastes(
        users.history, first, last, items.near_starts, items.near, sums, touched
    )
    add_sums(
        codes, taste, 6, sums, touched, n, items.scales, 0, values, small, cuts,
        starts, missing,
    )  # fmt: skip
    n = sum_sequences(
        users.history, first, last, items.along_starts, items.along, sums, touched
    )
    add_sums(
        codes, sequence, 7, sums, touched, n, items.scales, 1, values, small, cuts,
        starts, missing,
    )  # fmt: skip
    first, last = users.state_starts[u], users.state_starts[u + 1]
    sum_linear(users.states, first, last, items.weights, items.scores, scratch.linear)
    add_linear(
        codes, linear, scratch.linear, items.unit, items.known, values, small, cuts,
        starts, missing,
    )  # fmt: skip


@compiled
def rank(
    first: Any,
    last: Any,
    users: Any,
    items: Any,
    forest: Any,
    scratch: Any,
    best_items: Any,
    best_scores: Any,
    n_best: Any,
) -> None:
    """Rank the unseen items for the users from `first` to before `last` of a block.

    `best_items`, of shape (n_users, top_n), gets the places of items, best first, and
    `best_scores` theirs; `n_best`, of shape (n_users,), how many there are.
    """
    row, n_rows = items.first_code, len(items.codes)
    scratch.codes[row : row + n_rows] = items.codes
    for u in range(first, last):
        fill(u, users, items, forest, scratch)
        seen = users.history[users.history_starts[u] : users.history_starts[u + 1], 0]
        n_best[u] = best(forest, seen, scratch, best_items[u], best_scores[u])
