"""The commands of many requests, sent to Redis in one round trip.

Most of what a read costs is the round trip, not the command: requests that arrive while
one is under way share the next. A request that is alone does not wait for others.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis import exceptions

from lookup.client import Client, Command

Waiting = tuple[Sequence[Command], "asyncio.Future[list[Any]]"]

MOST_REQUESTS = 256
"""How many requests share a round trip at most: more would hold up the event loop."""


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
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, future))
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
        finally:
            self._sender = None

    async def _send(self, some: list[Waiting]) -> None:
        """Make one round trip and give each request its answers, or the error."""
        sent = [command for commands, _ in some for command in commands]
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
        for commands, future in some:
            end = at + len(commands)
            if not future.done():  # who waited may have left
                future.set_result([*answers[at:end], answers[-1]])
            at = end


def checked(answers: Sequence[Any]) -> Sequence[Any]:
    """Return answers if none of them is an error, which is raised."""
    for answer in answers:
        if isinstance(answer, exceptions.RedisError):
            raise answer
    return answers


def _fail(some: Sequence[Waiting], error: Exception) -> None:
    for _, future in some:
        if not future.done():
            future.set_exception(error)
