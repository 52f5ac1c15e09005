"""The base margin of a model: a weighted sum of strong scores, where the trees begin.

Its weights are those of a conditional logit, the softmax over a user's candidates that
makes the user's next ratings most likely (McFadden, Conditional logit analysis, 1974).
It learns from many moments of many histories. At each of them the strong scores are as
if the user's own ratings were unknown to all but the state that they are applied to, so
one cutoff's tables are enough.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import numpy.typing as npt

from batch import warehouse
from batch.features import base_scores, item_models
from batch.features.base_scores import (
    COLUMNS,
    EASE,
    GAP,
    ITEM,
    STATES,
    Base,
    Histories,
    Strong,
)
from batch.machine import limits

if TYPE_CHECKING:
    import xgboost

ATTRIBUTE = "base_margin"
"""The booster's attribute that holds the weights, as JSON."""

SHORT = 5
"""Up to so many ratings, a history is short, and has weights of its own: popularity
says more beside one rating than beside a hundred."""

N_MOMENTS = (1_000, 2_500)
"""How many moments teach the weights of short histories, and those of others."""

EARLIEST = 0.4
"""Moments of others are drawn from a history's last part, from this share on."""

N_CANDIDATES = 128
"""The items among which a moment's next ratings are to be found: the best by a fixed
sum of strong scores. Easier ones teach nothing."""

N_NEXT, GAINS_OF_LATER, GAIN_OF_LIKED = (20, 10), (1.0, 0.05), 4 / 3
"""How many next ratings count, after short histories and after others. Of others, those
after the first moment's second count less; liked ones count more."""

PENALTY = 1e-3

SCALE = 1.2
"""How much more the margin counts in scoring than when the trees were trained. They
learn to predict a fifth of a history: less suits that, more the very next ratings."""

SEED = 42
MIN_MOMENTS = 100

Floats = npt.NDArray[np.float32]
Lessons = tuple[Floats, Floats]
Longs = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Weights = Doubles
"""Of shape (2, len(COLUMNS)): of short histories, and of others."""


def write(booster: "xgboost.Booster", weights: Weights | None) -> None:
    """Store weights, if there are any, in a booster: one file is the whole model."""
    if weights is None:
        return
    named = {name: weights[:, i].tolist() for i, name in enumerate(COLUMNS)}
    booster.set_attr(**{ATTRIBUTE: json.dumps(named)})


def named(weights: Weights | None) -> dict[str, float]:
    """Return the weights by name, as MLflow logs them."""
    if weights is None:
        return {}
    return {
        f"base_margin_{kind}{name}": float(weight)
        for kind, of_kind in zip(("short_", ""), weights, strict=True)
        for name, weight in zip(COLUMNS, of_kind, strict=True)
    }


def read(booster: "xgboost.Booster") -> Weights | None:
    """Return a booster's weights; None if its trees are the whole model.

    Raises:
        ValueError: its attribute holds no weights.
    """
    text = booster.attr(ATTRIBUTE)
    if text is None:
        return None
    try:
        named = json.loads(text)
        columns = [named[name] for name in COLUMNS]
        weights = np.array(columns, np.float64).T
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"its attribute {ATTRIBUTE} holds no weights") from error
    if weights.shape != (2, len(COLUMNS)) or not np.isfinite(weights).all():
        raise ValueError(f"its attribute {ATTRIBUTE} holds other than finite weights")
    return weights


def margins(base: Base, histories: Histories, weights: Weights) -> Floats:
    """Return the base margins, of shape (n_users, n_items)."""
    found = base_scores.scores(base, histories)
    return weighted(
        found.transpose(1, 0, 2), np.diff(histories.starts)[:, None], weights
    )


def to_train_from(strong: Strong, weights: Weights) -> Floats:
    """Return the margins of training pairs, of shape (n_pairs,): less by SCALE."""
    return weighted(strong.scores.T, strong.n_history, weights / SCALE)


def weighted(scores: Floats, n_history: Longs, weights: Weights) -> Floats:
    """Sum weighted scores over their first axis, by the lengths of histories."""
    own = weights[(n_history > SHORT).astype(np.int64)]
    total = np.zeros(scores.shape[1:])
    for column in range(len(COLUMNS)):  # in this order: the same sums anywhere
        total += own[..., column] * scores[column]
    return total.astype(np.float32)


