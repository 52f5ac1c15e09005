"""Batches the commands of concurrent requests into shared round trips to Redis.

Most of the cost of a read is the round trip, not the command. Requests that arrive
during one trip share the next. A lone request never waits for others.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Any

from redis import exceptions

from lookup.store.client import TIMEOUT_SECONDS, Client, Command
from lookup.store.errors import CorruptGeneration

Waiting = tuple[float, Sequence[Command], "asyncio.Future[list[Any]]"]
"""The time of the call, its commands, and the future for their replies."""

TYPES: Mapping[str | int, str] = {
    "GET": "string",
    "LRANGE": "list",
    "HGETALL": "hash",
    "SMEMBERS": "set",
}
"""The type of key that each command reads."""
MAX_BATCH = 256
"""Commands that share a round trip, up to the request that reaches it: more would block
the event loop."""
MAX_WAITING = 8192
"""Requests that may wait: a slow Redis must not fill the memory."""


class Pipeline:
    """Sends commands; each round trip ends with the commands `last`."""

    def __init__(self, client: Client, *last: Command) -> None:
        self._client = client
        self._last = last
        self._waiting: list[Waiting] = []
        self._sender: asyncio.Task[None] | None = None

    async def execute(self, *commands: Command) -> Sequence[Any]:
        """Return the replies to commands, followed by those to `last`.

        All commands are sent after this call. Raises RedisError or OSError.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise TimeoutError(f"{MAX_WAITING} requests wait for it already")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((time.monotonic(), commands, future))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())
        return checked([*commands, *self._last], await future)

    async def _send_all(self) -> None:
        """Make round trips until nothing waits."""
        try:
            while self._waiting:
                sizes = accumulate(len(one[1]) or 1 for one in self._waiting)
                n = 1 + sum(1 for _ in takewhile(MAX_BATCH.__gt__, sizes))
                batch = self._waiting[:n]
                del self._waiting[:n]
                await self._send(batch)
                self._fail_late()
        finally:
            self._sender = None

    async def _send(self, batch: list[Waiting]) -> None:
        """Make one round trip and resolve the futures."""
        commands = [command for _, commands, _ in batch for command in commands]
        try:
            replies = await self._client.execute([*commands, *self._last])
        except Exception as error:  # every waiting request must get it
            if isinstance(error, TimeoutError):
                # the other requests would wait as long, in vain
                batch += self._waiting
                self._waiting.clear()
            _fail(batch, error)
            return
        start, last = 0, replies[len(commands) :]
        for _, commands_of_one, future in batch:
            end = start + len(commands_of_one)
            if not future.done():  # the request may be cancelled
                future.set_result([*replies[start:end], *last])
            start = end

    def _fail_late(self) -> None:
        """Fail requests that have waited too long: slow round trips add up."""
        limit = time.monotonic() - TIMEOUT_SECONDS
        late = list(takewhile(lambda waiting: waiting[0] < limit, self._waiting))
        if late:
            del self._waiting[: len(late)]
            _fail(late, TimeoutError("it is slow, and too many wait for it"))


def checked(commands: Sequence[Command], replies: Sequence[Any]) -> Sequence[Any]:
    """Return the replies to commands, or raise the first one that is an error.

    Raises CorruptGeneration, naming the key, if its type is not that of the contract.
    """
    for i, reply in enumerate(replies):
        if isinstance(reply, exceptions.RedisError):
            if str(reply).startswith("WRONGTYPE"):
                command, key, *_ = commands[i]
                raise CorruptGeneration(
                    f"{key} is not a {TYPES[command]}: another program wrote it; "
                    "remove it and publish again"
                ) from reply
            raise reply
    return replies


def _fail(batch: Sequence[Waiting], error: Exception) -> None:
    for _, _, future in batch:
        if not future.done():
            future.set_exception(error)
