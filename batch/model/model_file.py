"""A model's file in, a booster out: checked before xgboost reads it.

xgboost trusts what it loads: one wrong bit in a hundred crashes the process, more of
them when it predicts. So a file is read here first, and only what fits together, and
what the batch can score with, is handed over.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from batch.model import ubjson

if TYPE_CHECKING:
    # its import takes a second, which a run that is skipped does not have
    import xgboost

LARGEST_FILE = 2**26
"""Bytes; 200 trees of depth 4 take 400,000. What Python makes of it may take more."""

DEEPEST_TREE = 1000
"""xgboost calls itself once a level."""

KINDS = ("gbtree", "dart")
"""The boosters that are sums of trees."""

PER_NODE = (
    "left_children",
    "right_children",
    "parents",
    "split_indices",
    "split_conditions",
    "default_left",
)
ALSO_PER_NODE = ("base_weights", "loss_changes", "sum_hessian", "split_type")
"""What each node of a tree has; the latter may be absent."""

Parts = Mapping[str, Any]
Ints = npt.NDArray[np.int64]


class UnfitError(Exception):
    """What a file holds is no booster, or none that can score pairs; says why."""


def read(content: bytes) -> "xgboost.Booster":
    """Check a file in xgboost's own format, UBJSON or JSON, and load it.

    Raises:
        UnfitError: says why it is not loaded.
    """
    import xgboost

    check(parse(content))
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(content))
    except (xgboost.core.XGBoostError, ValueError) as error:
        # a stack follows the first line
        reason = str(error).partition("\n")[0]
        raise UnfitError(f"xgboost refuses it: {reason}") from error
    return booster


def parse(content: bytes) -> Parts:
    """Read what a file says, without xgboost.

    Raises:
        UnfitError: it is neither UBJSON nor JSON, or damaged.
    """
    try:
        # as xgboost tells them apart
        if content[:1] == b"{" and content[1:2] in b'"\n\r\t }':
            n = content.count(b"[") + content.count(b"{")
            # an empty one takes two bytes here, and thirty times as many there
            require(n <= ubjson.MOST_VALUES, f"it holds {n:,} lists and objects")
            parsed = json.loads(content)
        elif content[:1] == b"{":
            parsed = ubjson.decode(content)
        else:
            raise UnfitError("it is not in xgboost's own format, UBJSON or JSON")
    except (ValueError, RecursionError) as error:
        raise UnfitError(f"it is damaged: {error}") from error
    return cast("Parts", parsed)


def check(model: Parts) -> None:
    """See that the parts of a model fit together, and give one score a pair.

    Raises:
        UnfitError: names what does not.
    """
    try:
        learner = model["learner"]
        require(len(model["version"]) == 3, "its version is not three numbers")
        n_features = check_features(learner)
        trees, n_rounds = trees_of(learner["gradient_booster"])
        check_attributes(learner["attributes"], n_rounds)
        for number, tree in enumerate(trees):
            check_tree(tree, n_features, f"tree {number}")
    except KeyError as error:
        raise UnfitError(f"it is damaged: it has no {error.args[0]}") from error
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise UnfitError(f"it is damaged: {error}") from error


def require(holds: object, otherwise: str) -> None:
    """Refuse a model of which something does not hold.

    Raises:
        UnfitError: so it is.
    """
    if not holds:
        raise UnfitError(otherwise)


def check_features(learner: Parts) -> int:
    """See that all features are numbers with a name; return how many there are."""
    parameters = learner["learner_model_param"]
    n_classes = int(parameters["num_class"])
    n_targets = int(parameters.get("num_target", 1))
    require(n_classes <= 1 and n_targets == 1, "it gives several scores a pair")
    base = float(str(parameters["base_score"]).strip("[]"))
    require(np.isfinite(base), "its base score is no number")
    names, n = learner["feature_names"], int(parameters["num_feature"])
    require(names or not n, "its features have no names, which the SQL's go by")
    require(len(names) == n, f"it has {n} features and {len(names)} names of them")
    require(all(isinstance(name, str) for name in names), "a name is no text")
    require(len(set(names)) == n, "two of its features have the same name")
    types = learner.get("feature_types", [])
    require(len(types) in (0, n), f"it has {n} features and types of {len(types)}")
    categorical = [n for n, kind in zip(names, types, strict=False) if kind == "c"]
    require(
        not categorical,
        f"it takes {', '.join(categorical)} for categories, not numbers",
    )
    return n


def trees_of(gradient_booster: Parts) -> tuple[Sequence[Parts], int]:
    """Return the trees, and in how many rounds they were grown."""
    kind = gradient_booster["name"]
    shown = repr(kind[:40]) if isinstance(kind, str) else "no text"
    require(kind in KINDS, f"its booster is {shown}, expected {' or '.join(KINDS)}")
    holder = gradient_booster["gbtree"] if kind == "dart" else gradient_booster
    model = holder["model"]
    trees, parameters = model["trees"], model["gbtree_model_param"]
    n = int(parameters["num_trees"])
    require(trees, "it has no trees")
    require(len(trees) == n, f"it has {len(trees)} trees and says {n}")
    require(len(model["tree_info"]) == n, "not every tree has a class")
    require(
        not np.any(whole(model["tree_info"])), "its trees give several scores a pair"
    )
    if kind == "dart":
        weights = np.asarray(gradient_booster["weight_drop"], np.float64)
        require(weights.shape == (n,), "not every tree has a weight")
        require(np.isfinite(weights).all(), "a tree's weight is no number")
    parallel = int(parameters.get("num_parallel_tree", 1))
    require(0 < parallel <= n, f"it grew {parallel} trees a round, and has {n}")
    # versions before 2.0 do not say where rounds begin
    starts = whole(model.get("iteration_indptr", range(0, n + 1, parallel)))
    require(
        len(starts) > 1
        and starts[0] == 0
        and starts[-1] == n
        and (np.diff(starts) > 0).all(),
        "its rounds are not all of its trees",
    )
    require(not len(model.get("cats", {}).get("enc", ())), "it splits on categories")
    return trees, len(starts) - 1


def check_attributes(attributes: Parts, n_rounds: int) -> None:
    """See that training stopped early, if it did, in one of the rounds."""
    best = attributes.get("best_iteration")
    if best is not None:
        is_round = best.isascii() and best.isdigit() and int(best) < n_rounds
        require(is_round, f"its best round is {best[:40]!r} of {n_rounds}")


def check_tree(tree: Parts, n_features: int, which: str) -> None:
    """See that each way down ends at a leaf, past known features and true numbers."""
    n, parameters = len(tree["left_children"]), tree["tree_param"]
    require(int(parameters["num_nodes"]) == n > 0, f"{which} has not all its nodes")
    sizes = [len(tree[name]) for name in PER_NODE]
    sizes += [len(tree[name]) for name in ALSO_PER_NODE if name in tree]
    require(set(sizes) == {n}, f"{which} has not all its nodes")
    require(
        int(parameters.get("size_leaf_vector", 1)) <= 1,
        f"{which} gives several scores a pair",
    )
    require(
        not len(tree.get("categories", ()))
        and not np.any(whole(tree.get("split_type", 0))),
        f"{which} splits on categories",
    )
    left, right, parents, indices = (whole(tree[name]) for name in PER_NODE[:4])
    inner = np.flatnonzero(left != -1)
    require((right[left == -1] == -1).all(), f"{which} has half a split")
    children = np.concatenate([left[inner], right[inner]])
    require(
        ((children > 0) & (children < n)).all()
        and len(np.unique(children)) == len(children)
        and (parents[children] == np.tile(inner, 2)).all(),
        f"{which} is no tree",
    )
    reached = walk(left, right, which)
    used = indices[reached[left[reached] != -1]]
    require(
        ((used >= 0) & (used < n_features)).all(),
        f"{which} asks for a feature that is not there",
    )
    values = np.asarray(tree["split_conditions"], np.float64)[reached]
    require(np.isfinite(values).all(), f"{which} holds what is no number")


def whole(numbers: object) -> Ints:
    """Lay out whole numbers; numpy would make all as wide as a text among them."""
    return np.asarray(numbers, np.int64)


def walk(left: Ints, right: Ints, which: str) -> Ints:
    """Return the nodes that the root leads to, level by level."""
    levels = [np.array([0])]
    while len(levels[-1]):
        require(len(levels) <= DEEPEST_TREE, f"{which} is deeper than {DEEPEST_TREE}")
        inner = levels[-1][left[levels[-1]] != -1]
        levels.append(np.concatenate([left[inner], right[inner]]))
    return np.concatenate(levels)
