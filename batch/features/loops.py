"""The loops of the features, which numba compiles to machine code."""

from functools import partial
from typing import Any

import numpy as np

from batch.machine.native import compiled

fused = partial(compiled, is_fused=True)

LANES = 16
"""Number of users whom the state kernels serve at once. A processor adds so many 32-bit
floats in one or two instructions; and the numbers of a user never depend on others."""

CHUNK = 32
"""Number of prefixes whose votes are weighed at once, in the first cache."""

LEAST = 1e-4
"""What an item must weigh in a state to be in it."""

TINY = np.float32(1e-20)
"""Keeps fading numbers from becoming so small that a processor is slow with them."""


@fused
def sum_votes(
    starts: Any,
    items: Any,
    own: Any,
    user_starts: Any,
    user_items: Any,
    kernels: Any,
    votes: Any,
) -> None:
    """Sum the votes of all prefixes for next items and for later ones.

    Args:
        starts: where each voter's items start, of shape (n_voters + 1,).
        items: the voters' items, in the order of their ratings.
        own: the voter that each user is, or -1, of shape (LANES,).
        user_starts: where each of at most LANES users' items start.
        user_items: the users' items, of each the latest first.
        kernels: KERNELS.
        votes: of shape (n_items, 2 * len(kernels) * LANES): of each kernel those for
            next items, then of each kernel those for later ones.
    """
    width = len(kernels) * LANES  # one number for each kernel and user
    states = np.full((2, len(votes), width), TINY, np.float32)
    longest = np.diff(starts).max() if len(starts) > 1 else 0
    lengths = np.zeros((2, longest, width), np.float32)
    fades, gains = np.zeros((2, width), np.float32), np.zeros(width, np.float32)
    for k in range(len(kernels)):
        lanes = slice(k * LANES, (k + 1) * LANES)
        gains[lanes] = kernels[k, 4]
        for s in range(2):
            of_state = kernels[k, 2 * s :]
            fades[s, lanes] = of_state[0]
            fill_states(user_starts, user_items, of_state, states[s, :, lanes])
            fill_lengths(of_state[0], lengths[s, :, lanes])
    fast = np.zeros((CHUNK + 1, width), np.float32)
    slow, later = np.zeros_like(fast), np.zeros_like(fast)
    weights = np.zeros((CHUNK, width), np.float32)
    votes[:] = 0
    for voter in range(len(starts) - 1):
        fast[0], slow[0], later[0] = TINY, TINY, TINY
        last = starts[voter + 1] - 1
        for first in range(starts[voter], last, CHUNK):
            n = min(CHUNK, last - first)
            for i in range(n):
                item = items[first + i]
                fade(fast[i], fades[0], states[0, item], fast[i + 1])
                fade(slow[i], fades[1], states[1, item], slow[i + 1])
            known = slice(first - starts[voter], first - starts[voter] + n)
            weigh_prefixes(
                fast[1 : n + 1].reshape(-1),
                lengths[0, known].reshape(-1),
                slow[1 : n + 1].reshape(-1),
                lengths[1, known].reshape(-1),
                weights[:n].reshape(-1),
            )
            silence(own, voter, weights[:n])
            for i in range(n):
                following = votes[items[first + i + 1]]
                fade(later[i], gains, weights[i], later[i + 1])
                add_to(following[:width], weights[i])
                add_to(following[width:], later[i + 1])
            fast[0], slow[0], later[0] = fast[n], slow[n], later[n]


@compiled
def silence(own: Any, voter: int, weights: Any) -> None:
    """Set to 0 what a voter's prefixes weigh for the user that the voter is."""
    for lane in range(len(own)):
        if own[lane] == voter:
            weights[:, lane::LANES] = 0


# Loops over all of a row's numbers, which compile to vector instructions.


@fused
def fade(former: Any, fades: Any, more: Any, found: Any) -> None:
    """Fill in `found`: what is left of `former`, and more."""
    for i in range(len(found)):
        found[i] = fades[i] * former[i] + more[i]


