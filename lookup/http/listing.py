"""Filters and pages a stored list, and adds titles to item ids."""

from collections.abc import Collection, Sequence

from lookup.http.query_params import Query
from lookup.shared import contract
from lookup.shared.contract import ExternalId
from lookup.store.generation import Generation, as_json


def page_positions(
    generation: Generation, key: str, texts: Sequence[str], query: Query, size: int
) -> Sequence[int]:
    """Return the positions in a list that a query asks for: filter first, then cut.

    Blocked items are filtered out, whatever the query. A film is hidden by each of its
    ids.
    """
    found: Sequence[int] = range(0 if texts == [contract.NO_ITEMS] else len(texts))
    if query.filters or generation.blocked:
        entries = generation.entries(key, texts)
        hidden = generation.hidden | generation.with_films(map(str, query.exclude))
        found = [
            i
            for i in found
            if str(entries[i][0]) not in hidden
            and _has_genre(entries[i][0], generation, query.genres)
        ]
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


def _has_genre(
    item_id: ExternalId, generation: Generation, wanted: Collection[str]
) -> bool:
    """Return whether an item has one of the genres, if any are wanted."""
    genres = generation.item(item_id)["genres"] if wanted else ()
    return not wanted or any(genre.casefold() in wanted for genre in genres)
