"""A booster's trees, laid out for the compiled scorer."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from batch.scoring.kernels import CHUNK, Codes, Floats, Forest, add_trees, show

if TYPE_CHECKING:
    import xgboost

MOST_LEVELS = 6
"""Deeper trees are walked item by item: levels double what is compared."""

LOGISTIC = ("binary:logistic", "reg:logistic")
PLAIN = ("rank:", "reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror")
"""Objectives that show the sum of the leaves as it is, or squashed."""

N_PROBES = 256

Tree = Mapping[str, Sequence[Any]]


class UnsupportedError(ValueError):
    """A booster that only xgboost itself can score with; says why."""


def lay_out(booster: "xgboost.Booster", names: Sequence[str]) -> Forest:
    """Lay a booster's trees out, with features in the order of `names`.

    Raises:
        UnsupportedError: for other than numeric trees of one target, for features not
            in `names`, and where the sums are not just xgboost's own.
    """
    model = json.loads(trimmed(booster).save_raw("json"))["learner"]
    check(model)
    rows = rows_of(model, names)
    trees = model["gradient_booster"]["model"]["trees"]
    thresholds = [rising(found) for found in thresholds_by_row(trees, rows, len(names))]
    return proven(laid_out(model, trees, rows, thresholds), booster, rows)


def trimmed(booster: "xgboost.Booster") -> "xgboost.Booster":
    """Leave the trees that count: those up to where training stopped early."""
    best = booster.attr("best_iteration")
    return booster if best is None else booster[: int(best) + 1]


def check(model: Mapping[str, Any]) -> None:
    """Refuse what the compiled scorer cannot compute.

    Raises:
        UnsupportedError: names it.
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
    """Return where in `names` each of the model's features is."""
    own = model["feature_names"] or list(names)
    unknown = [name for name in own if name not in names]
    if unknown:
        raise UnsupportedError(f"it wants {', '.join(unknown)}")
    if len(own) != int(model["learner_model_param"]["num_feature"]):
        raise UnsupportedError("its features have no names")
    return [names.index(name) for name in own]


def inner_nodes(tree: Tree) -> Iterator[int]:
    """Give the nodes that compare a feature with a threshold."""
    return (node for node, left in enumerate(tree["left_children"]) if left != -1)


def thresholds_by_row(
    trees: Sequence[Tree], rows: Sequence[int], n: int
) -> list[set[float]]:
    """Collect what each feature is compared with."""
    found: list[set[float]] = [set() for _ in range(n)]
    for tree in trees:
        for node in inner_nodes(tree):
            row = rows[tree["split_indices"][node]]
            found[row].add(float(tree["split_conditions"][node]))
    return found


def rising(values: set[float]) -> Floats:
    """Sort, as the 32-bit floats that xgboost compares."""
    return np.unique(np.array(sorted(values), np.float32))


def depth_of(tree: Tree) -> int:
    """Return how many comparisons the longest way down takes."""
    depths = [0] * len(tree["left_children"])
    for node in inner_nodes(tree):  # a parent stands before its children
        for child in (tree["left_children"][node], tree["right_children"][node]):
            depths[child] = depths[node] + 1
    return max(depths)


def leaves_of(tree: Tree) -> list[float]:
    """Return what the leaves say."""
    conditions = zip(tree["left_children"], tree["split_conditions"], strict=True)
    return [float(np.float32(value)) for left, value in conditions if left == -1]


def laid_out(
    model: Mapping[str, Any],
    trees: Sequence[Tree],
    rows: Sequence[int],
    thresholds: Sequence[Floats],
) -> Forest:
    """Put the arrays of the trees together."""
    most = max(map(len, thresholds))
    # the largest code says that the value is missing, the one below is never reached
    kind: type[np.uint8 | np.uint16] = np.uint8
    if most >= np.iinfo(kind).max:
        kind = np.uint16
    if most >= np.iinfo(kind).max:
        raise UnsupportedError(f"it compares a feature with {most:,} thresholds")
    writer = Writer(trees, rows, thresholds, kind)
    depth = max(1, *map(depth_of, trees))
    if depth <= MOST_LEVELS:
        arrays = writer.levels(depth)
    else:
        depth, arrays = 0, writer.nodes()
    largest = [max(leaves_of(tree)) for tree in trees]
    remaining = np.append(np.cumsum(largest[::-1])[::-1], 0.0)
    margin, is_logistic = base_of(model)
    size = sum(max(map(abs, leaves_of(tree))) for tree in trees) + abs(float(margin))
    return Forest(
        thresholds=np.concatenate([*thresholds, np.empty(0, np.float32)]),
        threshold_starts=np.cumsum([0, *map(len, thresholds)]).astype(np.int64),
        depth=depth,
        **arrays,
        remaining=remaining,
        base=margin,
        missing=kind(np.iinfo(kind).max),
        is_logistic=is_logistic,
        # more than rounding can make of a sum of so many floats
        slack=float(2 * len(trees) * np.finfo(np.float32).eps * size),
    )


def base_of(model: Mapping[str, Any]) -> tuple[np.float32, bool]:
    """Return the sum that the leaves add to, and whether it is squashed at the end."""
    base = np.float32(str(model["learner_model_param"]["base_score"]).strip("[]"))
    is_logistic = model["objective"]["name"] in LOGISTIC
    if is_logistic:
        base = -np.log(np.float32(1) / base - np.float32(1), dtype=np.float32)
    return np.float32(base), is_logistic


