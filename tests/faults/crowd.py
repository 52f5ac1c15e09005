"""Clients that ask a lookup at the same time and record its answers."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Items = Sequence[int]
PATIENCE = 60.0
"""Seconds that a client waits for an answer."""


@dataclass(frozen=True)
class Heard:
    """An answer, with its times, and what is wrong with it."""

    begin: float
    end: float
    status: int
    is_right: bool
    what: str


@dataclass
class Crowd:
    """All answers so far."""

    heard: list[Heard] = field(default_factory=list)

    def between(self, begin: float, end: float) -> list[Heard]:
        """Give the answers to requests that began and ended between two times."""
        return [one for one in self.heard if one.begin >= begin and one.end <= end]

    def wrong(self) -> list[Heard]:
        return [one for one in self.heard if not one.is_right]

    def statuses(self) -> Counter[int]:
        return Counter(one.status for one in self.heard)

    def slowest(self) -> float:
        return max((one.end - one.begin for one in self.heard), default=0.0)


@contextmanager
def crowd(port: int, n: int, lists: Mapping[str, Sequence[Items]]) -> Iterator[Crowd]:
    """Run n clients for a block; each path has some lists that are right."""
    found, done = Crowd(), threading.Event()

    async def ask_all() -> None:
        await asyncio.gather(*(_ask(port, i, lists, found, done) for i in range(n)))

    thread = threading.Thread(target=lambda: asyncio.run(ask_all()))
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


async def _ask(
    port: int,
    i: int,
    lists: Mapping[str, Sequence[Items]],
    found: Crowd,
    done: threading.Event,
) -> None:
    """Ask for one path after the other, on a new connection after each failure."""
    paths = list(lists)
    while not done.is_set():
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while not done.is_set():
                path = paths[i % len(paths)]
                i += 1
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                begin = time.monotonic()
                async with asyncio.timeout(PATIENCE):
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(_header(head, "content-length") or "0")
                    body = await reader.readexactly(length)
                status = int(head.split()[1])
                is_right = _is_right(status, head, body, lists[path])
                what = "" if is_right else f"{path} {status} {body[:300]!r}"
                end = time.monotonic()
                found.heard.append(Heard(begin, end, status, is_right, what))
                await asyncio.sleep(0.002)  # leaves half of a core to others


def _is_right(status: int, head: bytes, body: bytes, lists: Sequence[Items]) -> bool:
    """Accept a right list, or a 503 as the contract has it."""
    if status == 503:
        has_code = set(json.loads(body)["error"]) == {"code", "message"}
        return has_code and _header(head, "retry-after") == "1"
    if status != 200:
        return False
    return [item["item_id"] for item in json.loads(body)["items"]] in lists


def _header(head: bytes, name: str) -> str | None:
    for line in head.decode("latin-1").split("\r\n"):
        field_name, _, value = line.partition(":")
        if field_name.lower() == name:
            return value.strip()
    return None
