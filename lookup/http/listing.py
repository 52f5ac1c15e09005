"""Filters and pages a stored list, and adds titles to item ids."""

from collections.abc import Sequence

from lookup.http.query_params import Query
from lookup.shared import contract
from lookup.shared.contract import ExternalId
from lookup.store.generation import Generation, as_json


def page_positions(
    generation: Generation, key: str, texts: Sequence[str], query: Query, size: int
) -> Sequence[int]:
    """Return the positions in a list that a query asks for: filter first, then cut.

    Blocked items are filtered out, whatever the query.
    """
    found: Sequence[int] = range(0 if texts == [contract.NO_ITEMS] else len(texts))
    if query.filters or generation.blocked:
        entries = generation.entries(key, texts)
        found = [i for i in found if _passes(entries[i][0], generation, query)]
    return found[query.offset : query.offset + size]


def because_json(generation: Generation, item_ids: Sequence[ExternalId]) -> str:
    """Return the explanation of one recommendation as JSON without the braces."""
    titles = [
        {"item_id": item_id, "title": generation.item(item_id)["title"]}
        for item_id in item_ids
    ]
    return f'"because":{as_json(titles)}'


def rated_items(
    generation: Generation, ratings: Sequence[tuple[ExternalId, float]]
) -> list[dict[str, object]]:
    """Return rated items with their titles, genres, years and ratings."""
    return [
        {"item_id": item_id, **generation.item(item_id), "rating": rating}
        for item_id, rating in ratings
    ]


def _passes(item_id: ExternalId, generation: Generation, query: Query) -> bool:
    """Return whether an item may be shown and has one of the genres, if any."""
    if item_id in query.exclude or str(item_id) in generation.blocked:
        return False
    genres = generation.item(item_id)["genres"] if query.genres else ()
    return not query.genres or any(g.casefold() in query.genres for g in genres)