class Ratings:
    """All ratings before a cutoff, by user and in their order."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        items = connection.table("item_features").order("item_id")
        self.item_ids = items.select("item_id").to_arrow_table()["item_id"].to_numpy()
        table = warehouse.fetch(connection, "marts/rated_in_order", {})
        users = table["user_id"].to_numpy()
        self.user_ids, starts = np.unique(users, return_index=True)
        self.starts = np.append(starts, len(users)).astype(np.int64)
        found = np.searchsorted(self.item_ids, table["item_id"].to_numpy())
        self.items = found.astype(np.int32)
        self.rated_at = table["rated_at"].to_numpy()
        self.is_liked = table["is_liked"].to_numpy()

    def of(self, row: int) -> slice:
        """Return where a user's ratings are."""
        return slice(self.starts[row], self.starts[row + 1])

    def until(self, rows: Longs, lengths: Longs) -> Histories:
        """Return the first ratings of some users, of each the latest first."""
        places = [
            np.arange(self.starts[row] + n - 1, self.starts[row] - 1, -1)
            for row, n in zip(rows, lengths, strict=True)
        ]
        flat = np.concatenate(places)
        starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
        ids = self.user_ids[rows].astype(np.int64)
        return Histories(ids, starts, self.items[flat], self.is_liked[flat])


def fit(connection: duckdb.DuckDBPyConnection, seed: int = SEED) -> Weights | None:
    """Fit the weights to the histories before the cutoff of the tables.

    Returns:
        None where there are too few histories to learn from.
    """
    from batch.features import loops  # with numba, which takes half a second

    ratings, base = Ratings(connection), Base.read(connection)
    diagonal = item_models.ease_diagonal(connection)
    fitted: list[Doubles] = []
    for is_long in (False, True):
        rows, lengths = moments(ratings, seed, is_long=is_long)
        if len(rows) < MIN_MOMENTS:
            continue

        def work(some: slice, rows: Longs = rows, lengths: Longs = lengths) -> Lessons:
            return lessons(ratings, base, diagonal, rows[some], lengths[some])

        starts = range(0, len(rows), loops.LANES)
        with ThreadPoolExecutor(limits.cores()) as pool:
            slices = [slice(start, start + loops.LANES) for start in starts]
            columns, labels = zip(*pool.map(work, slices), strict=True)
        weights = conditional_logit(np.concatenate(columns), np.concatenate(labels))
        fitted.append(SCALE * weights)
    return np.stack([fitted[0], fitted[-1]]) if fitted else None


