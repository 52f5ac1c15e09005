"""The published numbers of the releases, and the laws that are fitted to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rising = Callable[[float], float]

MIN_RATINGS = 20
"""GroupLens publishes no user who has fewer."""


@dataclass(frozen=True)
class Shape:
    """What a release is like.

    Attributes:
        name: of the release.
        n_users: who rated.
        max_user_id: ids go on to here, not all of them in use.
        n_items: of the catalogue.
        max_item_id: as above.
        n_rated: how many of the items somebody rated.
        n_ratings: all in all.
        median_history: half of the users have no more ratings than this.
        longest_history: and nobody more than this.
        counts: rank of an item by popularity → how many ratings it has.
        first_year: of a release of a film; the last is that of the last ratings.
        began_at: the time of the first ratings.
        ended_at: the time of the last ones.
        has_half_stars: ratings are not whole.
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
    first_year: int = 1922

    @property
    def last_year(self) -> int:
        """The year of the last ratings."""
        return 1970 + self.ended_at // 31_556_952

    def item_counts(self) -> Floats:
        """Give how often each item is rated, the most popular first.

        The curve goes through `counts` in logarithms of both; its exponent is bent so
        that the sum is right.
        """
        ranks = np.log(np.arange(1, self.n_rated + 1))
        known = sorted(self.counts.items())
        curve = np.exp(
            np.interp(
                ranks,
                np.log([rank for rank, _ in known]),
                np.log([count for _, count in known]),
            )
        )
        top = curve[0]

        def bent(exponent: float) -> Floats:
            counts: Floats = np.maximum(top * (curve / top) ** exponent, 1.0)
            return counts

        return bent(bisected(lambda e: -bent(e).sum(), -self.n_ratings, 0.5, 2.0))

    def history_lengths(self, n_users: int) -> Ints:
        """Give how many ratings each user has, rising.

        Twenty and a log-normal number, in even quantiles, of which the spread is such
        that the mean is right.
        """
        quantiles = normal_quantiles((np.arange(n_users) + 0.5) / n_users)
        middle = self.median_history - MIN_RATINGS

        def lengths(spread: float) -> Floats:
            drawn = MIN_RATINGS + middle * np.exp(spread * quantiles)
            capped: Floats = np.minimum(drawn, self.longest_history)
            return capped

        wanted = self.n_ratings * n_users / self.n_users
        found = lengths(bisected(lambda s: lengths(s).sum(), wanted, 0.1, 3.0))
        whole = np.floor(found).astype(np.int64)
        # the longest fractions are rounded up, so that the sum is exact
        short = min(max(0, round(wanted) - int(whole.sum())), n_users)
        whole[np.argsort(whole - found, kind="stable")[:short]] += 1
        return np.clip(whole, MIN_RATINGS, self.longest_history)


def bisected(rising: Rising, wanted: float, low: float, high: float) -> float:
    """Find where a rising function has a value."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return high


def normal_quantiles(shares: Floats) -> Floats:
    """Invert the distribution function of the normal law by interpolation."""
    grid = np.linspace(-6.0, 6.0, 4001)
    below = np.array([(1 + erf(x / sqrt(2))) / 2 for x in grid])
    return np.interp(shares, below, grid)


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            name="ml-100k",
            n_users=943,
            max_user_id=943,
            n_items=1682,
            max_item_id=1682,
            n_rated=1682,
            n_ratings=100_000,
            median_history=65,
            longest_history=737,
            counts={1: 583, 100: 250, 400: 82, 841: 27, 1300: 4, 1682: 1},
            began_at=874_724_710,
            ended_at=893_286_638,
            has_half_stars=False,
        ),
        Shape(
            name="ml-1m",
            n_users=6040,
            max_user_id=6040,
            n_items=3883,
            max_item_id=3952,
            n_rated=3706,
            n_ratings=1_000_209,
            median_history=96,
            longest_history=2314,
            counts={
                1: 3428,
                100: 1600,
                500: 700,
                1000: 350,
                1853: 123,
                3000: 11,
                3706: 1,
            },
            began_at=956_703_932,
            ended_at=1_046_454_590,
            has_half_stars=False,
        ),
        Shape(
            name="ml-10m",
            n_users=69_878,
            max_user_id=71_567,
            n_items=10_681,
            max_item_id=65_133,
            n_rated=10_677,
            n_ratings=10_000_054,
            median_history=69,
            longest_history=7359,
            counts={
                1: 34_864,
                100: 17_000,
                1000: 2600,
                3000: 520,
                5338: 135,
                8500: 25,
                10_677: 1,
            },
            began_at=789_652_009,
            ended_at=1_231_131_736,
            has_half_stars=True,
        ),
        Shape(
            name="ml-25m",
            n_users=162_541,
            max_user_id=162_541,
            n_items=62_423,
            max_item_id=209_171,
            n_rated=59_047,
            n_ratings=25_000_095,
            median_history=71,
            longest_history=32_202,
            counts={
                1: 81_491,
                100: 33_000,
                1000: 6500,
                4000: 900,
                10_000: 110,
                24_000: 10,
                29_500: 6,
                48_000: 1,
                59_047: 1,
            },
            began_at=789_652_009,
            ended_at=1_574_327_703,
            has_half_stars=True,
        ),
    )
}
