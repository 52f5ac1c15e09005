"""Read the published generation from Redis, asynchronously.

A generation never changes. Its keys are removed, each as a whole, only after
`recs:current` has moved on. So a key that was found is complete; and a key that was not
found does not exist if the pointer, read *after* it, still names its generation.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError, ResponseError

from lookup.shared.keys import PREFIX, Keys
from lookup.store.client import Client, Command
from lookup.store.errors import (
    CorruptGeneration,
    NoGeneration,
    StoreError,
    StoreUnavailable,
)
from lookup.store.generation import Edits, Generation
from lookup.store.pipeline import Pipeline, checked

LOAD_SECONDS = 10.0
"""The time limit for reading a generation: 90 000 items are 10 MB."""
LOAD_WAIT_SECONDS = 2.0
"""How long a request waits for that read; a later request may find it done."""
MOVING_SECONDS = 1.0
"""How long a read is retried while the pointer keeps moving."""
MAX_GENERATIONS = 2
"""Generations kept in memory: the served one and the one before."""

log = logging.getLogger(__name__)


class Store:
    """Reads the served generation from Redis.

    Every read raises a StoreError if there is nothing to return.
    """

    def __init__(
        self,
        url: str,
        prefix: str = PREFIX,
        *,
        trust_seconds: float = 0.0,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare a client that connects when first used.

        Args:
            url: the address of Redis.
            prefix: what the names of all keys begin with.
            trust_seconds: how long a read of the pointer stays valid. With 0,
                `generation` reads it on each call.
            on_error: called each time that Redis does not answer or refuses.
        """
        self._redis = Client(url)
        self._keys = Keys(prefix)
        self._pipeline = Pipeline(
            self._redis,
            ("GET", self._keys.current),
            ("SMEMBERS", self._keys.blocked),
            ("GET", self._keys.forgotten),
        )
        self._edits = Edits()
        self._trust = trust_seconds
        self._trusted_until = 0.0
        self._refreshing: asyncio.Task[None] | None = None
        self._on_error = on_error
        self._latest: Generation | None = None
        self._kept: dict[str, Generation] = {}
        self._loading: dict[str, asyncio.Task[Generation | None]] = {}

    @property
    def latest(self) -> Generation | None:
        """The generation that was served when Redis last answered."""
        return self._latest

    @property
    def top_n(self) -> int | None:
        """The length of the lists; None if it is not known without a read."""
        return self._latest.top_n if self._latest else None

    async def generation(self) -> Generation:
        """Return the generation that is served now."""
        remaining = self._trusted_until - time.monotonic()
        if self._latest is not None and remaining > 0:
            if remaining < self._trust / 2 and self._refreshing is None:
                # early, so that under load no request waits for it
                self._refreshing = asyncio.create_task(self._refresh())
                self._refreshing.add_done_callback(self._refreshed)
            return self._latest
        return await self._read_generation()

    async def read(
        self, commands_for: Callable[[Generation], Sequence[Command]]
    ) -> tuple[Generation, list[Any]]:
        """Return the served generation and the replies to commands about it.

        `commands_for` returns the commands, given a generation.
        """
        generation = self._latest or await self.generation()
        for _ in _attempts():
            commands = commands_for(generation)
            *replies, current = await self._execute(*commands)
            if not all(replies):
                (current,) = await self._execute()  # see the top of this file
            if self._is_served(generation, current):
                return generation, replies
            generation = await self._load(current) or generation
        raise self._moving()

    async def close(self) -> None:
        """Close the connections."""
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing])
        await self._redis.aclose()

    async def _read_generation(self) -> Generation:
        for _ in _attempts():
            (name,) = await self._execute()
            generation = await self._load(name)
            if generation is not None:
                return generation
        raise self._moving()

    async def _refresh(self) -> None:
        """Read the pointer again; if that fails, the next request gets the error."""
        with suppress(StoreError):
            await self._read_generation()

    def _refreshed(self, task: asyncio.Task[None]) -> None:
        """Let the next refresh begin, however this one ended."""
        self._refreshing = None
        if not task.cancelled() and (error := task.exception()):
            log.error("could not read %s", self._keys.current, exc_info=error)

    async def _load(self, name: str | None) -> Generation | None:
        """Return a generation from memory or Redis; None if it is no longer current.

        Concurrent calls share one read, which goes on if some of them are cancelled.
        """
        if name is None:
            raise NoGeneration(f"nothing is published: {self._keys.current} is not set")
        generation = self._kept.get(name)
        if generation is None:
            if name not in self._loading:
                task = asyncio.create_task(self._fetch(name))
                task.add_done_callback(lambda done: self._keep(name, done))
                self._loading[name] = task
            generation = await self._wait_for(name)
        return None if generation is None else self._serve(generation)

    def _serve(self, generation: Generation) -> Generation:
        """Make a generation, as edited since, the latest one; return it."""
        latest = self._latest
        if latest is None or not self._is_served(latest, generation.name):
            if latest is None or latest.name != generation.name:
                log.info("generation %s is served", generation.name)
            if self._edits.blocked or (latest and latest.blocked):
                log.info("%d items are blocked", len(self._edits.blocked))
            latest = self._latest = generation.edited(self._edits)
        return latest

    def _is_served(self, generation: Generation, current: str | None) -> bool:
        return generation.name == current and generation.edits is self._edits

    async def _wait_for(self, name: str) -> Generation | None:
        try:
            async with asyncio.timeout(LOAD_WAIT_SECONDS):
                return await asyncio.shield(self._loading[name])
        except TimeoutError as error:
            raise StoreUnavailable(f"generation {name} is still being read") from error

    async def _fetch(self, name: str) -> Generation | None:
        """Read a generation, the pointer last: see the top of this file."""
        keys = self._keys.of(name)
        meta, items, popular, about = await self._execute_alone(
            ("HGETALL", keys.meta),
            ("HGETALL", keys.items),
            lrange(keys.popular),
            ("GET", keys.about),
        )
        (current,) = await self._execute()
        if current != name:
            return None
        if not meta:
            problem = f"{self._keys.current} is {name!r}, but no {keys.meta}"
            raise CorruptGeneration(problem)
        return Generation(keys, _mapping(meta), _mapping(items), popular, about)

    def _keep(self, name: str, task: asyncio.Task[Generation | None]) -> None:
        """Keep the generation that a task has read, and drop the oldest."""
        del self._loading[name]
        generation = None if task.cancelled() or task.exception() else task.result()
        if generation is None:
            return
        self._kept[name] = generation
        while len(self._kept) > MAX_GENERATIONS:
            del self._kept[next(iter(self._kept))]

    async def _execute(self, *commands: Command) -> Sequence[Any]:
        """Return the replies to commands, followed by the pointer."""
        sent_at = time.monotonic()
        try:
            replies = await self._pipeline.execute(*commands)
        except (RedisError, OSError) as error:
            raise self._failed(error) from error
        *replies, current, members, forgotten = replies
        edits = Edits(frozenset(members), forgotten)
        if edits != self._edits:
            self._edits = edits
        is_latest = self._latest is not None and self._is_served(self._latest, current)
        self._trusted_until = sent_at + self._trust if is_latest else 0.0
        return [*replies, current]

    async def _execute_alone(self, *commands: Command) -> Sequence[Any]:
        """Return the replies to commands that take too long for a shared round trip."""
        try:
            replies = await self._redis.execute(commands, LOAD_SECONDS)
            return checked(commands, replies)
        except (RedisError, OSError) as error:
            raise self._failed(error) from error

    def _moving(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._keys.current} kept moving for {MOVING_SECONDS} s while it was read"
        )

    def _failed(self, error: Exception) -> StoreUnavailable:
        self._trusted_until = 0.0
        self._on_error()
        what = "refuses" if isinstance(error, ResponseError) else "does not answer"
        return StoreUnavailable(f"Redis {what}: {str(error) or 'not in time'}")


def lrange(key: str, length: int | None = None) -> Command:
    """Return the command that reads the first entries of a list, or all of them."""
    return ("LRANGE", key, 0, -1 if length is None else length - 1)


def _mapping(reply: Sequence[str]) -> dict[str, str]:
    """Return a hash, which Redis sends as alternating names and values."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _attempts() -> Iterator[None]:
    """Yield for MOVING_SECONDS, once per attempt; it fails if the pointer moves."""
    deadline = time.monotonic() + MOVING_SECONDS
    while time.monotonic() < deadline:
        yield
