"""A transport that sends the headers and the body of an answer as one packet.

uvicorn writes them one after the other, and asyncio sends each by itself. The second
system call is the most expensive part of an answer from the cache.
"""

import asyncio
from typing import Any


class JoiningTransport:
    """Wraps a transport and joins the writes of one turn of the event loop."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send data at the end of this turn of the loop."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        """Send the held data, then close."""
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Send the held data, then close the sending side."""
        self._flush()
        self._transport.write_eof()

    def _flush(self) -> None:
        if self._held:
            joined = b"".join(self._held)
            self._held.clear()
            if not self._transport.is_closing():  # the client may have left
                self._transport.write(joined)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any of the transport's
        return getattr(self._transport, name)
