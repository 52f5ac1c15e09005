"""Asynchronous reads of what the batch published.

A generation never changes and is removed, each key as a whole, only after
`recs:current` has moved away from it. So what was found under its name is whole; and
what was not found is not there if the pointer, read *after* it, still names it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from lookup.http.cache import Cache
from lookup.shared import contract
from lookup.store.client import Client, Command
from lookup.store.generation import CorruptGeneration, Entry, Generation
from lookup.store.pipeline import Pipeline, checked

POINTER: Command = ("GET", contract.CURRENT)

LOAD_SECONDS = 10.0
"""How long a catalogue may take: one of 90 000 items has 10 MB."""
LOADING_SECONDS = 2.0
"""How long one who asks waits for that; who asks later may find it read."""
MOVING_SECONDS = 1.0
"""How long the pointer may keep moving under the attempts to read one answer."""
KEPT = 2
"""How many generations stay in memory: the one served and the one before it."""

log = logging.getLogger(__name__)


class StoreUnavailable(Exception):
    """Redis did not answer."""


class NoGeneration(Exception):
    """Nothing has been published yet."""


CODES: Mapping[type[Exception], str] = {
    StoreUnavailable: "redis_unavailable",
    NoGeneration: "no_generation",
    CorruptGeneration: "corrupt_generation",
}
"""Why there is no answer for now, for programs."""


class Store:
    """What is published, read from one Redis.

    Every read raises StoreUnavailable, NoGeneration or CorruptGeneration when it has
    no answer.
    """

    def __init__(
        self,
        url: str,
        *,
        cache_bytes: int = 0,
        trust_seconds: float = 0.0,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        """Connect when first asked.

        Args:
            url: of the Redis.
            cache_bytes: how much room `cache` has.
            trust_seconds: for how long the pointer counts as read. 0: it is read for
                each answer, those included that `cache` has.
            on_error: told each time that Redis did not answer.
        """
        self.cache = Cache(cache_bytes)
        self._redis = Client(url)
        self._pipeline = Pipeline(self._redis, last=POINTER)
        self._trust = trust_seconds
        self._trusted_until = 0.0
        self._refreshing: asyncio.Task[None] | None = None
        self._on_error = on_error
        self._latest: Generation | None = None
        self._kept: dict[str, Generation] = {}
        self._loading: dict[str, asyncio.Task[Generation | None]] = {}

    @property
    def latest(self) -> Generation | None:
        """The generation that was served when Redis was last asked."""
        return self._latest

    @property
    def top_n(self) -> int | None:
        """The length of the lists as far as known without asking Redis."""
        return self._latest.top_n if self._latest else None

    async def generation(self) -> Generation:
        """Give the generation that is served now."""
        remaining = self._trusted_until - time.monotonic()
        if self._latest is not None and remaining > 0:
            if remaining < self._trust / 2 and self._refreshing is None:
                # before it has to be: under load nobody ever waits for it
                self._refreshing = asyncio.create_task(self._refresh())
            return self._latest
        return await self._read_generation()

    async def read(
        self, commands_for: Callable[[str], Sequence[Command]]
    ) -> tuple[Generation, list[Any]]:
        """Give the answers to commands about the generation served now.

        `commands_for` gives them, given the name of a generation.
        """
        generation = self._latest or await self.generation()
        for _ in _attempts():
            commands = commands_for(generation.name)
            *answers, current = await self._execute(*commands)
            if not all(answers):
                (current,) = await self._execute()  # see the top of this file
            if current == generation.name:
                return generation, answers
            generation = await self._load(current) or generation
        raise _moving()

    async def entries(
        self, key_of: Callable[[str], str], length: int | None = None
    ) -> tuple[Generation, list[Entry] | None]:
        """Give a list of the generation served now, or its first entries; None if none.

        `key_of` names the list, given a generation.
        """
        generation, (texts,) = await self.read(
            lambda name: [first(key_of(name), length)]
        )
        key = key_of(generation.name)
        return generation, generation.entries(key, texts) if texts else None

    async def close(self) -> None:
        """Give the connections back."""
        if self._refreshing is not None:
            await self._refreshing
        await self._redis.aclose()

    async def _read_generation(self) -> Generation:
        for _ in _attempts():
            (name,) = await self._execute()
            generation = await self._load(name)
            if generation is not None:
                return generation
        raise _moving()

    async def _refresh(self) -> None:
        """Read the pointer again; what goes wrong is told to whoever asks next."""
        with suppress(*CODES):
            await self._read_generation()
        self._refreshing = None

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
            generation = await self._loaded_soon(name)
        if generation is not None and generation is not self._latest:
            log.info("generation %s is served", name)
            self._latest = generation
            self.cache.clear()
        return generation

    async def _loaded_soon(self, name: str) -> Generation | None:
        try:
            async with asyncio.timeout(LOADING_SECONDS):
                return await asyncio.shield(self._loading[name])
        except TimeoutError as error:
            raise StoreUnavailable(f"generation {name} is still being read") from error

    async def _fetch(self, name: str) -> Generation | None:
        """Read a generation, the pointer last: see the top of this file."""
        meta, items, popular = await self._execute_alone(
            ("HGETALL", contract.meta_key(name)),
            ("HGETALL", contract.items_key(name)),
            first(contract.popular_key(name)),
        )
        (current,) = await self._execute()
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

    async def _execute(self, *commands: Command) -> Sequence[Any]:
        """Send commands and return their answers, and what the pointer was then."""
        sent_at = time.monotonic()
        try:
            answers = await self._pipeline.execute(*commands)
        except (RedisError, OSError) as error:
            raise self._failed(error) from error
        is_latest = self._latest is not None and answers[-1] == self._latest.name
        self._trusted_until = sent_at + self._trust if is_latest else 0.0
        return answers

    async def _execute_alone(self, *commands: Command) -> Sequence[Any]:
        """Send what is too long to hold up others."""
        try:
            return checked(await self._redis.execute(commands, LOAD_SECONDS))
        except (RedisError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> StoreUnavailable:
        self._trusted_until = 0.0
        self._on_error()
        return StoreUnavailable(f"Redis does not answer: {str(error) or 'not in time'}")


def first(key: str, length: int | None = None) -> Command:
    """Read the first entries of a list, or all of them."""
    return ("LRANGE", key, 0, -1 if length is None else length - 1)


def _mapping(answer: Sequence[str]) -> dict[str, str]:
    """Read a hash as Redis sends it: names and values by turns."""
    return dict(zip(answer[::2], answer[1::2], strict=True))


def _attempts() -> Iterator[None]:
    """Allow attempts for a while: one fails if the pointer moves under it."""
    deadline = time.monotonic() + MOVING_SECONDS
    while time.monotonic() < deadline:
        yield


def _moving() -> StoreUnavailable:
    return StoreUnavailable(
        f"{contract.CURRENT} kept moving for {MOVING_SECONDS} s while it was read"
    )
