"""Scores what may follow the last items of a session, by summing lists of each item."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from heapq import nlargest
from math import sqrt
from operator import itemgetter
from typing import Any

from lookup.shared.contract import ExternalId
from lookup.store.client import Command
from lookup.store.generation import Entries, Generation
from lookup.store.item_lists import N_NEXT, N_SIMILAR, ItemList
from lookup.store.store import Store, lrange

N_SUMMED = 30
"""Items before the last 30 say nothing more about what comes next."""
SIMILAR_DECAY, NEXT_DECAY = 0.8, 0.9
"""What an item's lists weigh relative to those of the item after it."""
LENGTH_DECAY = 0.9
"""How many of their entries count relative to those: 0.003 worse, and twice as fast."""
NEXT_WEIGHT, MAX_NEXT_WEIGHT = 1 / 12, 1.5
"""The weight of `next` relative to `similar`: for each item, and at most. One item is
best followed by what is like it, a longer session by what follows."""
SESSION_WEIGHT, MAX_SESSION_WEIGHT = 0.3, 3.0
"""The weight of a session relative to the user's list: for each item, and at most.
`python -m tests.benchmarks.session` measures these weights."""
N_REASONS = 3

Scores = dict[str, float]
"""item_id → score; only differences between them mean something."""


class Session:
    """The last items of somebody, and their lists of one generation.

    Attributes:
        films: the ids that stand for the known items in lists, newest first.
    """

    def __init__(self, generation: Generation, item_ids: Sequence[ExternalId]) -> None:
        self.generation = generation
        found = (generation.film(str(item_id)) for item_id in reversed(item_ids))
        self.films = list(dict.fromkeys(film for film in found if film is not None))
        self._terms: list[tuple[str, float, ItemList]] = []
        """Of each list summed: the film, the list's weight and the list."""
        self._lists: dict[str, ItemList] = {}
        self.missing: dict[str, int] = {}
        """How much has to be read of which keys."""
        keys, held = generation.keys, generation.item_lists
        for film in self.films[:N_SUMMED]:
            parts = {keys.similar(film): N_SIMILAR, keys.next(film): N_NEXT}
            for key, n in parts.items():
                if (one := held.get(key)) is None:
                    self.missing[key] = n
                else:
                    self._lists[key] = one

    def add(self, replies: Iterable[Sequence[str]]) -> None:
        """Add the missing lists as Redis has sent them."""
        for key, texts in zip(self.missing, replies, strict=True):
            entries = self.generation.entries(key, texts)
            self._lists[key] = self.generation.item_lists.put(key, entries)

    def scores(self) -> Scores:
        """Score what the lists hold, but the session's own films."""
        keys, n = self.generation.keys, len(self.films)
        weight = min(MAX_NEXT_WEIGHT, NEXT_WEIGHT * n)
        self._weigh(keys.similar, N_SIMILAR, SIMILAR_DECAY, 1.0)
        self._weigh(keys.next, N_NEXT, NEXT_DECAY, weight)
        summed: Scores = {}
        get = summed.get
        for _, weight, (item_ids, scores) in self._terms:
            for item_id, score in zip(item_ids, scores, strict=True):
                summed[item_id] = get(item_id, 0.0) + weight * score
        for film in self.films:
            summed.pop(film, None)
        return summed

    def because(self, item_ids: Iterable[str]) -> dict[str, list[ExternalId]]:
        """Return the films of the session that say most for each item, after `scores`.

        The result has an entry for each item. A film that says as much for all of the
        items says little about one.
        """
        found: dict[str, defaultdict[str, float]] = {
            item_id: defaultdict(float) for item_id in item_ids
        }
        totals: defaultdict[str, float] = defaultdict(float)
        for film, weight, (others, scores) in self._terms:
            for item_id, score in zip(others, scores, strict=True):
                if item_id in found and score > 0:
                    found[item_id][film] += weight * score
                    totals[film] += weight * score
        return {
            item_id: self._reasons(
                {film: term * sqrt(term / totals[film]) for film, term in of.items()}
            )
            for item_id, of in found.items()
        }

    def _reasons(self, strengths: Scores) -> list[ExternalId]:
        """Return the strongest films, and none that is much weaker than the first."""
        external = self.generation.item_ids.external
        best = largest(strengths, N_REASONS)
        return [external(film) for film, term in best if term > 0.7 * best[0][1]]

    def _weigh(
        self, key_of: Callable[[str], str], n: float, decay: float, share: float
    ) -> None:
        """Weigh the lists of one kind, relative to the mean of their first scores.

        Of that of the newest item `n` entries count, of older ones fewer.
        """
        terms, firsts, whole, weight = [], 0.0, 0.0, 1.0
        for film in self.films[:N_SUMMED]:
            item_ids, scores = self._lists[key_of(film)]
            if item_ids and scores[0] > 0:
                one = item_ids[: int(n)], scores[: int(n)]
                terms.append((film, weight, one))
                firsts += weight * scores[0]
            n *= LENGTH_DECAY
            whole += weight
            weight *= decay
        for film, weight, one in terms:
            self._terms.append((film, share * weight * whole / firsts, one))


async def read(
    store: Store,
    item_ids: Sequence[ExternalId],
    commands_for: Callable[[Generation], list[Command]],
) -> tuple[Session, list[Any]]:
    """Read the lists of a session in at most one round trip.

    Returns:
        The session, and the replies to the commands that are sent with it.
    """
    session = Session(store.latest or await store.generation(), item_ids)
    commands = commands_for(session.generation)
    is_read = not commands and not session.missing
    if is_read and session.generation is await store.generation():
        return session, []

    def all_commands(generation: Generation) -> list[Command]:
        nonlocal session, commands
        session, commands = Session(generation, item_ids), commands_for(generation)
        return [*commands, *(lrange(*part) for part in session.missing.items())]

    _, replies = await store.read(all_commands)
    session.add(replies[len(commands) :])
    return session, replies[: len(commands)]


def blended(stored: Entries, scores: Scores, n_items: int) -> Scores:
    """Add the scores of a session of `n_items` to those of a user's list.

    Both are relative: 1 for the best item, 0 for the last of the list.
    """
    weight = min(MAX_SESSION_WEIGHT, SESSION_WEIGHT * n_items)
    best = max(scores.values())
    scale = weight / (1 + weight) / best if best > 0 else 0.0
    found = {item_id: scale * score for item_id, score in scores.items()}
    (_, first), (_, last) = stored[0], stored[-1]
    scale = 1 / (1 + weight) / (first - last) if first > last else 0.0
    for item_id, score in stored:
        text = str(item_id)
        found[text] = found.get(text, 0.0) + scale * (score - last)
    return found


def largest(scores: Scores, n: int | None) -> list[tuple[str, float]]:
    """Return the `n` largest scores, or all, in their order."""
    return nlargest(len(scores) if n is None else n, scores.items(), itemgetter(1))
