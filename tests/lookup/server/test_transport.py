"""Answers in one piece."""

import asyncio

import pytest

from lookup.server.transport import JoiningTransport

pytestmark = pytest.mark.anyio


class Recorder(asyncio.Transport):
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        super().__init__({"peername": ("here", 1)})
        self.done: list[object] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))

    def write_eof(self) -> None:
        self.done.append("half closed")

    def close(self) -> None:
        self.done.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.done


async def test_what_is_written_in_one_turn_is_sent_as_one() -> None:
    """Headers and body, and the next turn's on their own."""
    recorder = Recorder()
    joining = JoiningTransport(recorder)
    joining.write(b"head")
    joining.write(b"body")
    assert recorder.done == []
    await asyncio.sleep(0)
    joining.write(b"next")
    await asyncio.sleep(0)
    assert recorder.done == [b"headbody", b"next"]


async def test_close_comes_after_what_was_written() -> None:
    """Nothing is lost, and nothing sent afterwards."""
    recorder = Recorder()
    joining = JoiningTransport(recorder)
    joining.write(b"last")
    joining.close()
    await asyncio.sleep(0)
    assert recorder.done == [b"last", "closed"]


async def test_half_a_close_comes_after_what_was_written() -> None:
    """As with a whole one."""
    recorder = Recorder()
    joining = JoiningTransport(recorder)
    joining.write(b"last")
    joining.write_eof()
    assert recorder.done == [b"last", "half closed"]


async def test_nothing_is_written_to_who_has_left() -> None:
    """It would be a stack trace in the log."""
    recorder = Recorder()
    joining = JoiningTransport(recorder)
    joining.write(b"late")
    recorder.close()
    await asyncio.sleep(0)
    assert recorder.done == ["closed"]


async def test_the_rest_is_the_transport_s() -> None:
    """Uvicorn asks it for addresses, and tells it to pause."""
    joining = JoiningTransport(Recorder())
    assert joining.get_extra_info("peername") == ("here", 1)