class Writer:
    """Writes trees into arrays."""

    def __init__(
        self,
        trees: Sequence[Tree],
        rows: Sequence[int],
        thresholds: Sequence[Floats],
        kind: type[np.uint8 | np.uint16],
    ) -> None:
        self._trees = trees
        self._rows = rows
        self._thresholds = thresholds
        self._kind = kind

    def levels(self, depth: int) -> dict[str, Any]:
        """Write trees as if all were full, of `2 ** depth` leaves; fillers go left."""
        n, n_inner = len(self._trees), 2**depth - 1
        features = np.zeros((n, n_inner), np.int32)
        cuts = np.full((n, n_inner), np.iinfo(self._kind).max, self._kind)
        shifts = np.zeros((n, n_inner), self._kind)
        leaves = np.zeros((n, n_inner + 1), np.float32)
        for t, tree in enumerate(self._trees):
            # places of a full tree whose left child is at 2p + 1, and the nodes there
            todo = [(0, 0)]
            while todo:
                place, node = todo.pop()
                left, right = tree["left_children"][node], tree["right_children"][node]
                if place >= n_inner:
                    leaves[t, place - n_inner] = tree["split_conditions"][node]
                    continue
                if left == -1:
                    left = right = node
                else:
                    features[t, place], cuts[t, place], shifts[t, place] = self.test(
                        tree, node
                    )
                todo += [(2 * place + 1, left), (2 * place + 2, right)]
        return {
            "features": features,
            "cuts": cuts,
            "shifts": shifts,
            "leaves": leaves,
            "roots": np.empty(0, np.int64),
            "children": np.empty((2, 0), np.int32),
        }

    def nodes(self) -> dict[str, Any]:
        """Write the nodes of all trees one behind the other."""
        sizes = [len(tree["left_children"]) for tree in self._trees]
        starts = np.cumsum([0, *sizes])
        features = np.zeros((1, starts[-1]), np.int32)
        cuts = np.zeros((1, starts[-1]), self._kind)
        shifts = np.zeros((1, starts[-1]), self._kind)
        leaves = np.zeros((1, starts[-1]), np.float32)
        children = np.full((2, starts[-1]), -1, np.int32)
        for start, tree in zip(starts[:-1].tolist(), self._trees, strict=True):
            own = slice(start, start + len(tree["left_children"]))
            leaves[0, own] = tree["split_conditions"]
            for node in inner_nodes(tree):
                at = start + node
                children[0, at] = start + tree["left_children"][node]
                children[1, at] = start + tree["right_children"][node]
                features[0, at], cuts[0, at], shifts[0, at] = self.test(tree, node)
        return {
            "features": features,
            "cuts": cuts,
            "shifts": shifts,
            "leaves": leaves,
            "roots": starts[:-1].astype(np.int64),
            "children": children,
        }

    def test(self, tree: Tree, node: int) -> tuple[int, int, int]:
        """Say what a node compares: `code + shift > cut` goes right."""
        row = self._rows[tree["split_indices"][node]]
        threshold = np.float32(tree["split_conditions"][node])
        code = int(np.searchsorted(self._thresholds[row], threshold))
        # code + 1 turns that of what is missing into 0, which is above nothing
        shift = int(tree["default_left"][node])
        return row, code + shift, shift


def encoded_column(forest: Forest, row: int, values: Floats) -> Codes:
    """Turn the values of a feature into codes, of the same shape."""
    starts = forest.threshold_starts
    thresholds = forest.thresholds[starts[row] : starts[row + 1]]
    counted = np.searchsorted(thresholds, values, side="right")
    codes = np.where(np.isnan(values), forest.missing, counted)
    return codes.astype(forest.cuts.dtype)


def proven(forest: Forest, booster: "xgboost.Booster", rows: Sequence[int]) -> Forest:
    """Hold the sums against xgboost's own, on rows that meet thresholds and gaps.

    What the leaves add to is known but for the last bit of a logarithm: the one that
    gives just xgboost's sums is taken.

    Raises:
        UnsupportedError: none does.
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
    for base in beside(forest.base):
        candidate = forest._replace(base=base)
        sums = predicted(candidate, values)
        if np.array_equal(sums, margins):
            show(sums, forest.is_logistic)
            if np.array_equal(sums, scores):
                return candidate
    raise UnsupportedError("its scores are not those that xgboost gives")


def beside(value: np.float32) -> list[np.float32]:
    """Return a number, and those that differ from it by a bit or two."""
    below = np.nextafter(value, np.float32(-np.inf))
    above = np.nextafter(value, np.float32(np.inf))
    lower = np.nextafter(below, np.float32(-np.inf))
    higher = np.nextafter(above, np.float32(np.inf))
    return [value, below, above, lower, higher]


def probes(forest: Forest) -> Floats:
    """Draw features, of shape (N_PROBES, n_features), at thresholds and beside them."""
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
    """Sum what the trees say of rows of features, of shape (n, n_features)."""
    columns = enumerate(values.T)
    codes = np.stack([encoded_column(forest, row, column) for row, column in columns])
    sums = np.full(len(values), forest.base, np.float32)
    small = np.zeros((3, CHUNK), codes.dtype)
    add_trees(forest, 0, len(forest.remaining) - 1, codes, sums, small)
    return sums
