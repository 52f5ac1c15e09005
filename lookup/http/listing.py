"""Which part of a stored list is wanted."""

from collections.abc import Sequence

from lookup.http.query_params import Query
from lookup.shared import contract
from lookup.store.generation import Entry, Generation, as_json


def positions(
    generation: Generation, key: str, texts: Sequence[str], wanted: Query, size: int
) -> Sequence[int]:
    """Find the places of a list that are wanted: filtered first, then cut."""
    found: Sequence[int] = range(0 if texts == [contract.NO_ITEMS] else len(texts))
    if wanted.filters:
        entries = generation.entries(key, texts)
        found = [i for i in found if _passes(entries[i], generation, wanted)]
    return found[wanted.offset : wanted.offset + size]


def because(generation: Generation, item_ids: Sequence[int]) -> str:
    """Write the items that drove a place of a list, as JSON without the braces."""
    titles = [
        {"item_id": item_id, "title": generation.item(item_id)["title"]}
        for item_id in item_ids
    ]
    return f'"because":{as_json(titles)}'


def rated(
    generation: Generation, ratings: Sequence[tuple[int, float]]
) -> list[dict[str, object]]:
    """Give items with the rating that a user gave them."""
    return [
        {"item_id": item_id, **generation.item(item_id), "rating": rating}
        for item_id, rating in ratings
    ]


def _passes(entry: Entry, generation: Generation, wanted: Query) -> bool:
    """Tell whether an entry is not excluded and of one of the genres, if any."""
    if entry.item_id in wanted.exclude:
        return False
    genres = generation.item(entry.item_id)["genres"] if wanted.genres else ()
    return not wanted.genres or any(g.casefold() in wanted.genres for g in genres)
