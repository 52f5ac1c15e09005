"""Lays out a booster's trees as arrays for the compiled scorer."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from batch.scoring.kernels import CHUNK, Codes, Floats, Forest, add_trees, to_score

if TYPE_CHECKING:
    import xgboost

MAX_DEPTH = 8
"""Each level doubles the comparisons; a byte can number the leaves of eight levels."""

LOGISTIC = ("binary:logistic", "reg:logistic")
PLAIN = ("rank:", "reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror")
"""Objectives whose score is a sum of leaves, or the logistic function of one."""

N_PROBES = 256

Tree = Mapping[str, Sequence[Any]]


class UnsupportedError(ValueError):
    """The compiled scorer cannot score with this booster, for the reason given."""


def lay_out(booster: "xgboost.Booster", names: Sequence[str]) -> Forest:
    """Return a booster's trees as arrays, with features in the order of `names`.

    Raises:
        UnsupportedError: the booster has other than numeric trees, several targets,
            features outside `names`, or scores that the arrays do not reproduce.
    """
    model = json.loads(trimmed(booster).save_raw("json"))["learner"]
    check(model)
    rows = rows_of(model, names)
    trees = model["gradient_booster"]["model"]["trees"]
    thresholds = [
        np.unique(np.array(sorted(found), np.float32))  # as xgboost compares them
        for found in thresholds_by_row(trees, rows, len(names))
    ]
    return verified(as_forest(model, trees, rows, thresholds), booster, rows)


def trimmed(booster: "xgboost.Booster") -> "xgboost.Booster":
    """Drop the trees that were grown after the best iteration of early stopping."""
    best = booster.attr("best_iteration")
    return booster if best is None else booster[: int(best) + 1]


def check(model: Mapping[str, Any]) -> None:
    """Check that the compiled scorer can compute a model.

    Raises:
        UnsupportedError: names the unsupported part.
    """
    kind = model["gradient_booster"]["name"]
    objective = model["objective"]["name"]
    if kind != "gbtree":
        raise UnsupportedError(f"its booster is {kind}, not gbtree")
    if not objective.startswith(PLAIN + LOGISTIC):
        raise UnsupportedError(f"its objective is {objective}")
    parameters = model["learner_model_param"]
    if int(parameters["num_class"]) > 1 or int(parameters.get("num_target", 1)) > 1:
        raise UnsupportedError("it has several targets")
    trees = model["gradient_booster"]["model"]["trees"]
    if not trees:
        raise UnsupportedError("it has no trees")
    if any(tree["categories"] for tree in trees):
        raise UnsupportedError("it splits on categories")


def rows_of(model: Mapping[str, Any], names: Sequence[str]) -> list[int]:
    """Return the position in `names` of each of the model's features."""
    own = model["feature_names"] or list(names)
    unknown = [name for name in own if name not in names]
    if unknown:
        raise UnsupportedError(f"it wants {', '.join(unknown)}")
    if len(own) != int(model["learner_model_param"]["num_feature"]):
        raise UnsupportedError("its features have no names")
    return [names.index(name) for name in own]


def inner_nodes(tree: Tree) -> Iterator[int]:
    """Return the nodes that compare a feature with a threshold."""
    return (node for node, left in enumerate(tree["left_children"]) if left != -1)


def thresholds_by_row(
    trees: Sequence[Tree], rows: Sequence[int], n: int
) -> list[set[float]]:
    """Collect the thresholds of each feature."""
    found: list[set[float]] = [set() for _ in range(n)]
    for tree in trees:
        for node in inner_nodes(tree):
            row = rows[tree["split_indices"][node]]
            found[row].add(float(tree["split_conditions"][node]))
    return found


def depth_of(tree: Tree) -> int:
    """Return the number of comparisons on the longest path."""
    depths = [0] * len(tree["left_children"])
    for node in inner_nodes(tree):  # parents come before their children
        for child in (tree["left_children"][node], tree["right_children"][node]):
            depths[child] = depths[node] + 1
    return max(depths)


def as_forest(
    model: Mapping[str, Any],
    trees: Sequence[Tree],
    rows: Sequence[int],
    thresholds: Sequence[Floats],
) -> Forest:
    """Build the arrays of a forest."""
    most = max(map(len, thresholds))
    # the largest code stands for a missing value
    kind: type[np.uint8 | np.uint16] = np.uint8
    if most >= np.iinfo(kind).max:
        kind = np.uint16
    if most >= np.iinfo(kind).max:
        raise UnsupportedError(f"it compares a feature with {most:,} thresholds")
    depth = max(1, *map(depth_of, trees))
    if depth > MAX_DEPTH:
        raise UnsupportedError(f"its trees have {depth} levels, more than {MAX_DEPTH}")
    n, n_inner = len(trees), 2**depth - 1
    margin, is_logistic = base_of(model)
    forest = Forest(
        thresholds=np.concatenate([*thresholds, np.empty(0, np.float32)]),
        threshold_starts=np.cumsum([0, *map(len, thresholds)]).astype(np.int64),
        depth=depth,
        features=np.zeros((n, n_inner), np.int32),
        cuts=np.full((n, n_inner), np.iinfo(kind).max, kind),
        shifts=np.zeros((n, n_inner), kind),
        leaves=np.zeros((n, n_inner + 1), np.float32),
        remaining=np.zeros(n + 1),
        base=margin,
        missing=kind(np.iinfo(kind).max),
        is_logistic=is_logistic,
        slack=0.0,
    )
    for t, tree in enumerate(trees):
        write_tree(forest, t, tree, rows, thresholds)
    largest = forest.leaves.max(axis=1).astype(np.float64)
    size = np.abs(forest.leaves).max(axis=1).sum(dtype=np.float64) + abs(float(margin))
    return forest._replace(
        remaining=np.append(np.cumsum(largest[::-1])[::-1], 0.0),
        slack=float(2 * n * np.finfo(np.float32).eps * size),
    )