def moments(ratings: Ratings, seed: int, *, is_long: bool) -> tuple[Longs, Longs]:
    """Draw moments: rows of users, and how many of their ratings are known then."""
    draw = np.random.default_rng(seed)
    n, n_moments = np.diff(ratings.starts), N_MOMENTS[is_long]
    rows = np.flatnonzero(n > (SHORT + 1 if is_long else 1))
    rows = np.repeat(rows, -(-n_moments // max(1, len(rows))))
    if len(rows) > n_moments:
        rows = np.sort(draw.choice(rows, n_moments, replace=False))
    if is_long:
        least, most = np.maximum(SHORT + 1, (EARLIEST * n[rows]).astype(int)), n[rows]
    else:
        least, most = np.ones(len(rows), int), np.minimum(SHORT + 1, n[rows])
    lengths = least + (draw.random(len(rows)) * (most - least)).astype(np.int64)
    rows, lengths = np.unique(np.stack([rows, lengths]), axis=1)
    return rows, lengths


def lessons(
    ratings: Ratings, base: Base, diagonal: Doubles, rows: Longs, lengths: Longs
) -> Lessons:
    """Return strong scores of candidates at some moments, and which came next.

    Returns:
        The scores of shape (n_moments, N_CANDIDATES, len(COLUMNS)), and the labels of
        shape (n_moments, N_CANDIDATES), which sum to 1 or, without any, to 0.
    """
    scores = base_scores.scores(base, ratings.until(rows, lengths))
    n_candidates = min(N_CANDIDATES, scores.shape[2])
    columns = np.zeros((len(rows), n_candidates, len(COLUMNS)), np.float32)
    labels = np.zeros((len(rows), n_candidates), np.float32)
    for i, (row, n) in enumerate(zip(rows, lengths, strict=True)):
        own = ratings.of(row)
        items = ratings.items[own]
        leave_out(scores[i], base, diagonal, items, ratings.is_liked[own], n)
        sure = scores[i, :EASE].mean(axis=0) + 0.5 * scores[i, 1]
        sure += 3 * scores[i, EASE] - 0.5 * scores[i, ITEM]
        sure[items[:n]] = -np.inf
        best = np.argsort(-sure, kind="stable")[:n_candidates]
        columns[i] = scores[i, :, best]
        kind = int(n > SHORT)
        following = slice(own.start + n, min(own.stop, own.start + n + N_NEXT[kind]))
        at = ratings.rated_at[following]
        gains = np.where(at == at[0], 1, GAINS_OF_LATER[kind])
        gains = gains * np.where(ratings.is_liked[following], GAIN_OF_LIKED, 1)
        of_items = np.zeros(scores.shape[2], np.float32)
        of_items[ratings.items[following]] = gains
        labels[i] = of_items[best]
    return columns, labels / np.maximum(labels.sum(axis=1, keepdims=True), 1e-9)


def leave_out(
    scores: Floats,
    base: Base,
    diagonal: Doubles,
    items: npt.NDArray[np.int32],
    is_liked: npt.NDArray[np.bool_],
    n: int,
) -> None:
    """Take a user's ratings out of the scores of items and of EASE.

    With P the inverse of the regularized Gram matrix, and x the user's row of it, the
    inverse without the row is P + Pxx'P / (1 - x'Px).

    Args:
        scores: of one user, of shape (len(COLUMNS), n_items).
        base: of the cutoff.
        diagonal: of P.
        items: all that the user rated before the cutoff, in order.
        is_liked: whether the user liked them.
        n: how many of them the state holds.
    """
    rated = base.n_ratings.copy()
    rated[items] -= 1
    sums = base.sums.copy()
    sums[0, items] -= np.arange(1, len(items) + 1) / len(items)
    sums[1, items[-10:]] -= 1
    sums[2, items] -= is_liked
    sums[3, items] -= len(items)
    scores[ITEM:GAP] = base_scores.by_item(rated, np.maximum(sums, 0))
    latest = items[max(0, n - 10) : n]
    scores[GAP] = base_scores.position_gaps(scores[ITEM + 1], latest)
    places = base.modelled[items]
    known = places >= 0
    back = n - 1.0 - np.arange(len(items))
    states = np.power(STATES[:, None], np.maximum(back, 0)) * (back >= 0)
    states[-1] *= is_liked
    states = np.vstack([states, np.ones(len(items))])[:, known]
    places = places[known]
    # rows of P, from the weights B = I - P / diag(P)
    product = states @ (base.weights[places] * -item_models.UNIT)
    product[:, places] += states
    product *= diagonal
    px, ps = product[-1], product[:-1]
    shrunk = 1 / max(1 - px[places].sum(), 1e-3)
    factor = ps[:, places].sum(axis=1) * shrunk
    found = -(ps + factor[:, None] * px) / (diagonal + shrunk * px * px)
    scores[EASE : EASE + len(STATES), base.modelled_items] = found


def conditional_logit(columns: Floats, labels: Floats) -> Doubles:
    """Fit weights by Newton's method, whose steps are halved until they gain.

    Args:
        columns: of shape (n_moments, n_candidates, n_columns).
        labels: of shape (n_moments, n_candidates); each row sums to 1 or to 0.
    """
    usable = labels.sum(axis=1) > 0
    labels, columns = labels[usable].astype(np.float64), columns[usable]
    flat = columns.reshape(-1, columns.shape[2]).astype(np.float64)
    spread = flat.std(axis=0) + 1e-6
    scaled = (columns - flat.mean(axis=0)) / spread
    flat = scaled.reshape(flat.shape)
    weights, n = np.zeros(flat.shape[1]), len(labels)

    def gain(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        logits = scaled @ weights
        logits -= logits.max(axis=1, keepdims=True)
        chances = np.exp(logits)
        total = chances.sum(axis=1, keepdims=True)
        likely = (labels * (logits - np.log(total))).sum() / n
        return likely - PENALTY / 2 * weights @ weights, chances / total

    best, chances = gain(weights)
    for _ in range(40):
        residual = (labels - chances).reshape(-1)
        slope = residual @ flat / n - PENALTY * weights
        means = np.einsum("mc,mck->mk", chances, scaled)
        curvature = (flat * chances.reshape(-1, 1)).T @ flat / n - means.T @ means / n
        curvature += PENALTY * np.eye(len(weights))
        step, former = np.linalg.solve(curvature, slope), best
        while True:
            best, chances = gain(weights + step)
            if best >= former - 1e-9 or np.abs(step).max() < 1e-6:
                break
            step /= 2
        weights = weights + step
        if abs(best - former) < 1e-7:
            break
    return np.asarray(weights / spread, np.float64)
