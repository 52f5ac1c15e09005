"""The loops of the features, which numba compiles to machine code."""

from functools import partial
from typing import Any

import numpy as np

from batch.machine.native import compiled

LANES = 16
"""Number of users whom a state kernel serves at once. A processor adds so many 32-bit
floats in one or two instructions; and the numbers of a user never depend on others."""

LEAST = 1e-4
"""What an item must weigh in a state to be in it."""


@partial(compiled, is_fused=True)
def sum_votes(
    starts: Any,
    items: Any,
    own: Any,
    user_starts: Any,
    user_items: Any,
    kernel: Any,
    votes: Any,
) -> None:
    """Sum the votes of all prefixes for next items, `votes[0]`, and for later ones.

    Args:
        starts: where each voter's items start, of shape (n_voters + 1,).
        items: the voters' items, in the order of their ratings.
        own: the voter that each user is, or -1, of shape (LANES,).
        user_starts: where each of at most LANES users' items start.
        user_items: the users' items, of each the latest first.
        kernel: a row of KERNELS.
        votes: of shape (2, n_items, LANES).
    """
    fade, slow_fade = np.float32(kernel[0]), np.float32(kernel[2])
    gain, one = np.float32(kernel[4]), np.float32(1)
    states = np.zeros((votes.shape[1], 2, LANES), np.float32)
    sharpness = np.zeros((2, LANES), np.float32)
    fill_states(user_starts, user_items, kernel, states, sharpness)
    fast, slow = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    later, b = np.zeros(LANES, np.float32), np.zeros((2, LANES), np.float32)
    lengths = np.zeros((2, np.diff(starts).max() if len(starts) > 1 else 0), np.float32)
    fill_lengths(kernel, lengths)
    votes[:] = 0
    for voter in range(len(starts) - 1):
        for lane in range(LANES):
            fast[lane] = slow[lane] = later[lane] = 0
            is_other = own[lane] != voter
            b[0, lane] = sharpness[0, lane] * is_other
            b[1, lane] = sharpness[1, lane] * is_other
        for at in range(starts[voter], starts[voter + 1] - 1):
            item, following = items[at], items[at + 1]
            place = at - starts[voter]
            length, slow_length = lengths[0, place], lengths[1, place]
            for lane in range(LANES):
                fast[lane] = fade * fast[lane] + states[item, 0, lane]
                slow[lane] = slow_fade * slow[lane] + states[item, 1, lane]
                x = one + fast[lane] * length * b[0, lane]
                x = x + slow[lane] * slow_length * b[1, lane]
                # (1 + x / 16) ** 16 in place of exp(x), as products are faster
                x = x * x
                x = x * x
                x = x * x
                x = x * x
                weight = x - one
                later[lane] = gain * later[lane] + weight
                votes[0, following, lane] += weight
                votes[1, following, lane] += later[lane]


@compiled
def fill_states(
    user_starts: Any, user_items: Any, kernel: Any, states: Any, sharpness: Any
) -> None:
    """Fill in the users' fast and slow states, and how sharply each is compared."""
    for user in range(len(user_starts) - 1):
        for s in range(2):
            weight, square = 1.0, 0.0
            for at in range(user_starts[user], user_starts[user + 1]):
                states[user_items[at], s, user] = weight
                square += weight * weight
                weight *= kernel[2 * s]
                if weight < LEAST:
                    break
            if square > 0:
                sharpness[s, user] = kernel[2 * s + 1] / 16 / np.sqrt(square)


@compiled
def fill_lengths(kernel: Any, lengths: Any) -> None:
    """Fill in one over the lengths of states of so many items, fast and slow ones."""
    for s in range(2):
        square = 0.0
        for n in range(lengths.shape[1]):
            square = square * kernel[2 * s] * kernel[2 * s] + 1
            lengths[s, n] = 1 / np.sqrt(square)


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
