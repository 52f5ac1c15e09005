"""What a data set looks like, and what about it makes lists doubtful."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from batch import warehouse

FAST = 100
"""A user with more interactions than this within a minute is taken for a robot. In
MovieLens-100K, whose users rated pages of films at once, 30 are the most."""

LARGE_SHARE = 0.2
"""The share of all interactions from which one user or one item is worth a warning."""

EARLY = 20 * 365 * 86400
"""What is counted in days or minutes since 1970 is below it, read as unix seconds."""

LEAST_USERS = 10
"""With fewer users, it is no surprise if they share an item or hold a large share."""

LEAST_STEPS = 0.01
"""The share of a user's consecutive interactions that must differ in time: with less,
there is no order to learn from."""


@dataclass(frozen=True)
class Profile:
    """The row of `data_profile.sql`.

    Attributes:
        n_users: users with interactions.
        median_of_user: interactions of the median user.
        max_of_user: interactions of the busiest user.
        n_steps: consecutive interactions of a user that differ in time.
        n_items: items of the catalogue.
        n_rated_items: items with interactions.
        max_of_item: users of the most popular item.
        n_ratings: interactions.
        began_at: time of the first interaction, in unix seconds.
        ended_at: time of the last one.
        n_values: different ratings.
        lowest: lowest rating, in stars.
        highest: highest rating, in stars.
        n_at_midnight: interactions at 00:00:00 UTC.
        n_tied: interactions that share their second with another of the same user.
        n_fast_users: users with more than FAST interactions within a minute.
        n_fast: their interactions.
    """

    n_users: int
    median_of_user: float
    max_of_user: int
    n_steps: int
    n_items: int
    n_rated_items: int
    max_of_item: int
    n_ratings: int
    began_at: int
    ended_at: int
    n_values: int
    lowest: float
    highest: float
    n_at_midnight: int
    n_tied: int
    n_fast_users: int
    n_fast: int

    @property
    def has_order(self) -> bool:
        """Whether the times of a user's interactions say which came first."""
        n_pairs = self.n_ratings - self.n_users
        return n_pairs == 0 or self.n_steps >= LEAST_STEPS * n_pairs

    @property
    def has_seconds(self) -> bool:
        """Whether times are finer than days."""
        return self.n_at_midnight < self.n_ratings

    def rows(self) -> list[tuple[str, str]]:
        """Return the labels and texts of a table."""
        mean = self.n_ratings / self.n_users
        stars = f"{self.lowest:g} to {self.highest:g} stars, {self.n_values} values"
        first, last = (
            f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
            for at in (self.began_at, self.ended_at)
        )
        return [
            ("users", f"{self.n_users:,}"),
            ("items", f"{self.n_items:,}, {self.n_rated_items:,} with interactions"),
            ("interactions", f"{self.n_ratings:,}"),
            (
                "per user",
                f"median {self.median_of_user:,g}, mean {mean:,.1f}, "
                f"most {self.max_of_user:,}",
            ),
            ("period", f"{first} to {last}"),
            ("ratings", stars if self.n_values > 1 else "none, or all the same"),
            ("in the same second", f"{self.n_tied / self.n_ratings:.0%}"),
        ]

    def doubts(self) -> list[str]:
        """Return what makes lists from these data doubtful, in sentences."""
        return [*self._doubts_of_time(), *self._doubts_of_shares()]

    def _doubts_of_time(self) -> Iterator[str]:
        if not self.has_order:
            yield (
                "almost all interactions of a user have one time: there is no order "
                "to learn from, so the features of order are left out, and the split "
                "into history and hold-out is by chance"
            )
        elif self.ended_at < EARLY:
            yield (
                "all times lie before 1990: are they days or minutes, not unix seconds?"
            )
        elif not self.has_seconds:
            yield (
                "all times are whole days (UTC): the order within a day, and a split "
                "in the middle of one, are by chance"
            )
        elif self.n_fast:
            yield (
                f"users with more than {FAST} interactions within a minute "
                f"({self.n_fast_users:,}) hold {self.n_fast / self.n_ratings:.0%} of "
                "all interactions: are they robots?"
            )

    def _doubts_of_shares(self) -> Iterator[str]:
        if self.n_users < LEAST_USERS:
            return
        for name, n in (("user", self.max_of_user), ("item", self.max_of_item)):
            if n > LARGE_SHARE * self.n_ratings:
                share = n / self.n_ratings
                yield f"one {name} has {share:.0%} of all interactions"
        if self.max_of_item == self.n_users:
            yield "some item is in every user's history, and tells no users apart"
        if self.max_of_item == 1:
            yield (
                "no item has two users, so there is nothing in common to learn from: "
                "is item_id the number of an order?"
            )


def read(connection: duckdb.DuckDBPyConnection) -> Profile:
    """Measure the staging tables."""
    table = warehouse.fetch(connection, "marts/data_profile", {"fast": FAST})
    [row] = table.to_pylist()
    return Profile(**row)
