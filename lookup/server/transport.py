"""An answer goes out in one piece.

uvicorn writes the headers and the body one after the other, and the event loop sends
each at once: two calls of the system and two packets, the most expensive part of an
answer that is in the cache.
"""

import asyncio
from typing import Any


class JoiningTransport:
    """Passes everything on; what is written in one turn of the loop, as one."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send soon."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        """Send what is there, then close."""
        self._flush()
        self._transport.close()

    def write_eof(self) -> None:
        """Send what is there, then say that it was the last."""
        self._flush()
        self._transport.write_eof()

    def _flush(self) -> None:
        if self._held:
            joined = b"".join(self._held)
            self._held.clear()
            if not self._transport.is_closing():  # whoever it is for may have left
                self._transport.write(joined)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a transport has
        return getattr(self._transport, name)
