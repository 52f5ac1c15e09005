"""The evaluation report: one HTML page on a model's metrics and ten users' lists."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape

from batch.evaluation import baselines
from batch.evaluation.comparison import Comparison
from batch.evaluation.confidence import Interval
from batch.evaluation.data_profile import Profile
from batch.evaluation.evaluation import Evaluation
from batch.evaluation.examples import Example
from batch.evaluation.metrics import Metrics

N_FEATURES = 25
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
    examples: Sequence[Example]
    profile: Profile
    comparison: Comparison | None = None


def render(report: Report) -> str:
    """Return the page, which runs no scripts and loads no other files."""
    labels = {"model": f"version {report.model_version}", **baselines.LABELS}
    buckets = report.evaluation.by_history_length.values()
    return ENVIRONMENT.get_template("report.html.jinja").render(
        report=report,
        labels=labels,
        baselines=baselines.LABELS,
        metrics=METRICS,
        rankers=rankers(report, labels),
        largest_bucket=max(
            (bucket[n] for bucket in buckets for n in labels), default=0
        ),
        strongest=list(islice(report.importances.items(), N_FEATURES)),
    )


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
