"""What a generation holds, and what is refused."""

import pytest

from lookup.store.errors import CorruptGeneration
from lookup.store.generation import Generation
from tests.conftest import KEYS

G = KEYS.of("g")
META = {"model_version": "3", "scored_at": "2026-11-24T01:30:00Z", "top_n": "5"}
ITEM = '{"title": "Star Wars (1977)", "genres": ["Action"], "year": 1977}'


def test_a_garbled_item_leaves_the_others() -> None:
    generation = Generation(G, META, {"50": ITEM, "73": "{"}, ["50:1.5"])
    assert generation.item(50)["title"] == "Star Wars (1977)"
    with pytest.raises(CorruptGeneration, match="recs:g:items 73 is not JSON"):
        generation.item(73)
    with pytest.raises(CorruptGeneration, match="recs:g:items 99 is missing"):
        generation.item(99)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"genres": [], "year": 1}',
        '{"title": "x", "genres": "Action", "year": 1}',
        '{"title": "x", "genres": [1], "year": 1}',
        '{"title": "x", "genres": []}',
        '{"title": "x", "genres": [], "year": "1977"}',
    ],
)
def test_items_need_their_fields(text: str) -> None:
    with pytest.raises(CorruptGeneration, match="lacks title, genres or year"):
        Generation(G, META, {"1": text}, []).item(1)


@pytest.mark.parametrize("field", META)
def test_meta_needs_its_fields(field: str) -> None:
    with pytest.raises(CorruptGeneration, match=f"recs:g:meta has no {field}"):
        Generation(G, {**META, field: ""}, {}, [])


@pytest.mark.parametrize("top_n", ["0", "x", "-1", "²"])
def test_bad_top_n_is_refused(top_n: str) -> None:
    with pytest.raises(CorruptGeneration, match="top_n="):
        Generation(G, {**META, "top_n": top_n}, {}, [])


@pytest.mark.parametrize("entry", ["50", "50:nan", "50:inf", "x:1"])
def test_bad_entries_are_refused(entry: str) -> None:
    with pytest.raises(CorruptGeneration, match="recs:g:popular"):
        Generation(G, META, {}, [entry])
