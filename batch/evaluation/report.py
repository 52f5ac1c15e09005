"""One page that shows how good a model is, and what it does to ten users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from batch.evaluation.comparison import Comparison
from batch.evaluation.confidence import Interval
from batch.evaluation.evaluate import Evaluation, Metrics
from batch.evaluation.examples import Example, Recommended
from batch.evaluation.markup import Html, bar, element, escaped, items, joined, table

N_FEATURES = 25
NDCG = {"ndcg_at_10": "NDCG@10", "ndcg_at_10_liked": "NDCG@10, liked"}
BASELINES = {"popularity": "popularity", "item_knn": "item-kNN"}
MEASURED = {
    "evaluated": "the one that learned without the hold-out; the one that serves has "
    "the same parameters and was then refitted on all ratings",
    "served": "the one that serves, for want of another: if it has learned from the "
    "hold-out, it looks better here than it is",
}

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --faint: #65696f; --paper: #fff;
  --rule: #d9dce0; --model: #1f6feb; --other: #a9b1bb; --hit: #dcf3e1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6ea; --faint: #9aa0a8;
  --paper: #16181c; --rule: #363a41; --model: #58a0ff; --other: #59616c;
  --hit: #173d24; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { margin: 2rem 0 .5rem;
  font-size: 1.2rem; } h3, h4 { margin: .75rem 0 .25rem; font-size: 1rem; }
h4, p, dd, .faint { color: var(--faint); } h4, .faint { font-weight: normal; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
.wide { overflow-x: auto; margin-bottom: 1.25rem; }
td:has(svg) { width: 40%; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--rule);
  text-align: left; white-space: nowrap; }
tbody th { font-weight: normal; }
svg { display: block; width: 100%; min-width: 8rem; height: 1rem; }
rect { fill: var(--other); } rect.model { fill: var(--model); }
line { stroke: var(--ink); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
article { border-top: 1px solid var(--rule); padding-bottom: 1rem; }
.beside { display: grid; gap: 0 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); }
ol, ul { margin: 0; padding-left: 2rem; } .hit { background: var(--hit); }
"""


@dataclass(frozen=True)
class Report:
    """What the page tells.

    Attributes:
        release: of MovieLens, by name.
        model_version: of MovieLensXGB.
        measured: which of its models, `evaluated` or `served`.
        made_at: when, for a person.
        evaluation: how good it is.
        importances: feature → mean |SHAP value|, the strongest first.
        examples: some users.
        comparison: with the version that was `prod`, where there was one.
    """

    release: str
    model_version: str
    measured: str
    made_at: str
    evaluation: Evaluation
    importances: Mapping[str, float]
    examples: Sequence[Example]
    comparison: Comparison | None = None

    @property
    def labels(self) -> dict[str, str]:
        """What each ranker is called."""
        return {"model": f"version {self.model_version}", **BASELINES}


