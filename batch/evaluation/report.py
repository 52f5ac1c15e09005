"""The evaluation report: one HTML page on a model's metrics and ten users' lists."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape

from batch.evaluation import baselines
from batch.evaluation.comparison import Comparison
from batch.evaluation.confidence import Interval
from batch.evaluation.data_profile import Profile
from batch.evaluation.evaluation import Evaluation
from batch.evaluation.examples import Example
from batch.evaluation.history_length import Bucket
from batch.evaluation.metrics import Metrics

N_FEATURES = 20
"""More are shown on demand."""
METRICS = {"ndcg_at_10": "NDCG@10", "ndcg_at_10_liked": "NDCG@10, liked"}
ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Report:
    """The content of the page.

    Attributes:
        release: name of the MovieLens release.
        model_name: name of the registered model.
        model_version: its version.
        measured: which model of the version was measured, `evaluated` or `served`.
        made_at: time of the evaluation, formatted.
        evaluation: metrics of the model and of the baselines.
        importances: feature → mean |SHAP value|, the strongest first.
        parameters: what the version's run logged.
        examples: some users.
        profile: of the data.
        comparison: with the version that was `prod`, if there was one.
    """

    release: str
    model_name: str
    model_version: str
    measured: str
    made_at: str
    evaluation: Evaluation
    importances: Mapping[str, float]
    parameters: Mapping[str, str]
    examples: Sequence[Example]
    profile: Profile
    comparison: Comparison | None = None


@dataclass(frozen=True)
class Slices:
    """A table of each ranker's quality by slice.

    Attributes:
        title: its heading.
        note: what is measured.
        of: what the slices are.
        counted: the bucket's field that says how many it has.
        noun: of what.
        buckets: slice → count and each ranker's quality.
    """

    title: str
    note: str
    of: str
    counted: str
    noun: str
    buckets: Mapping[str, Bucket]


def render(report: Report) -> str:
    """Return the page, which runs no scripts and loads no other files."""
    labels = {"model": f"version {report.model_version}", **baselines.LABELS}
    evaluation, features = report.evaluation, list(report.importances.items())
    return ENVIRONMENT.get_template("report.html.jinja").render(
        report=report,
        labels=labels,
        baselines=baselines.LABELS,
        metrics=METRICS,
        rankers=rankers(report, labels),
        slices=slices(evaluation),
        features=[features[:N_FEATURES], features[N_FEATURES:]],
    )


def slices(evaluation: Evaluation) -> list[Slices]:
    """Return what the page shows by slice."""
    found = [
        Slices(
            "By length of history",
            "NDCG@10 by how many ratings of a user the model sees.",
            "ratings seen",
            "n_users",
            "user",
            evaluation.by_history_length,
        ),
        Slices(
            "By popularity of the item",
            "Recall@10 of held-out ratings: how many of them are in their users' top "
            "ten, from the most rated items on. A slice has a quarter of the ratings.",
            "items by ratings",
            "n_held_out",
            "rating",
            evaluation.by_popularity,
        ),
        Slices(
            "By genre",
            "Recall@10 of held-out ratings of each genre.",
            "genre",
            "n_held_out",
            "rating",
            evaluation.by_genre,
        ),
    ]
    return [one for one in found if one.buckets]


def without_user(page: str, user: str) -> str:
    """Return a page without an example user."""
    heading = rf"<h3>User {re.escape(str(escape(user)))}: [0-9,]+ \w+ seen"
    article = rf"<article>\s*{heading}.*?</article>\s*"
    return re.sub(article, "", page, flags=re.DOTALL)


def rankers(
    report: Report, labels: Mapping[str, str]
) -> list[tuple[str, Metrics, Mapping[str, Interval]]]:
    """Return the label, metrics and intervals of each ranker, `prod` second."""
    evaluation, comparison = report.evaluation, report.comparison
    rows = [
        (labels[name], metrics, evaluation.intervals[name])
        for name, metrics in evaluation.rankers.items()
    ]
    if comparison is not None:
        prod, label = comparison.prod, f"prod (version {comparison.prod_version})"
        rows.insert(1, (label, prod.model, prod.intervals["model"]))
    return rows
