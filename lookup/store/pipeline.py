"""The commands of many requests, sent to Redis in one round trip.

Most of what a read costs is the round trip, not the command: requests that arrive while
one is under way share the next. A request that is alone does not wait for others.
"""

import asyncio
import time
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from redis import exceptions

from lookup.store.client import PATIENCE_SECONDS, Client, Command

Waiting = tuple[float, Sequence[Command], "asyncio.Future[list[Any]]"]
"""Since when, for the answers to what, and where they go."""

MOST_REQUESTS = 256
"""How many requests share a round trip at most: more would hold up the event loop."""
MOST_WAITING = 8192
"""How many may wait: a Redis that is slow, or away, must not fill our memory."""


class Pipeline:
    """Sends commands, and one more after those of each round trip."""

    def __init__(self, client: Client, last: Command) -> None:
        self._client = client
        self._last = last
        self._waiting: list[Waiting] = []
        self._sender: asyncio.Task[None] | None = None

    async def execute(self, *commands: Command) -> Sequence[Any]:
        """Return the answers, that to the last command of the round trip included.

        What was sent before this call is not waited for. Raises RedisError or OSError.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise TimeoutError(f"{MOST_WAITING} requests wait for it already")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((time.monotonic(), commands, future))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())
        return checked(await future)

    async def _send_all(self) -> None:
        """Make round trips for as long as somebody waits."""
        try:
            while self._waiting:
                some = self._waiting[:MOST_REQUESTS]
                del self._waiting[:MOST_REQUESTS]
                await self._send(some)
                self._give_up()
        finally:
            self._sender = None

    async def _send(self, some: list[Waiting]) -> None:
        """Make one round trip and give each request its answers, or the error."""
        sent = [command for _, commands, _ in some for command in commands]
        try:
            answers = await self._client.execute([*sent, self._last])
        except Exception as error:  # whatever it is, who waits must hear of it
            if isinstance(error, TimeoutError):
                # the others would wait as long for as little
                some += self._waiting
                self._waiting.clear()
            _fail(some, error)
            return
        at = 0
        for _, commands, future in some:
            end = at + len(commands)
            if not future.done():  # who waited may have left
                future.set_result([*answers[at:end], answers[-1]])
            at = end

    def _give_up(self) -> None:
        """Fail those who would come too late: round trips that are slow add up."""
        begun = time.monotonic() - PATIENCE_SECONDS
        late = list(takewhile(lambda waiting: waiting[0] < begun, self._waiting))
        if late:
            del self._waiting[: len(late)]
            _fail(late, TimeoutError("it is slow, and too many wait for it"))


def checked(answers: Sequence[Any]) -> Sequence[Any]:
    """Return answers if none of them is an error, which is raised."""
    for answer in answers:
        if isinstance(answer, exceptions.RedisError):
            raise answer
    return answers


def _fail(some: Sequence[Waiting], error: Exception) -> None:
    for _, _, future in some:
        if not future.done():
            future.set_exception(error)
