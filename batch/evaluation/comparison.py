"""The comparison that decides whether a new model replaces `prod`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from batch.evaluation import confidence
from batch.evaluation.confidence import Interval
from batch.evaluation.evaluation import Evaluation
from batch.evaluation.metrics import mean


@dataclass(frozen=True)
class Difference:
    """The mean of a paired difference over users, and its 95 % interval."""

    mean: float
    interval: Interval


@dataclass(frozen=True)
class Comparison:
    """A new model and `prod`, measured with the same users and hold-out.

    Attributes:
        candidate: evaluation of the new model.
        prod: evaluation of `prod`.
        prod_version: version that is `prod`.
        prod_measured: which model of `prod`, `evaluated` or `served`. The served one
            may have learned from the hold-out, and so look better than it is.
        differences: metric → new model minus `prod`, paired by user.
    """

    candidate: Evaluation
    prod: Evaluation
    prod_version: str
    prod_measured: str
    differences: Mapping[str, Difference]

    @property
    def is_worse(self) -> bool:
        """Return whether the new model is worse than `prod` by more than chance."""
        return self.differences["ndcg_at_10"].interval[1] < 0

    def __str__(self) -> str:
        difference = self.differences["ndcg_at_10"]
        low, high = difference.interval
        return (
            f"{self.candidate.model.ndcg_at_10:.4f}, of prod (version "
            f"{self.prod_version}) {self.prod.model.ndcg_at_10:.4f}: "
            f"{difference.mean:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"
        )

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        found: dict[str, object] = {}
        for metric, difference in self.differences.items():
            name = metric.replace("ndcg_at_10", "difference")
            found |= {name: difference.mean, f"{name}_interval": [*difference.interval]}
        prod = asdict(self.prod.model)
        return {"prod": prod, "prod_measured": self.prod_measured, **found}


def compare(
    candidate: Evaluation, prod: Evaluation, version: str, measured: str
) -> Comparison:
    """Compare a new model with `prod`; a model differs from itself by exactly 0."""
    differences = {}
    for metric, values in candidate.user_ndcg.items():
        gains = values["model"] - prod.user_ndcg[metric]["model"]
        interval = confidence.intervals({"gain": gains})["gain"]
        differences[metric] = Difference(mean(gains.tolist()), interval)
    return Comparison(candidate, prod, version, measured, differences)


def decision(
    version: str, former: str | None, compared: Comparison | None, *, is_wanted: bool
) -> str:
    """Return which version is `prod`, why, and how to have it otherwise.

    Args:
        version: the new one.
        former: the one that was `prod`, None if there was none.
        compared: the two of them, None if the former cannot be measured.
        is_wanted: whether the new one becomes `prod` unless it is worse.
    """
    command = "python -m batch promote --version"
    if former is None:
        return f"version {version} is prod, since there was none"
    if compared is None:
        return f"prod stays version {former}; to promote {version}: {command} {version}"
    worse = "worse" if compared.is_worse else "not worse"
    found = f"is {worse} by more than chance, NDCG@10 {compared}"
    if is_wanted and compared.is_worse:
        found += f"; to promote it all the same: {command}"
        return f"version {version} {found} {version}"
    if is_wanted:
        return f"version {version} is prod: it {found}; to go back: {command} {former}"
    return f"prod stays version {former}; {version} {found}; {command} {version}"
