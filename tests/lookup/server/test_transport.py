"""Answers in one piece."""

import asyncio

import pytest

from lookup.server.transport import JoiningTransport

pytestmark = pytest.mark.anyio


class Recorder(asyncio.Transport):
    """A transport that notes its calls."""

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


async def test_writes_of_one_turn_are_joined() -> None:
    recorder = Recorder()
    joining = JoiningTransport(recorder)
    joining.write(b"head")
    joining.write(b"body")
    assert recorder.done == []
    await asyncio.sleep(0)
    joining.write(b"next")
    await asyncio.sleep(0)
    assert recorder.done == [b"headbody", b"next"]


@pytest.mark.parametrize(
    ("method", "noted"), [("close", "closed"), ("write_eof", "half closed")]
)
async def test_held_data_is_sent_before_the_end(method: str, noted: str) -> None:
    recorder = Recorder()
    joining = JoiningTransport(recorder)
    joining.write(b"last")
    getattr(joining, method)()
    await asyncio.sleep(0)
    assert recorder.done == [b"last", noted]


async def test_nothing_is_written_to_a_closed_connection() -> None:
    """It would be a traceback in the log."""
    recorder = Recorder()
    JoiningTransport(recorder).write(b"late")
    recorder.close()
    await asyncio.sleep(0)
    assert recorder.done == ["closed"]


async def test_other_attributes_are_those_of_the_transport() -> None:
    assert JoiningTransport(Recorder()).get_extra_info("peername") == ("here", 1)
