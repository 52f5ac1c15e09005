import pytest

from batch.evaluation import data_profile
from tests import worlds
from tests.worlds import Connection, Rating, World

DAY = 86_400


def world(ratings: list[Rating]) -> World:
    return World(
        ratings,
        [(item, None, []) for item in range(1, 51)],
        [(user, None, None, None) for user in range(1, 13)],
    )


def spread(step: int = 1000, n_users: int = 12) -> list[Rating]:
    """Let users rate five items, `step` seconds apart, none of them rated by all."""
    return [
        (user, 1 + (user + i) % 40, 3.0 + i % 2, 20_000 * DAY + user + i * step)
        for user in range(1, n_users + 1)
        for i in range(5)
    ]


def test_a_profile_in_words(connection: Connection) -> None:
    """60 ratings and one more of user 1, in the second of its first."""
    ratings = [*spread(), (1, 41, 5.0, 20_000 * DAY + 1)]
    worlds.stage(connection, world(ratings))
    profile = data_profile.read(connection)
    assert profile.rows() == [
        ("users", "12"),
        ("items", "50, 17 with interactions"),
        ("interactions", "61"),
        ("per user", "median 5, mean 5.1, most 6"),
        ("period", "2024-10-04 to 2024-10-04"),
        ("ratings", "3 to 5 stars, 3 values"),
        ("in the same second", "3%"),
    ]
    assert (profile.has_order, profile.has_seconds) == (True, True)
    assert profile.doubts() == []


@pytest.mark.parametrize(
    ("ratings", "doubts"),
    [
        (spread(step=0), ["no order to learn from"]),
        (
            [(user, item, 4.0, t // DAY * DAY) for user, item, _, t in spread(DAY)],
            ["whole days"],
        ),
        (
            # 101 within a minute; a hundred are not too many
            [(1, 1 + i, 4.0, 60 * 10**7 + i % 60) for i in range(101)]
            + [(2, 1 + i, 4.0, 60 * 10**7 + i % 60) for i in range(100)]
            + [
                (u, i, 4.0, 10**9 + u * i)
                for u in range(3, 43)
                for i in range(u, u + 20)
            ],
            ["more than 100 interactions within a minute (1) hold 10%"],
        ),
        (
            [*spread(), *((1, 50 + i, 4.0, 10**9 + 100 * i) for i in range(30))],
            ["one user has 39% of all"],
        ),
        (
            [*spread(), *((user, 50, 4.0, 10**9) for user in range(1, 13))],
            ["some item is in every user's history"],
        ),
        (
            [
                (u, 100 * u + i, 4.0, 10**9 + 1000 * i)
                for u in range(1, 13)
                for i in range(1, 5)
            ],
            ["no item has two users"],
        ),
        ([(*row[:3], 18_000 + i) for i, row in enumerate(spread())], ["days or min"]),
        # with few users, shares are no surprise
        (spread(n_users=3), []),
    ],
)
def test_doubts(
    connection: Connection, ratings: list[Rating], doubts: list[str]
) -> None:
    worlds.stage(connection, world(ratings))
    found = data_profile.read(connection).doubts()
    assert len(found) == len(doubts)
    for doubt, part in zip(found, doubts, strict=True):
        assert part in doubt
