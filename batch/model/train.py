"""Train a booster on candidate pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xgboost

from batch.errors import NothingToLearn
from batch.features.candidates import Pairs
from batch.model import base_margin
from batch.progress import Progress
from batch.settings import DEFAULT_SCALE

PARAMETERS: dict[str, str | int | float | bool] = {
    "objective": "rank:ndcg",
    "eval_metric": "ndcg@10",
    "ndcg_exp_gain": False,
    "lambdarank_pair_method": "mean",
    "lambdarank_num_pair_per_sample": 1,
    "tree_method": "hist",
    "max_depth": 4,
    "eta": 0.1,
    "min_child_weight": 5,
    "lambda": 5,
    "subsample": 0.8,
    "colsample_bynode": 0.2,
    "seed": 42,
}
N_ROUNDS = 150
N_STAGES = 4
NEGATIVE_SHARE = 0.4
MIN_NEGATIVES = 80
"""Each stage samples two fifths of a window's negatives, or 80 per user if it is more.
It costs as much as training on few negatives and generalises as if on many."""

CURVE_SHARE = 20
"""The learning curve uses one in this many users, since nothing depends on it."""

GAIN_OF_LIKED, GAIN_OF_RATED = 4.0, 3.0
"""The gains of a user's next ratings, a little more if liked: one model then predicts
both which items a user rates next and which the user likes."""

STAGES: dict[str, str | int | float | bool] = {
    "n_stages": N_STAGES,
    "stage_negative_share": NEGATIVE_SHARE,
    "stage_min_negatives": MIN_NEGATIVES,
    "gain_of_liked": GAIN_OF_LIKED,
    "gain_of_rated": GAIN_OF_RATED,
}
"""What makes the model besides xgboost's parameters, as MLflow logs it."""

Curve = dict[str, list[float]]
Sets = Sequence[tuple[xgboost.QuantileDMatrix, str]]
Parameters = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class Trained:
    """A booster and how it was trained.

    Attributes:
        booster: the model, whose features have names.
        curve: NDCG@10 of `training` and `validation` pairs after each stage.
        parameters: xgboost's parameters, and those of the stages and gains.
    """

    booster: xgboost.Booster
    curve: Curve
    parameters: dict[str, str | int | float | bool]

    @property
    def importance(self) -> dict[str, float]:
        """The total gain of each feature over all trees."""
        gains = self.booster.get_score(importance_type="total_gain")
        return {name: float(np.sum(gain)) for name, gain in gains.items()}


def train(
    windows: Sequence[Pairs],
    validation: Pairs | None = None,
    parameters: Parameters | None = None,
    n_rounds: int = N_ROUNDS,
    liked_from: float = DEFAULT_SCALE.liked_from,
    weights: base_margin.Weights | None = None,
) -> Trained:
    """Train a booster to rank each user's next ratings above other items.

    The trees grow in stages. Each stage takes the next window and samples its own
    negatives.

    Args:
        windows: candidate pairs, each as of cutoffs whose later ratings are known.
        validation: pairs as of a later cutoff, for the learning curve only. Without
            them there is neither a curve nor progress on stderr.
        parameters: xgboost's parameters that override PARAMETERS.
        n_rounds: the number of trees.
        liked_from: the lowest label of an item that the user liked.
        weights: of the base margin from which the trees start; without them they rank
            alone.
    """
    chosen = PARAMETERS | dict(parameters or {})
    # sorted: the order of rows decides the samples and how gradients are summed
    usable = [window.in_order() for window in windows if is_trainable(window)]
    if not usable:
        raise NothingToLearn(
            f"nothing to learn from in {sum(map(len, windows))} training pairs: a "
            "user needs at least 2 ratings and some unseen items (are the raw files "
            "complete?)"
        )
    progress, curve, sets = Progress("training", "trees"), Curve(), []
    booster, bins, n_done = xgboost.Booster(), None, 0
    for stage in range(N_STAGES):
        seed = int(chosen["seed"]) + stage
        sample = sample_negatives(usable[stage % len(usable)], seed)
        matrix = to_matrix(sample, bins, liked_from, weights)
        if bins is None:
            bins = matrix
            if validation is not None and len(validation):
                training = usable[0].of_every(CURVE_SHARE)
                named = ((training, "training"), (validation.in_order(), "validation"))
                sets = [
                    (to_matrix(few, bins, liked_from, weights), name)
                    for few, name in named
                ]
        n_more = n_rounds * (stage + 1) // N_STAGES - n_done
        # with one seed for all, each stage would sample the columns of the first again
        settings, former = chosen | {"seed": seed}, booster if stage else None
        booster = xgboost.train(settings, matrix, n_more, xgb_model=former)
        n_done += n_more
        if sets:
            add_points(curve, booster, sets)
            progress.show(n_done, n_rounds)
    # all scores are equal, so the order is that of the ids
    if not booster.get_score() and weights is None:
        raise NothingToLearn(
            f"nothing to learn from in {sum(map(len, windows))} training pairs: the "
            "trees find nothing that tells items apart"
        )
    logged = chosen | {"n_rounds": n_rounds, "liked_from": liked_from} | STAGES
    return Trained(booster, curve, logged)


def add_points(curve: Curve, booster: xgboost.Booster, sets: Sets) -> None:
    """Add a booster's NDCG@10 on each named set to its curve."""
    # "[9]\ttraining-ndcg@10:0.7\tvalidation-ndcg@10:0.6"
    for measured in booster.eval_set(sets).split("\t")[1:]:
        name = measured.partition("-")[0]
        curve.setdefault(name, []).append(float(measured.rpartition(":")[2]))


def is_trainable(pairs: Pairs) -> bool:
    """Return whether some user has both a positive and a negative pair."""
    positive, user_ids = pairs.labels > 0, pairs.user_ids
    return bool(np.intersect1d(user_ids[positive], user_ids[~positive]).size)


def sample_negatives(pairs: Pairs, seed: int) -> Pairs:
    """Return all positives and a sample of the negatives."""
    positive = pairs.labels > 0
    n_negatives = max(1, int(np.count_nonzero(~positive)))
    share = max(NEGATIVE_SHARE, MIN_NEGATIVES * pairs.n_users / n_negatives)
    chances = np.random.default_rng(seed).random(len(pairs))
    return pairs.take(np.flatnonzero(positive | (chances < share)))


def to_matrix(
    pairs: Pairs,
    bins: xgboost.QuantileDMatrix | None = None,
    liked_from: float = DEFAULT_SCALE.liked_from,
    weights: base_margin.Weights | None = None,
) -> xgboost.QuantileDMatrix:
    """Return sorted pairs with their gains, in new bins or in those of `bins`."""
    start = None
    if weights is not None and pairs.strong is not None:
        start = base_margin.to_train_from(pairs.strong, weights)
    grades = np.where(pairs.labels >= liked_from, GAIN_OF_LIKED, GAIN_OF_RATED)
    return xgboost.QuantileDMatrix(
        pairs.values,
        label=np.where(pairs.labels > 0, grades, 0).astype(np.float32),
        qid=pairs.user_ids,
        base_margin=start,
        feature_names=list(pairs.values.column_names),
        ref=bins,
    )
