"""Any bytes of a request or of Redis are accepted, or refused as documented."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.parsers import PARSERS, SEEDS, is_accepted

N_EXAMPLES = 300

PIECES = (
    b"k=", b"offset=", b"genre=", b"exclude=", b"fallback=none", b"because=1", b"&",
    b"=", b",", b":", b"\n", b"-", b"0", b"1", b"42", b"9" * 30, b"9" * 5_000, b"1e999",
    b"nan", b"inf", b"%00", b"%ff", b"%d9%a4", b"+", b" ", b"_", b"\xff", b"\x00",
    "٤²".encode(), b".5", b"null",
)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["1", "-", "\ud800", float("inf"), 10**400, "9" * 5_000])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner)
    ),
    max_leaves=8,
)


@st.composite
def garbled(draw: st.DrawFn, name: str) -> bytes:
    """Draw a valid input with one changed value, pieces in any order, or any bytes."""
    (seed, *_) = SEEDS[name]
    if not seed.startswith(b"{") or draw(st.booleans()):
        pieces = st.lists(st.sampled_from((*PIECES, *SEEDS[name])), max_size=8)
        return b"".join(draw(pieces)) if draw(st.booleans()) else draw(st.binary())
    fields = json.loads(seed)
    field = draw(st.sampled_from(sorted(fields)))
    value = fields[field]
    if isinstance(value, list) and draw(st.booleans()):
        value[0] = draw(VALUES)
    elif isinstance(value, dict) and draw(st.booleans()):
        value["model"] = {"ndcg_at_10": draw(VALUES)}
    else:
        fields[field] = draw(VALUES)
    return json.dumps(fields).encode()


@pytest.mark.parametrize("name", PARSERS)
def test_any_input_is_accepted_or_refused(name: str) -> None:
    assert all(is_accepted(name, seed) for seed in SEEDS[name])
    n_tried = 0

    @settings(max_examples=N_EXAMPLES, deadline=None, database=None)
    @given(garbled(name))
    def anything(data: bytes) -> None:
        nonlocal n_tried
        n_tried += 1
        is_accepted(name, data)

    anything()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("history", '{"n_ratings": Infinity, "highest": [], "last": []}'),
        ("history", '{"n_ratings": 1, "highest": [[1, NaN]], "last": []}'),
        (
            "history",
            '{"n_ratings": 1, "highest": [[1, 1' + "0" * 400 + ']], "last": []}',
        ),
        ("history", "[" * 100_000),
        ("about", "[" * 100_000),
        ("about", SEEDS["about"][0].decode().replace("0.28", "NaN")),
        ("about", SEEDS["about"][0].decode().replace("943", "1e999")),
        ("about", SEEDS["about"][0].decode().replace('"the last"', "[1]")),
        ("about", SEEDS["about"][0].decode().replace("War", "\\ud800")),
        ("about", SEEDS["about"][0].decode().replace("the last", "\\udc00")),
        ("items", "[" * 100_000),
        ("items", '{"title": "\\ud800", "genres": [], "year": 1}'),
        ("meta", "3\n2026-11-24T01:30:00Z\n" + "9" * 5_000),
    ],
    ids=lambda text: text[:60],
)
def test_garbled_values_are_refused(name: str, text: str) -> None:
    """Each of them once led to a 500, or to a response that was not JSON."""
    assert not is_accepted(name, text.encode())
