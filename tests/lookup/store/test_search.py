"""The index of titles."""

import json

import pytest

from lookup.store.search import SearchIndex

TITLES = [
    "Star Wars (1977)",
    "Matrix, The (1999)",
    "Misérables, Les (1995)",
    "Sabrina (1995)",
    "Sabrina (1954)",
    "Big Lebowski, The (1998)",
    "Big (1988)",
    "Schindler's List (1993)",
    "Spider-Man (2002)",
    "M*A*S*H (1970)",
    "The La (1990)",
    "Łódź – Straße Ørsted (2001)",
    "千と千尋の神隠し",
    "Starman (1984)",
    "Form (2000)",
    "From (2000)",
    "Wars of the Star Men (1950)",
]
"""The most rated first."""


@pytest.fixture(scope="module")
def index() -> SearchIndex:
    """Index the titles, the least rated first."""
    items = {
        str(i): json.dumps({"title": title, "year": None, "n_ratings": 100 - i})
        for i, title in enumerate(TITLES)
    }
    return SearchIndex(dict(reversed(items.items())))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("star wars", [0, 16]),  # the whole title first
        ("WARS star", [0, 16]),
        ("wars of star men", [16]),
        ("star", [0, 16, 13]),  # the word first, then its beginnings
        ("st w", [0, 16]),
        ("big", [6, 5]),
        ("the matrix", [1]),
        ("matrix the (1999)", [1]),
        ("a matrix", [1]),
        ("les miserables", [2]),
        ("MISÉRABLES", [2]),
        ("sabrina", [3, 4]),
        ("Sabrina (1954)", [4]),
        ("sabrina 1995", [3]),
        ("schindlers list", [7]),
        ("Schindler’s", [7]),
        ("spiderman", [8]),
        ("spider man", [8]),
        ("mash", [9]),
        ("the la", [10]),
        ("lodz strasse orsted", [11]),
        ("千と", [12]),
        ("ｓｔａｒ", [0, 16, 13]),
        ("form", [14]),  # a whole title has no typo
        ("formm", [14]),
        ("fomr 2000", [14]),
        # a letter other, more, less, and two in each other's place, anywhere
        ("xatrix", [1]),
        ("matriix", [1]),
        ("atrix", [1]),
        ("mtarix", [1]),
        ("matrxi", [1]),
        ("shcind", [7]),  # in a beginning
        ("strr", [0, 16]),
        ("sabirna 1954", [4]),
        ("miserbles lse", [2]),
        ("mstsrix", []),  # two
        ("1978", []),  # another year is no typo
        ("wras", [0, 16]),
        ("zz", []),
        ("", []),
        ("- ?", []),
        ('" OR * NEAR(^', []),
        ("(1977)", [0]),
    ],
)
def test_titles_are_found(index: SearchIndex, query: str, expected: list[int]) -> None:
    found = index.find(query, 10)
    assert [int(item_id) for item_id, _ in found] == expected
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    for n in (1, 2):
        assert index.find(query, n) == found[:n]
