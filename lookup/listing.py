"""The JSON of lists, joined from pieces: each item is written once a generation."""

from collections.abc import Mapping, Sequence

from lookup.generation import Entry, Generation, as_json
from lookup.query import Query


def body(head: Mapping[str, object], items: str) -> bytes:
    """Put what is said about a list before its items."""
    return f'{as_json(head)[:-1]},"items":[{items}]}}'.encode()


def positions(
    generation: Generation, entries: Sequence[Entry], wanted: Query, size: int
) -> Sequence[int]:
    """Find the places of a list that are wanted: filtered first, then cut."""
    found: Sequence[int] = range(len(entries))
    if wanted.filters:
        found = [i for i in found if _passes(entries[i], generation, wanted)]
    return found[wanted.offset : wanted.offset + size]


def items(
    generation: Generation,
    entries: Sequence[Entry],
    chosen: Sequence[int],
    offset: int,
    reasons: Sequence[Sequence[int]] | None = None,
) -> str:
    """Write the chosen places of a list, and what drove each if reasons are given.

    Raises CorruptGeneration if an item is missing or garbled.
    """
    written = generation.written
    tails = [""] * len(chosen)
    if reasons is not None:
        tails = [_because(generation, reasons[i : i + 1]) for i in chosen]
    return ",".join(
        f'{{"rank":{rank},{written(entries[i].item_id)},"score":{entries[i].score!r}'
        f"{tail}}}"
        for rank, (i, tail) in enumerate(
            zip(chosen, tails, strict=True), start=offset + 1
        )
    )


def rated(
    generation: Generation, ratings: Sequence[tuple[int, float]]
) -> list[dict[str, object]]:
    """Give items with the rating that a user gave them."""
    return [
        {"item_id": item_id, **generation.item(item_id), "rating": rating}
        for item_id, rating in ratings
    ]


def _because(generation: Generation, reasons: Sequence[Sequence[int]]) -> str:
    """Write the reasons of one place; there may be none for it."""
    shown = [
        {"item_id": item_id, "title": generation.item(item_id)["title"]}
        for item_ids in reasons
        for item_id in item_ids
    ]
    return f',"because":{as_json(shown)}'


def _passes(entry: Entry, generation: Generation, wanted: Query) -> bool:
    """Tell whether an entry is not excluded and of one of the genres, if any."""
    if entry.item_id in wanted.exclude:
        return False
    genres = generation.item(entry.item_id)["genres"] if wanted.genres else ()
    return not wanted.genres or any(g.casefold() in wanted.genres for g in genres)
