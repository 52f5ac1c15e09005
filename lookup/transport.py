"""An answer goes out in one piece.

uvicorn writes the headers and the body one after the other, and the event loop sends
each at once: two calls of the system and two packets, the most expensive part of an
answer that is in the cache.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol


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

    def _flush(self) -> None:
        if self._held:
            joined = b"".join(self._held)
            self._held.clear()
            self._transport.write(joined)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a transport has
        return getattr(self._transport, name)


def protocol(**arguments: Any) -> asyncio.Protocol:  # noqa: ANN401 - as uvicorn has them
    """Make uvicorn's protocol, with a transport that joins."""
    made = AutoHTTPProtocol(**arguments)
    connected = made.connection_made

    def connection_made(transport: asyncio.BaseTransport) -> None:
        joining = JoiningTransport(cast(asyncio.Transport, transport))
        connected(cast(asyncio.Transport, joining))

    made.connection_made = connection_made  # type: ignore[method-assign]
    return made
