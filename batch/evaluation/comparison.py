"""Whether a new model may take the place of the one that serves."""

from dataclasses import asdict, dataclass

from batch.evaluation import confidence
from batch.evaluation.confidence import Interval
from batch.evaluation.evaluate import Evaluation, mean


@dataclass(frozen=True)
class Comparison:
    """A new model beside the one that is `prod`, on the same users of one hold-out.

    Attributes:
        candidate: evaluation of the new one.
        former: the version that is `prod`.
        former_measured: which of its models, `evaluated` or `served`; the latter may
            have learned from the hold-out and look better than it is.
        evaluation: of that version.
        difference: by how much NDCG@10 of the new one is higher, user by user.
        interval: the 95 % interval of that.
        difference_liked: the same where only what was liked is relevant.
        interval_liked: the 95 % interval of that.
    """

    candidate: Evaluation
    former: str
    former_measured: str
    evaluation: Evaluation
    difference: float
    interval: Interval
    difference_liked: float
    interval_liked: Interval

    @property
    def is_no_worse(self) -> bool:
        """Tell whether the new model may be promoted.

        The mean decides, not the interval: a model that brings a little is worth
        having before it can be told from luck. The interval says what was known.
        """
        return self.difference >= 0

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.candidate.model.ndcg_at_10:.4f}, of prod (version {self.former}) "
            f"{self.evaluation.model.ndcg_at_10:.4f}: {self.difference:+.4f} "
            f"(95 % interval {low:+.4f} to {high:+.4f})"
        )

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "prod": asdict(self.evaluation.model),
            "prod_measured": self.former_measured,
            "difference": self.difference,
            "difference_interval": list(self.interval),
            "difference_liked": self.difference_liked,
            "difference_liked_interval": list(self.interval_liked),
        }


def compare(
    candidate: Evaluation, former: Evaluation, version: str, measured: str
) -> Comparison:
    """Compare two evaluations of the same users.

    The differences are paired, so those of a model with itself are exactly 0.
    """
    gained = candidate.ndcg["model"] - former.ndcg["model"]
    gained_liked = candidate.ndcg_liked["model"] - former.ndcg_liked["model"]
    return Comparison(
        candidate=candidate,
        former=version,
        former_measured=measured,
        evaluation=former,
        difference=mean(gained.tolist()),
        interval=confidence.intervals({"": gained})[""],
        difference_liked=mean(gained_liked.tolist()),
        interval_liked=confidence.intervals({"": gained_liked})[""],
    )
