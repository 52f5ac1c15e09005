"""What numpy writes is what one would write by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.publishing import encoding
from batch.publishing.external_ids import ExternalIds
from batch.scoring.ranking import Ranking
from lookup.shared import contract
from lookup.shared.contract import IdKind
from tests.conftest import KEYS

Pairs = Sequence[tuple[int, float]]

ITEM_IDS = st.one_of(
    st.integers(1, 2000),
    st.integers(1, 300_000),
    st.sampled_from([1, 9, 10, 9999, 10_000, 99_999, 2**31 - 1]),
)
SCORES = st.one_of(
    st.floats(-12, 12, width=32),
    st.sampled_from([0.0, -0.0, -2e-5, 0.00005, 0.03125, 9.99995, 9.9999, 98.99999]),
).map(lambda score: float(np.float32(score)))
LISTS = st.lists(
    st.lists(st.tuples(ITEM_IDS, SCORES), max_size=12), min_size=1, max_size=6
)


def by_hand(lists: Sequence[Pairs]) -> list[bytes]:
    """Write the commands one argument at a time."""
    return [
        encoding.command("RPUSH", "key", *texts)
        for texts in map(contract.encode, lists)
    ]


def pushes(lists: Sequence[Pairs]) -> list[bytes]:
    """Write the commands as the batch does."""
    rankings = [
        Ranking(
            1,
            np.array([item_id for item_id, _ in pairs], dtype=np.int32),
            np.array([score for _, score in pairs], dtype=np.float32),
        )
        for pairs in lists
    ]
    items = ExternalIds.of(item_id for pairs in lists for item_id, _ in pairs)
    return encoding.pushes(["key"] * len(lists), rankings, items)


def test_a_command_is_what_redis_documents() -> None:
    expected = b"*3\r\n$5\r\nRPUSH\r\n$3\r\nkey\r\n$9\r\n50:3.1416\r\n"
    assert encoding.command("RPUSH", "key", "50:3.1416") == expected
    assert pushes([[(50, 3.14159)]]) == [expected]
    assert encoding.parts(expected) == ["RPUSH", "key", "50:3.1416"]


@settings(max_examples=300, deadline=None)  # the first makes the tables
@given(LISTS)
def test_numpy_writes_what_encode_does(lists: list[Pairs]) -> None:
    """To the byte: signs, halves and empty lists."""
    assert pushes(lists) == by_hand(lists)


@pytest.mark.parametrize(
    "pair", [(7, 99.5), (7, -1e30), (7, float("inf")), (7, float("nan"))]
)
def test_what_the_tables_lack_is_written_one_by_one(pair: tuple[int, float]) -> None:
    lists = [[(50, 2.5)], [pair], []]
    exact = [[(i, float(np.float32(s))) for i, s in pairs] for pairs in lists]
    assert pushes(lists) == by_hand(exact)


def test_every_fraction_is_rounded_as_python_rounds() -> None:
    """Over a stretch of scores that holds all ten thousand of them, and halves."""
    scores = np.arange(-20_000, 20_000, dtype=np.float32) / 16_384
    lists = [[(1, score)] for score in scores.tolist()]
    assert pushes(lists) == by_hand(lists)


@given(st.data())
def test_ids_of_text_are_written_as_they_are(data: st.DataObject) -> None:
    """Of any length up to 128 characters, in any alphabet, with colons."""
    keys = data.draw(
        st.lists(
            st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=128),
            min_size=1,
            unique=True,
        )
    )
    items = ExternalIds(IdKind.of(keys), dict(enumerate(keys, start=1)))
    item_ids = np.array(data.draw(st.lists(st.sampled_from([*items.keys]))), np.int32)
    scores = np.linspace(1, -1, len(item_ids), dtype=np.float32)
    named = [items.keys[item_id] for item_id in item_ids.tolist()]
    expected = contract.encode(zip(named, scores.tolist(), strict=True))
    (command,) = encoding.pushes(["key"], [Ranking(1, item_ids, scores)], items)
    assert command == encoding.command("RPUSH", "key", *expected)
    assert contract.decode(expected, IdKind.TEXT) == [
        (name, round(score, 4))
        for name, score in zip(named, scores.tolist(), strict=True)
    ]


def test_an_entry_takes_at_most_seventeen_bytes(redis_client: "redis.Redis") -> None:
    """Also with the ids of ml-25m, key and all."""
    random = np.random.default_rng(7)
    rankings = [
        Ranking(
            user_id,
            (random.permutation(209_171)[:100] + 1).astype(np.int32),
            np.sort(random.uniform(-2, 4, 100).astype(np.float32))[::-1],
        )
        for user_id in range(1, 101)
    ]
    keys = [KEYS.of("20261124T160406Z-a9e443").user(r.user_id) for r in rankings]
    for command in encoding.pushes(keys, rankings, ExternalIds.of(range(1, 209_172))):
        redis_client.execute_command(*encoding.parts(command))
    n_bytes = [redis_client.memory_usage(key, samples=0) or 0 for key in keys]
    allocator = str(redis_client.info("memory")["mem_allocator"])
    # jemalloc rounds 1,560 bytes up to 1,792
    assert np.mean(n_bytes) / 100 <= (19 if "jemalloc" in allocator else 17)
