"""The names of keys and the form of lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookup.shared import contract
from lookup.shared.contract import About, History

SCORES = st.floats(allow_nan=False, allow_infinity=False, width=32)
ENTRIES = st.lists(st.tuples(st.integers(min_value=1), SCORES))


@given(ENTRIES)
def test_decode_gives_back_what_encode_took(entries: list[tuple[int, float]]) -> None:
    """Ids come back as they were, scores to their digits, all in their order."""
    texts = contract.encode(entries)
    assert texts, "Redis keeps no empty list"
    decoded = contract.decode(texts)
    assert [item_id for item_id, _ in decoded] == [item_id for item_id, _ in entries]
    expected = [pytest.approx(score, abs=0.5001e-4) for _, score in entries]
    assert [score for _, score in decoded] == expected


@given(st.lists(SCORES))
def test_encoding_never_makes_scores_rise(scores: list[float]) -> None:
    """Scores that fall do not rise after they have been rounded."""
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
    """A user with nothing to see has a list all the same."""
    assert contract.encode([]) == [contract.NO_ITEMS]
    assert contract.decode([contract.NO_ITEMS]) == []
    assert contract.decode([]) == []


@pytest.mark.parametrize("entry", ["50", "50:", ":1.5", "x:1.5", "50:x", "50:1:2"])
def test_garbled_entries_are_value_errors(entry: str) -> None:
    """What is no entry is not taken for one."""
    with pytest.raises(ValueError):
        contract.decode([entry])


@given(st.lists(st.lists(st.integers(min_value=1), max_size=3)))
def test_because_is_given_back(reasons: list[list[int]]) -> None:
    """A place with no reason stays a place; Redis keeps no empty list."""
    texts = contract.encode_because(reasons)
    assert contract.decode_because(texts) == (reasons or [[]])


RATINGS = st.lists(st.tuples(st.integers(min_value=1), SCORES), max_size=10)


@given(st.integers(min_value=0), RATINGS, RATINGS)
def test_history_is_given_back(
    n_ratings: int, highest: list[tuple[int, float]], last: list[tuple[int, float]]
) -> None:
    """As it was, through JSON that `redis-cli` users can read."""
    history = History(n_ratings, highest, last)
    assert contract.decode_history(contract.encode_history(history)) == history


def test_history_has_the_form_that_the_readme_tells() -> None:
    """Pairs, not objects: there is one of these for each user."""
    text = contract.encode_history(History(2, [(50, 5.0)], [(73, 3.5)]))
    assert text == '{"n_ratings": 2, "highest": [[50, 5.0]], "last": [[73, 3.5]]}'


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"n_ratings": "x"}'])
def test_garbled_history_is_a_value_error(text: str) -> None:
    """What is none is not taken for one."""
    with pytest.raises(ValueError):
        contract.decode_history(text)


METRICS = st.dictionaries(st.text(), st.dictionaries(st.text(), SCORES))


@given(st.lists(st.text()), st.lists(st.integers()), st.none() | st.text(), METRICS)
def test_about_is_given_back(
    genres: list[str],
    examples: list[int],
    protocol: str | None,
    metrics: dict[str, dict[str, float]],
) -> None:
    """As it was, whatever genres and metrics are called."""
    about = About(943, 1682, genres, examples, protocol, metrics)
    assert contract.decode_about(contract.encode_about(about)) == about


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"n_users": "x"}'])
def test_garbled_about_is_a_value_error(text: str) -> None:
    """What tells nothing is not taken for what does."""
    with pytest.raises(ValueError):
        contract.decode_about(text)


def test_keys_are_those_of_the_contract() -> None:
    """`redis-cli` users rely on the names."""
    assert contract.CURRENT == "recs:current"
    assert contract.GENERATIONS == "recs:generations"
    assert contract.LOCK == "recs:lock"
    assert contract.meta_key("g") == "recs:g:meta"
    assert contract.user_key("g", 42) == "recs:g:user:42"
    assert contract.popular_key("g") == "recs:g:popular"
    assert contract.items_key("g") == "recs:g:items"
    assert contract.similar_key("g", 50) == "recs:g:similar:50"
    assert contract.because_key("g", 42) == "recs:g:because:42"
    assert contract.history_key("g", 42) == "recs:g:history:42"
    assert contract.about_key("g") == "recs:g:about"


def test_generation_of_inverts_the_keys() -> None:
    """A key of a generation names it; those above them all name none."""
    for key in (contract.meta_key("g"), contract.user_key("g", 42)):
        assert contract.generation_of(key) == "g"
    for key in (contract.CURRENT, contract.GENERATIONS, contract.LOCK):
        assert contract.generation_of(key) is None
        assert contract.generation_of(key + contract.SLOT) is None
