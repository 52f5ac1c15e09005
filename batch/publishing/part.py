"""A part of the users: `I/N`, the I-th of N."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

USERS_PER_PART = 25_000
"""What an interrupted run may lose; some minutes of ml-25m's items on two cores."""


@dataclass(frozen=True)
class Part:
    """One of `n` parts of the users, `number` from 1."""

    number: int
    n: int

    def __str__(self) -> str:
        return f"{self.number}/{self.n}"

    def of(self, user_ids: Sequence[int]) -> Sequence[int]:
        """Return the users of this part, rising if all are."""
        n = len(user_ids)
        return user_ids[(self.number - 1) * n // self.n : self.number * n // self.n]

    def file_name(self, generation: str) -> str:
        """Name the file of this part's lists."""
        if self.n == 1:
            return f"{generation}.parquet"
        return f"{generation}.part-{self.number}-of-{self.n}.parquet"


def parse(text: str) -> Part:
    """Read `I/N`.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"{text!r} is no part; expected I/N, such as 1/4 to 4/4")
    return Part(int(found[1]), int(found[2]))


def n_parts(n_users: int) -> int:
    """Say in how many parts a run on one machine scores so many users."""
    return max(1, -(-n_users // USERS_PER_PART))
