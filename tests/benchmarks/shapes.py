"""The published numbers of the releases, and the curves through them."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MIN_RATINGS = 20
"""GroupLens publishes no user with fewer."""


@dataclass(frozen=True)
class Shape:
    """The size of a release.

    Attributes:
        name: of the release.
        n_users: users with ratings.
        max_user_id: the highest id; not all ids below it are in use.
        n_items: items of the catalogue.
        max_item_id: the highest id, as above.
        n_rated: items with ratings.
        n_ratings: ratings of all users.
        median_history: ratings of the median user.
        longest_history: ratings of the busiest user.
        counts: rank of an item by popularity → its number of ratings.
        began_at: the time of the first rating.
        ended_at: the time of the last rating.
        has_half_stars: whether ratings may be halves.
    """

    name: str
    n_users: int
    max_user_id: int
    n_items: int
    max_item_id: int
    n_rated: int
    n_ratings: int
    median_history: int
    longest_history: int
    counts: Mapping[int, int]
    began_at: int
    ended_at: int
    has_half_stars: bool

    def item_shares(self) -> Floats:
        """Return the share of users who rate each item, most popular first.

        Logarithms of counts are interpolated between logarithms of the known ranks.
        """
        known = np.log(sorted(self.counts.items()))
        ranks = np.log(np.arange(1, self.n_rated + 1))
        shares: Floats = np.exp(np.interp(ranks, known[:, 0], known[:, 1]))
        return shares / self.n_users

    def history_lengths(self, n_users: int) -> Ints:
        """Return the number of ratings of each user, ascending.

        Even quantiles of 20 plus a log-normal law, scaled to the exact sum.
        """
        middle = self.median_history - MIN_RATINGS
        wanted = round(self.n_ratings * n_users / self.n_users)
        spread = sqrt(2 * log((wanted / n_users - MIN_RATINGS) / middle))
        normal = NormalDist()
        shares = (np.arange(n_users) + 0.5) / n_users
        quantiles = np.array([normal.inv_cdf(share) for share in shares.tolist()])
        longest = self.longest_history - MIN_RATINGS
        above = np.minimum(middle * np.exp(spread * quantiles), longest)
        for _ in range(9):  # what the cap takes away, the others get
            scale = (wanted - MIN_RATINGS * n_users) / above.sum()
            above = np.minimum(above * scale, longest)
        ends = np.rint(np.cumsum(above + MIN_RATINGS)).astype(np.int64)
        return np.sort(np.diff(ends, prepend=0))


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            "ml-100k", 943, 943, 1682, 1682, 1682, 100_000, 65, 737,
            {1: 583, 100: 250, 400: 82, 841: 27, 1300: 4, 1682: 1},
            874_724_710, 893_286_638, has_half_stars=False,
        ),
        Shape(
            "ml-1m", 6040, 6040, 3883, 3952, 3706, 1_000_209, 96, 2314,
            {1: 3428, 100: 1600, 500: 700, 1000: 350, 1853: 123, 3000: 11, 3706: 1},
            956_703_932, 1_046_454_590, has_half_stars=False,
        ),
        Shape(
            "ml-10m", 69_878, 71_567, 10_681, 65_133, 10_677, 10_000_054, 69, 7359,
            {1: 34_864, 100: 17_000, 1000: 2600, 3000: 520, 5338: 135, 8500: 25}
            | {10_677: 1},
            789_652_009, 1_231_131_736, has_half_stars=True,
        ),
        Shape(
            "ml-25m", 162_541, 162_541, 62_423, 209_171, 59_047, 25_000_095, 71, 32_202,
            {1: 81_491, 100: 33_000, 1000: 6500, 4000: 900, 10_000: 110, 24_000: 10}
            | {29_500: 6, 48_000: 1, 59_047: 1},
            789_652_009, 1_574_327_703, has_half_stars=True,
        ),
    )
}  # fmt: skip
