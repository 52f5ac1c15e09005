"""Asynchronous reads of what the batch published.

A generation never changes and is removed only after `recs:current` has moved away from
it. So a list that was read *before* the pointer is whole and of the generation that
the pointer still names; and one round trip, list first and pointer second, is enough.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from redis.exceptions import RedisError

from lookup import contract
from lookup.client import Client, Command
from lookup.generation import CorruptGeneration, Entry, Generation

POINTER: Command = ("GET", contract.CURRENT)

MOVING_SECONDS = 1.0
"""How long the pointer may keep moving under the attempts to read one answer."""
KEPT = 2
"""How many generations stay in memory: the one served and the one before it."""


class StoreUnavailable(Exception):
    """Redis did not answer."""


class NoGeneration(Exception):
    """Nothing has been published yet."""


class Store:
    """What is published, read from one Redis.

    Every read raises StoreUnavailable, NoGeneration or CorruptGeneration when it has
    no answer.
    """

    def __init__(self, url: str) -> None:
        self._redis = Client(url)
        self._latest: Generation | None = None
        self._kept: dict[str, Generation] = {}
        self._loading: dict[str, asyncio.Task[Generation | None]] = {}

    @property
    def top_n(self) -> int | None:
        """The length of the lists as far as known without asking Redis."""
        return self._latest.top_n if self._latest else None

    async def generation(self) -> Generation:
        """Give the generation that is served now."""
        for _ in _attempts():
            (name,) = await self._execute(POINTER)
            generation = await self._load(name)
            if generation is not None:
                return generation
        raise _moving()

    async def entries(
        self, key_of: Callable[[str], str], length: int | None = None
    ) -> tuple[Generation, list[Entry] | None]:
        """Give a list of the generation served now, or its first entries; None if none.

        `key_of` names the list, given a generation.
        """
        generation = self._latest or await self.generation()
        for _ in _attempts():
            key, end = key_of(generation.name), -1 if length is None else length - 1
            texts, current = await self._execute(("LRANGE", key, 0, end), POINTER)
            if not texts:  # a cluster may have read the pointer first
                (current,) = await self._execute(POINTER)
            if current == generation.name:
                return generation, generation.entries(key, texts) if texts else None
            generation = await self._load(current) or generation
        raise _moving()

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    async def _load(self, name: str | None) -> Generation | None:
        """Give a generation from memory or from Redis; None if it is no more current.

        Those who ask at the same time share one read, which goes on if some leave.
        """
        if name is None:
            raise NoGeneration(f"nothing is published: {contract.CURRENT} is not set")
        generation = self._kept.get(name)
        if generation is None:
            if name not in self._loading:
                task = asyncio.create_task(self._fetch(name))
                task.add_done_callback(lambda done: self._loaded(name, done))
                self._loading[name] = task
            generation = await asyncio.shield(self._loading[name])
        if generation is not None:
            self._latest = generation
        return generation

    async def _fetch(self, name: str) -> Generation | None:
        """Read a generation, the pointer last: see the top of this file."""
        meta, items, popular = await self._execute(
            ("HGETALL", contract.meta_key(name)),
            ("HGETALL", contract.items_key(name)),
            ("LRANGE", contract.popular_key(name), 0, -1),
        )
        (current,) = await self._execute(POINTER)
        if current != name:
            return None
        if not meta:
            key = contract.meta_key(name)
            raise CorruptGeneration(f"{contract.CURRENT} is {name!r}, but no {key}")
        return Generation(name, _mapping(meta), _mapping(items), popular)

    def _loaded(self, name: str, task: asyncio.Task[Generation | None]) -> None:
        """Keep what a task has read, and forget the oldest of what was kept."""
        del self._loading[name]
        generation = None if task.cancelled() or task.exception() else task.result()
        if generation is None:
            return
        self._kept[name] = generation
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]

    async def _execute(self, *commands: Command) -> list[Any]:
        """Send commands in one round trip and return their answers."""
        try:
            answers = await self._redis.execute(commands)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        for answer in answers:
            if isinstance(answer, RedisError):
                raise _unavailable(answer) from answer
        return answers


def _mapping(answer: Sequence[str]) -> dict[str, str]:
    """Read a hash as Redis sends it: names and values by turns."""
    return dict(zip(answer[::2], answer[1::2], strict=True))


def _attempts() -> Iterator[None]:
    """Allow attempts for a while: one fails if the pointer moves under it."""
    deadline = time.monotonic() + MOVING_SECONDS
    while time.monotonic() < deadline:
        yield


def _unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"Redis does not answer: {error}")


def _moving() -> StoreUnavailable:
    return StoreUnavailable(
        f"{contract.CURRENT} kept moving for {MOVING_SECONDS} s while it was read"
    )