def write_tree(
    forest: Forest,
    t: int,
    tree: Tree,
    rows: Sequence[int],
    thresholds: Sequence[Floats],
) -> None:
    """Write a tree as a full one; the nodes that this adds send all items left."""
    n_inner = forest.features.shape[1]
    # pairs of a place in the full tree and the booster's node there; the children of
    # place p are at 2p + 1 and 2p + 2
    todo = [(0, 0)]
    while todo:
        place, node = todo.pop()
        left, right = tree["left_children"][node], tree["right_children"][node]
        threshold = np.float32(tree["split_conditions"][node])
        if place >= n_inner:
            forest.leaves[t, place - n_inner] = threshold
            continue
        if left == -1:
            left = right = node
        else:
            row = rows[tree["split_indices"][node]]
            # a shift of 1 wraps the code of a missing value to 0, which goes left
            shift = int(tree["default_left"][node])
            code = int(np.searchsorted(thresholds[row], threshold))
            forest.features[t, place] = row
            forest.cuts[t, place] = code + shift
            forest.shifts[t, place] = shift
        todo += [(2 * place + 1, left), (2 * place + 2, right)]


def base_of(model: Mapping[str, Any]) -> tuple[np.float32, bool]:
    """Return the sum before the first tree, and whether the score is logistic."""
    base = np.float32(str(model["learner_model_param"]["base_score"]).strip("[]"))
    is_logistic = model["objective"]["name"] in LOGISTIC
    if is_logistic:
        base = -np.log(np.float32(1) / base - np.float32(1), dtype=np.float32)
    return np.float32(base), is_logistic


def encoded_column(forest: Forest, row: int, values: Floats) -> Codes:
    """Return the codes of a feature's values, in the same shape."""
    starts = forest.threshold_starts
    thresholds = forest.thresholds[starts[row] : starts[row + 1]]
    counted = np.searchsorted(thresholds, values, side="right")
    codes = np.where(np.isnan(values), forest.missing, counted)
    return codes.astype(forest.cuts.dtype)


def verified(forest: Forest, booster: "xgboost.Booster", rows: Sequence[int]) -> Forest:
    """Return the forest with the base that reproduces xgboost's sums.

    The base is known except for the last bits of a logarithm. The rows to compare lie
    at thresholds and have missing values.

    Raises:
        UnsupportedError: no base reproduces them.
    """
    values = probes(forest)
    best = booster.attr("best_iteration")
    trees = (0, int(best) + 1) if best is not None else (0, 0)
    margins, scores = (
        booster.inplace_predict(
            values[:, list(rows)],
            iteration_range=trees,
            predict_type=kind,
            validate_features=False,
        )
        for kind in ("margin", "value")
    )
    bits = forest.base.view(np.int32) + np.array([0, -1, 1, -2, 2], np.int32)
    for base in bits.view(np.float32):  # the base, and the floats next to it
        candidate = forest._replace(base=base)
        sums = predicted(candidate, values)
        if np.array_equal(sums, margins):
            own = [to_score(margin, forest.is_logistic) for margin in sums]
            if np.array_equal(np.array(own, np.float32), scores):
                return candidate
    raise UnsupportedError("its scores are not those that xgboost gives")


def probes(forest: Forest) -> Floats:
    """Draw values at and next to thresholds, of shape (N_PROBES, n_features)."""
    draw = np.random.default_rng(0)
    starts = forest.threshold_starts
    values = np.zeros((N_PROBES, len(starts) - 1), np.float32)
    for row in range(values.shape[1]):
        thresholds = forest.thresholds[starts[row] : starts[row + 1]]
        if len(thresholds):
            near = draw.choice(thresholds, N_PROBES)
            side = draw.choice(np.array([-np.inf, np.inf], np.float32), N_PROBES)
            is_near = draw.random(N_PROBES) < 0.5
            values[:, row] = np.where(is_near, near, np.nextafter(near, side))
        values[draw.random(N_PROBES) < 0.2, row] = np.nan
    return values


def predicted(forest: Forest, values: Floats) -> Floats:
    """Sum the leaves for rows of features, of shape (n, n_features)."""
    columns = enumerate(values.T)
    codes = np.stack([encoded_column(forest, row, column) for row, column in columns])
    sums = np.full(len(values), forest.base, np.float32)
    buffers = np.zeros((3, CHUNK), codes.dtype)
    add_trees(forest, 0, len(forest.remaining) - 1, codes, sums, buffers)
    return sums