@fused
def add_to(row: Any, more: Any) -> None:
    """Add to a row."""
    for i in range(len(row)):
        row[i] += more[i]


@fused
def weigh_prefixes(
    fast: Any, lengths: Any, slow: Any, slow_lengths: Any, weights: Any
) -> None:
    """Fill in exp(x) - 1, nearly, where x are the cosines of two states."""
    one = np.float32(1)
    for i in range(len(weights)):
        x = one + fast[i] * lengths[i] + slow[i] * slow_lengths[i]
        # (1 + x / 16) ** 16 in place of exp(x), as products are faster
        x = x * x
        x = x * x
        x = x * x
        x = x * x
        weights[i] = x - one + TINY


@compiled
def fill_states(user_starts: Any, user_items: Any, kernel: Any, states: Any) -> None:
    """Fill in the users' states, of which each length is 1/16 of the sharpness."""
    for user in range(len(user_starts) - 1):
        own = user_items[user_starts[user] : user_starts[user + 1]]
        weight, square, n = 1.0, 0.0, 0
        while n < len(own) and weight >= LEAST:
            square += weight * weight
            weight *= kernel[0]
            n += 1
        weight = kernel[1] / 16 / np.sqrt(square) if n else 0.0
        for item in own[:n]:
            states[item, user] = weight
            weight *= kernel[0]


@compiled
def fill_lengths(fade: float, lengths: Any) -> None:
    """Fill in one over the length of a state of so many items, from one on."""
    square = 0.0
    for n in range(len(lengths)):
        square = square * fade * fade + 1
        lengths[n] = 1 / np.sqrt(square)


@compiled
def weigh(
    starts: Any,
    items: Any,
    is_liked: Any,
    fades: Any,
    modelled: Any,
    modelled_items: Any,
    weights: Any,
    unit: Any,
    found: Any,
) -> None:
    """Apply a linear model to states of users: fill in `found[user, state, item]`.

    Args:
        starts: where each user's items start.
        items: the users' items, of each the latest first.
        is_liked: whether the user liked them.
        fades: how each state fades; the last is of liked items only.
        modelled: the place of each item in `weights`, or -1.
        modelled_items: the item of each place.
        weights: of the model, rated × candidate.
        unit: of the weights.
        found: of shape (n_users, len(fades), n_items).
    """
    sums = np.zeros((len(fades), len(modelled_items)))
    factors, used = np.zeros(len(fades)), np.zeros(len(fades))
    for user in range(len(starts) - 1):
        sums[:] = 0
        factors[:] = unit
        for at in range(starts[user], starts[user + 1]):
            place = modelled[items[at]]
            if place >= 0:
                used[:] = factors
                used[-1] *= is_liked[at]
                add(sums, used, weights[place])
            factors *= fades
        for i in range(len(modelled_items)):
            found[user, :, modelled_items[i]] = sums[:, i]


@compiled
def add(sums: Any, factors: Any, row: Any) -> None:
    """Add multiples of a row to the rows of `sums`."""
    for s in range(len(factors)):
        if factors[s] != 0:
            for i in range(len(row)):
                sums[s, i] += factors[s] * row[i]


@compiled
def count(
    starts: Any,
    places: Any,
    positions: Any,
    together: Any,
    following: Any,
    states: Any,
    targets: Any,
) -> None:
    """Add to `states` and `targets` what the distances of pairs of ratings are worth.

    Args:
        starts: where each user's ratings start.
        places: of the rated items, in the order of the ratings.
        positions: of the ratings, rising within a user.
        together: what a distance adds to `states`.
        following: what a distance adds to `targets`.
        states: of shape (n_items, n_items).
        targets: of the same shape.
    """
    for user in range(len(starts) - 1):
        last = starts[user + 1]
        for one in range(starts[user], last):
            of_states, of_targets = states[places[one]], targets[places[one]]
            for other in range(one + 1, last):
                distance = positions[other] - positions[one]
                if distance >= len(together):
                    break
                of_states[places[other]] += together[distance]
                of_targets[places[other]] += following[distance]