def page(report: Report) -> str:
    """Write the page: complete, without scripts, and with nothing to fetch."""
    title = f"MovieLensXGB version {report.model_version} on {report.release}"
    sections = (
        headline(report, title),
        metrics(report),
        history_lengths(report),
        biases(report),
        importances(report),
        users(report),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{element('title', title)}\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def headline(report: Report, title: str) -> Html:
    """Say what was measured, and how."""
    evaluation = report.evaluation
    facts = {
        "NDCG@10": f"{evaluation.model.ndcg_at_10:.4f}, of popularity "
        f"{evaluation.popularity.ndcg_at_10:.4f}, of item-kNN "
        f"{evaluation.item_knn.ndcg_at_10:.4f}",
        "Users": f"{evaluation.n_users:,}",
        "Protocol": evaluation.protocol,
        "Model": MEASURED[report.measured],
        "Made": report.made_at,
    }
    told = (joined([element("dt", k), element("dd", v)]) for k, v in facts.items())
    return joined([element("h1", title), element("dl", *told)])


def metrics(report: Report) -> Html:
    """Set the metrics beside those of the baselines, and of `prod`."""
    others = {"recall_at_10": "Recall@10", "hit_rate_at_10": "Hit rate@10"}
    return section(
        "Beside the baselines",
        "Bars are NDCG@10, lines across their ends 95 % intervals by a bootstrap over "
        "users. Differences are paired, user by user: one whose interval leaves out 0 "
        "is no luck of the draw.",
        *(ndcg_table(report, metric) for metric in NDCG),
        differences(report),
        table(
            ["", *others.values()],
            [
                [label, *(f"{getattr(found, name):.4f}" for name in others)]
                for label, found, _ in rankers(report)
            ],
        ),
    )


def rankers(
    report: Report,
) -> list[tuple[str, Metrics, Mapping[str, Interval]]]:
    """Name all rankers, with their metrics and intervals."""
    evaluation = report.evaluation
    found = [
        (report.labels[name], metrics, evaluation.intervals[name])
        for name, metrics in evaluation.rankers.items()
    ]
    if report.comparison is not None:
        former = report.comparison.evaluation
        label = f"prod (version {report.comparison.former})"
        found.insert(1, (label, former.model, former.intervals["model"]))
    return found


def ndcg_table(report: Report, metric: str) -> Html:
    """Draw one metric of all rankers."""
    found = rankers(report)
    largest = max(intervals[metric][1] for _, _, intervals in found)
    rows = []
    for i, (label, measured, intervals) in enumerate(found):
        value, interval = getattr(measured, metric), intervals[metric]
        drawn = bar(value, largest, interval, "" if i else "model")
        rows.append([label, f"{value:.4f}", spanned(interval), drawn])
    return table([NDCG[metric], "mean", "95 % interval", ""], rows)


def differences(report: Report) -> Html:
    """Tell by how much the model is ahead, with intervals."""
    evaluation, comparison = report.evaluation, report.comparison
    rows = []
    if comparison is not None:
        rows.append(
            [
                f"prod (version {comparison.former})",
                f"{comparison.difference:+.4f}",
                spanned(comparison.interval, "+"),
                f"{comparison.difference_liked:+.4f}",
                spanned(comparison.interval_liked, "+"),
            ]
        )
    for name, label in BASELINES.items():
        row = [label]
        for metric in NDCG:
            ahead = getattr(evaluation.model, metric) - getattr(
                evaluation.rankers[name], metric
            )
            interval = evaluation.intervals[f"model_minus_{name}"][metric]
            row += [f"{ahead:+.4f}", spanned(interval, "+")]
        rows.append(row)
    head = [f"{report.labels['model']} less"]
    for label in NDCG.values():
        head += [label, "95 % interval"]
    return table(head, rows)


def history_lengths(report: Report) -> Html:
    """Show how well those are served who have rated little or much."""
    buckets = report.evaluation.by_history_length
    largest = max(
        (bucket[name] for bucket in buckets.values() for name in report.labels),
        default=0.0,
    )
    rows = [
        [
            f"{length}, {bucket['n_users']:,} users" if name == "model" else "",
            label,
            f"{bucket[name]:.4f}",
            bar(bucket[name], largest, class_=name),
        ]
        for length, bucket in buckets.items()
        for name, label in report.labels.items()
    ]
    return section(
        "By length of history",
        "NDCG@10 by how many ratings of a user the model sees.",
        table(["ratings seen", "", "NDCG@10", ""], rows),
    )


def biases(report: Report) -> Html:
    """Show whether all get the same few popular items."""
    rows = [
        [
            label,
            f"{report.evaluation.rankers[name].coverage_at_10:.4f}",
            f"{report.evaluation.popularity_bias[name].avg_n_ratings:,.1f}",
            f"{report.evaluation.popularity_bias[name].gini:.4f}",
        ]
        for name, label in report.labels.items()
    ]
    return section(
        "Coverage and popularity bias",
        "Coverage: the share of all items that are in some top ten. Popularity: how "
        "many ratings an item that is recommended has, on average. Gini: 0 where each "
        "item is recommended as often, near 1 where a few are and most never.",
        table(["", "Coverage@10", "Popularity", "Gini"], rows),
    )


def importances(report: Report) -> Html:
    """Show which features move the scores."""
    strongest = list(islice(report.importances.items(), N_FEATURES))
    largest = max((strength for _, strength in strongest), default=0.0)
    return section(
        "What the model looks at",
        f"The {len(strongest)} features that move scores most: the mean of their "
        "absolute SHAP values, over pairs that are recommended and pairs that are not.",
        table(
            ["feature", "mean |SHAP|", ""],
            [
                [name, f"{strength:.4f}", bar(strength, largest, class_="model")]
                for name, strength in strongest
            ],
        ),
    )


def users(report: Report) -> Html:
    """Show what some users liked beside what they get."""
    return section(
        counted(len(report.examples), "user"),
        "Evenly spread from the shortest history to the longest. What they went on to "
        "rate is marked, with the rating: the model has not seen it.",
        *map(user, report.examples),
    )


def user(example: Example) -> Html:
    """Show one user."""
    n_hits = sum(place.rating is not None for place in example.recommended)
    heading = (
        f"User {example.user_id}: {counted(example.n_history, 'rating')} seen, "
        f"{example.n_held_out} held out, {counted(n_hits, 'hit')}"
    )
    columns = {
        "Liked most": items("ul", map(rated, example.liked)),
        "Rated last": items("ul", map(rated, example.recent)),
        "Is recommended": items("ol", map(recommended, example.recommended)),
    }
    lists = (
        element("div", element("h4", name), shown) for name, shown in columns.items()
    )
    return element(
        "article", element("h3", heading), element("div", *lists, class_="beside")
    )


def rated(entry: tuple[str, float]) -> Html:
    """Write a title and what it was given."""
    title, rating = entry
    return joined([title, " ", element("span", f"{rating:g}", class_="faint")])


def recommended(place: Recommended) -> Html:
    """Write a title, marked if it was a hit."""
    if place.rating is None:
        return escaped(place.title)
    return element("span", f"{place.title} ✓ {place.rating:g}", class_="hit")


def section(heading: str, told: str, *content: str) -> Html:
    """Head some content and say how to read it."""
    return element("section", element("h2", heading), element("p", told), *content)


def spanned(interval: Interval, sign: str = "") -> str:
    """Write an interval."""
    low, high = interval
    return f"{low:{sign}.4f} to {high:{sign}.4f}"


def counted(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
