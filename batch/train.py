"""Matrix in, booster out."""

from dataclasses import dataclass

import numpy as np
import xgboost
from xgboost.callback import TrainingCallback

from batch.errors import BatchError
from batch.features import Pairs
from batch.progress import Progress

PARAMETERS: dict[str, str | int | float] = {
    "objective": "rank:ndcg",
    "eval_metric": "ndcg@10",
    "lambdarank_pair_method": "topk",
    "lambdarank_num_pair_per_sample": 20,
    "tree_method": "hist",
    "max_depth": 3,
    "eta": 0.2,
    "subsample": 0.8,
    "colsample_bynode": 0.4,
    "seed": 42,
}
N_ROUNDS = 100
CURVE_STEP = 10

Curve = dict[str, list[float]]


@dataclass(frozen=True)
class Trained:
    """A booster and how it learned.

    Attributes:
        booster: knows its features by name.
        curve: NDCG@10 among the sampled candidates of `training` and `validation`,
            after every tenth round.
        parameters: what it was trained with.
    """

    booster: xgboost.Booster
    curve: Curve
    parameters: dict[str, str | int | float]

    @property
    def importance(self) -> dict[str, float]:
        """The gain that each feature brings, summed over the trees."""
        gains = self.booster.get_score(importance_type="total_gain")
        return {name: float(np.sum(gain)) for name, gain in gains.items()}


def train(
    training: Pairs,
    validation: Pairs,
    parameters: dict[str, str | int | float] | None = None,
    n_rounds: int = N_ROUNDS,
) -> Trained:
    """Learn to rank what users rated next above what they did not.

    Args:
        training: candidate pairs as of a moment whose future is known.
        validation: pairs as of a later one; they draw the learning curve and decide
            nothing, so that the hold-out stays one.
        parameters: of xgboost, over the ones above.
        n_rounds: how many trees.

    Raises:
        BatchError: when no user has both a positive and a negative pair.
    """
    chosen = PARAMETERS | (parameters or {})
    positive, user_ids = training.labels > 0, training.user_ids
    if not np.intersect1d(user_ids[positive], user_ids[~positive]).size:
        raise BatchError(
            f"nothing to learn from in {len(training)} training pairs: a user needs at "
            "least 6 ratings and some unseen items; are the raw files complete?"
        )
    matrix = to_matrix(training)
    matrices = {"training": matrix, "validation": to_matrix(validation, matrix)}
    drawn = CurveDrawer(matrices, n_rounds)
    booster = xgboost.train(chosen, matrix, n_rounds, callbacks=[drawn])
    return Trained(booster, drawn.curve, chosen | {"n_rounds": n_rounds})


class CurveDrawer(TrainingCallback):
    """Evaluates every tenth round: each one takes half as long as growing a tree."""

    def __init__(
        self, matrices: dict[str, xgboost.QuantileDMatrix], n_rounds: int
    ) -> None:
        self._progress, self._n_rounds = Progress("training", "trees"), n_rounds
        self._matrices = [(matrix, name) for name, matrix in matrices.items()]
        self.curve: Curve = {name: [] for name in matrices}

    def after_iteration(
        self,
        model: xgboost.Booster,
        epoch: int,
        evals_log: object,  # noqa: ARG002
    ) -> bool:
        """Note how well each matrix is ranked; never stop the training."""
        self._progress.show(epoch + 1, self._n_rounds)
        if (epoch + 1) % CURVE_STEP == 0:
            # "[9]\ttraining-ndcg@10:0.7\tvalidation-ndcg@10:0.6"
            for measured in model.eval_set(self._matrices, epoch).split("\t")[1:]:
                name = measured.partition("-")[0]
                self.curve[name].append(float(measured.rpartition(":")[2]))
        return False


def to_matrix(
    pairs: Pairs, reference: xgboost.QuantileDMatrix | None = None
) -> xgboost.QuantileDMatrix:
    """Sort pairs by user, as ranking wants them, and bin them as `reference` is."""
    # by item too: the order of rows decides the order in which gradients are added
    order = np.lexsort((pairs.item_ids, pairs.user_ids))
    return xgboost.QuantileDMatrix(
        pairs.values.take(order),
        label=(pairs.labels[order] > 0).astype(np.float32),
        qid=pairs.user_ids[order],
        feature_names=list(pairs.values.column_names),
        ref=reference,
    )
