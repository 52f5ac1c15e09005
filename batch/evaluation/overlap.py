"""How alike two rankings of the same user are."""

from collections.abc import Sequence

from batch.evaluation.metrics import K

PERSISTENCE = 0.9
"""The chance of looking at the next place: the first ten have 86 % of the weight."""


def overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the share of the first ten items that both have; 1 if both are empty."""
    longer = max(len(one[:K]), len(other[:K]))
    return len({*one[:K]} & {*other[:K]}) / longer if longer else 1.0


def rank_biased_overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the overlap at each depth, weighted towards the first places.

    Source: Webber, Moffat and Zobel, A similarity measure for indefinite rankings,
    2010; RBO_EXT of equation 32, at the depth of the shorter ranking.
    """
    depth = min(len(one), len(other))
    if not depth:
        return float(len(one) == len(other))
    seen: tuple[set[str], set[str]] = (set(), set())
    n_common, total, weight = 0, 0.0, 1.0
    for i, (a, b) in enumerate(zip(one, other, strict=False), start=1):
        seen[0].add(a)
        seen[1].add(b)
        n_common += (a in seen[1]) + (b in seen[0] and a != b)
        total += weight * n_common / i
        weight *= PERSISTENCE
    return (1 - PERSISTENCE) * total + weight * n_common / depth
