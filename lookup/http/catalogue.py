"""The lists that all users share, of all items or of some genres."""

from collections.abc import Sequence

from lookup.http.query_params import Query
from lookup.store.client import Command
from lookup.store.generation import Generation
from lookup.store.store import lrange

POPULAR = "popular"


def reads(generation: Generation, name: str, query: Query) -> list[Command]:
    """Return the commands that read a list: none if it is in memory."""
    if name == POPULAR and not query.genres:
        return []
    return [lrange(key) for key in _keys(generation, name, query)]


def found(
    generation: Generation, name: str, query: Query, replies: Sequence[Sequence[str]]
) -> tuple[str, Sequence[str]]:
    """Return a key and entries, given the replies to `reads`: those of any genre.

    Raises CorruptGeneration, naming the key, if one of several lists is garbled.
    """
    keys = _keys(generation, name, query)
    if len(replies) > 1:
        places = {}
        for key, texts in zip(keys, replies, strict=True):
            pairs = generation.entries(key, texts)
            for text, (item_id, score) in zip(texts, pairs, strict=False):
                places[text] = -score, item_id
        if places:
            return keys[0], sorted(places, key=lambda text: places[text])
    elif replies and replies[0]:
        return keys[0], replies[0]
    # older generations have no lists by genre, and the popular one only
    whole = generation.keys.catalogue(name)
    return whole, generation.popular if name == POPULAR else ()


def _keys(generation: Generation, name: str, query: Query) -> list[str]:
    key_of, genres = generation.keys.catalogue, generation.genres_like(query.genres)
    return [key_of(name, genre) for genre in genres] or [key_of(name)]
