"""The plots that MLflow keeps with a training run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from matplotlib.figure import Figure

from batch.evaluation import baselines
from batch.evaluation.evaluation import Evaluation

N_FEATURES = 25
CURVE_NOTE = (
    "Of one user in twenty. Training: some of the pairs that the trees learn from.\n"
    "Validation: as of a later cutoff, with more ratings of each user to find. That\n"
    "is easier, so it may lie above: compare the lines' shapes, not their heights."
)
LABELS = {**baselines.LABELS, "model": "model"}


def draw(
    evaluation: Evaluation,
    gains: Mapping[str, float],
    shap_values: Mapping[str, float],
    curve: Mapping[str, Sequence[float]],
    n_rounds: int,
) -> dict[str, Figure]:
    """Return file name → figure; `n_rounds` is the number of trees."""
    return {
        "metrics.png": metrics(evaluation),
        "importance.png": strongest(gains, "Total gain", "log"),
        "shap.png": strongest(shap_values, "Mean |SHAP value|", "linear"),
        "learning_curve.png": learning_curve(curve, n_rounds),
    }


def metrics(evaluation: Evaluation) -> Figure:
    """Plot the metrics of the model and of the baselines."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for i, (ranker, label) in enumerate(LABELS.items()):
        values = asdict(evaluation.rankers[ranker])
        positions = [j + (i - 1.5) * 0.21 for j in range(len(values))]
        bars = axes.bar(positions, list(values.values()), width=0.2, label=label)
        axes.bar_label(bars, fmt="%.3f", fontsize=6)
    axes.set_xticks(range(len(values)), [name.replace("_", " ") for name in values])
    axes.set_title(f"Hold-out of {evaluation.n_users} users")
    axes.legend()
    return figure


def strongest(importance: Mapping[str, float], measure: str, scale: str) -> Figure:
    """Plot the most important features by one measure of importance."""
    best = sorted(importance.items(), key=lambda pair: -pair[1])[:N_FEATURES]
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in best][::-1], [value for _, value in best][::-1])
    axes.set_title(f"{measure} of the {len(best)} strongest features")
    axes.set_xscale(scale)
    return figure


def learning_curve(curve: Mapping[str, Sequence[float]], n_rounds: int) -> Figure:
    """Plot how the ranking improves with each tree."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, values in curve.items():
        trees = [(i + 1) * n_rounds // len(values) for i in range(len(values))]
        axes.plot(trees, values, label=name)
    axes.set_xlabel(f"trees\n\n{CURVE_NOTE}")
    axes.set_ylabel("NDCG@10 among the sampled candidates")
    axes.set_title("Learning curve")
    axes.legend()
    return figure
