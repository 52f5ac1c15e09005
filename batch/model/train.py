"""Matrix in, booster out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xgboost

from batch.errors import BatchError
from batch.features.candidates import Pairs
from batch.progress import Progress

PARAMETERS: dict[str, str | int | float | bool] = {
    "objective": "rank:ndcg",
    "eval_metric": "ndcg@10",
    "ndcg_exp_gain": False,
    "lambdarank_pair_method": "topk",
    "lambdarank_num_pair_per_sample": 20,
    "tree_method": "hist",
    "max_depth": 4,
    "eta": 0.1,
    "min_child_weight": 10,
    "lambda": 5,
    "subsample": 0.8,
    "colsample_bynode": 0.2,
    "seed": 42,
}
N_ROUNDS = 200
N_STAGES = 10
NEGATIVE_SHARE = 0.2
MIN_NEGATIVES = 80
"""A stage draws a fifth of a window's negatives, at least as many a user: other ones
each time. That costs as much as training on few, and generalises as if on many."""

CURVE_SHARE = 20
"""Curves are drawn with one in so many users: they decide nothing."""

LIKED_FROM = 4.0
GAIN_OF_LIKED, GAIN_OF_RATED = 4.0, 3.0
"""Gains of what was rated next, a little more of what was given four stars, so that one
model serves those who ask what comes next and those who ask what will be liked."""

Curve = dict[str, list[float]]
Parameters = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class Trained:
    """A booster and how it learned.

    Attributes:
        booster: knows its features by name.
        curve: NDCG@10 among the sampled candidates of `training` and `validation`,
            after every stage.
        parameters: what it was trained with.
    """

    booster: xgboost.Booster
    curve: Curve
    parameters: dict[str, str | int | float | bool]

    @property
    def importance(self) -> dict[str, float]:
        """The gain that each feature brings, summed over the trees."""
        gains = self.booster.get_score(importance_type="total_gain")
        return {name: float(np.sum(gain)) for name, gain in gains.items()}


def train(
    windows: Sequence[Pairs],
    validation: Pairs | None = None,
    parameters: Mapping[str, str | int | float | bool] | None = None,
    n_rounds: int = N_ROUNDS,
) -> Trained:
    """Learn to rank what users rated next above what they did not.

    The trees grow in stages. Each takes one of the windows in turn and draws negatives
    of its own.

    Args:
        windows: candidate pairs, each as of moments whose future is known.
        validation: pairs as of a later moment; they draw the learning curve and decide
            nothing, so that the hold-out stays one. Without them there is no curve, and
            no progress is shown: it is a refit, beside other work.
        parameters: of xgboost, over the ones above.
        n_rounds: how many trees.

    Raises:
        BatchError: when no user has both a positive and a negative pair.
    """
    chosen = PARAMETERS | dict(parameters or {})
    # the order of rows decides in which gradients are added, and what is drawn
    usable = [window.in_order() for window in windows if can_teach(window)]
    if not usable:
        raise BatchError(
            f"nothing to learn from in {sum(map(len, windows))} training pairs: a "
            "user needs at least 4 ratings and some unseen items; are the raw files "
            "complete?"
        )
    progress, curve = Progress("training", "trees"), CurveDrawer()
    grown: list[xgboost.Booster] = []
    bins, n_done = None, 0
    for stage in range(N_STAGES):
        seed = int(chosen["seed"]) + stage
        some = drawn(usable[stage % len(usable)], seed)
        if bins is None:
            bins = to_matrix(some)
            if validation is not None:
                few = usable[0].of_every(CURVE_SHARE)
                curve.open(bins, training=few, validation=validation.in_order())
        n_more = n_rounds * (stage + 1) // N_STAGES - n_done
        # continuing would draw the columns of the first stage again
        settings = chosen | {"seed": seed}
        former = grown[-1] if grown else None
        matrix = bins if stage == 0 else to_matrix(some, bins)
        grown.append(xgboost.train(settings, matrix, n_more, xgb_model=former))
        n_done += n_more
        if validation is not None:
            curve.draw(grown[-1])
            progress.show(n_done, n_rounds)
    return Trained(grown[-1], curve.points, chosen | {"n_rounds": n_rounds})


class CurveDrawer:
    """Measures after each stage how well pairs are ranked, which takes some time."""

    def __init__(self) -> None:
        self._matrices: list[tuple[xgboost.QuantileDMatrix, str]] = []
        self.points: Curve = {}

    def open(self, bins: xgboost.QuantileDMatrix, **measured: Pairs) -> None:
        """Begin the curve of each name."""
        for name, pairs in measured.items():
            self._matrices.append((to_matrix(pairs, bins), name))
            self.points[name] = []

    def draw(self, booster: xgboost.Booster) -> None:
        """Note NDCG@10 of each."""
        # "[9]\ttraining-ndcg@10:0.7\tvalidation-ndcg@10:0.6"
        for measured in booster.eval_set(self._matrices).split("\t")[1:]:
            name = measured.partition("-")[0]
            self.points[name].append(float(measured.rpartition(":")[2]))


def can_teach(pairs: Pairs) -> bool:
    """Tell whether some user has both a positive and a negative pair."""
    positive, user_ids = pairs.labels > 0, pairs.user_ids
    return bool(np.intersect1d(user_ids[positive], user_ids[~positive]).size)


def drawn(pairs: Pairs, seed: int) -> Pairs:
    """Draw from the negatives; all positives stay."""
    positive = pairs.labels > 0
    n_negatives = max(1, int(np.count_nonzero(~positive)))
    share = max(NEGATIVE_SHARE, MIN_NEGATIVES * pairs.n_users / n_negatives)
    chances = np.random.default_rng(seed).random(len(pairs))
    return pairs.take(np.flatnonzero(positive | (chances < share)))


def to_matrix(
    pairs: Pairs, bins: xgboost.QuantileDMatrix | None = None
) -> xgboost.QuantileDMatrix:
    """Bin ordered pairs, as others were if given, and grade them."""
    return xgboost.QuantileDMatrix(
        pairs.values,
        label=gains(pairs),
        qid=pairs.user_ids,
        feature_names=list(pairs.values.column_names),
        ref=bins,
    )


def gains(pairs: Pairs) -> npt.NDArray[np.float32]:
    """Grade pairs, of shape (n_pairs,), by what the user made of them."""
    grades = np.where(pairs.labels >= LIKED_FROM, GAIN_OF_LIKED, GAIN_OF_RATED)
    return np.where(pairs.labels > 0, grades, 0).astype(np.float32)
