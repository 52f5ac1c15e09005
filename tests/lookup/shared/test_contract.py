"""The names of the Redis keys and the encodings of their values."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookup.shared import contract
from lookup.shared.contract import About, History

SCORES = st.floats(allow_nan=False, allow_infinity=False, width=32)
ENTRIES = st.lists(st.tuples(st.integers(min_value=1), SCORES))


@given(ENTRIES)
def test_decode_gives_back_what_encode_took(entries: list[tuple[int, float]]) -> None:
    texts = contract.encode(entries)
    assert texts, "Redis keeps no empty list"
    decoded = contract.decode(texts)
    assert [item_id for item_id, _ in decoded] == [item_id for item_id, _ in entries]
    expected = [pytest.approx(score, abs=0.5001e-4) for _, score in entries]
    assert [score for _, score in decoded] == expected


@given(st.lists(SCORES))
def test_encoding_never_makes_scores_rise(scores: list[float]) -> None:
    falling = sorted(scores, reverse=True)
    pairs = [(1 + 7919 * place, score) for place, score in enumerate(falling)]
    decoded = contract.decode(contract.encode(pairs))
    rounded = [score for _, score in decoded]
    assert rounded == sorted(rounded, reverse=True)


def test_scores_have_four_decimals() -> None:
    """Whatever the ids; what rounds to zero loses its sign."""
    entries = [(9, 1.23456), (209_171, -0.5), (50, -0.00001)]
    assert contract.encode(entries) == ["9:1.2346", "209171:-0.5000", "50:0.0000"]


def test_no_items_is_one_entry() -> None:
    assert contract.encode([]) == [contract.NO_ITEMS]
    assert contract.decode([contract.NO_ITEMS]) == []
    assert contract.decode([]) == []


@pytest.mark.parametrize("entry", ["50", "50:", ":1.5", "x:1.5", "50:x", "50:1:2"])
def test_garbled_entries_are_value_errors(entry: str) -> None:
    with pytest.raises(ValueError):
        contract.decode([entry])


@given(st.lists(st.lists(st.integers(min_value=1), max_size=3)))
def test_because_is_given_back(reasons: list[list[int]]) -> None:
    texts = contract.encode_because(reasons)
    assert contract.decode_because(texts) == (reasons or [[]])


RATINGS = st.lists(st.tuples(st.integers(min_value=1), SCORES), max_size=10)


@given(st.integers(min_value=0), RATINGS, RATINGS)
def test_history_is_given_back(
    n_ratings: int, highest: list[tuple[int, float]], last: list[tuple[int, float]]
) -> None:
    history = History(n_ratings, highest, last)
    assert contract.decode_history(contract.encode_history(history)) == history


def test_history_has_the_documented_form() -> None:
    text = contract.encode_history(History(2, [(50, 5.0)], [(73, 3.5)]))
    assert text == '{"n_ratings": 2, "highest": [[50, 5.0]], "last": [[73, 3.5]]}'


METRICS = st.dictionaries(st.text(), st.dictionaries(st.text(), SCORES))


@given(st.lists(st.text()), st.lists(st.integers()), st.none() | st.text(), METRICS)
def test_about_is_given_back(
    genres: list[str],
    examples: list[int],
    protocol: str | None,
    metrics: dict[str, dict[str, float]],
) -> None:
    about = About(943, 1682, genres, examples, protocol, metrics)
    assert contract.decode_about(contract.encode_about(about)) == about


@pytest.mark.parametrize("decode", [contract.decode_about, contract.decode_history])
@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", "[" * 9999, '{"n_users": "x"}', '{"n_ratings": {}}'],
)
def test_malformed_json_is_a_value_error(
    decode: Callable[[str], object], text: str
) -> None:
    with pytest.raises(ValueError):
        decode(text)
