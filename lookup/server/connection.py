"""What one connection may take of a worker: bytes, requests at once, and time.

uvicorn waits for ever for the rest of a request, keeps heads of any length, and reads
on while what it has read waits to be answered: who wants can fill its memory, or take
all connections that there can be.
"""

import asyncio
from typing import TYPE_CHECKING, Any, cast

from lookup.http import errors
from lookup.http.middleware.observe import completed, new_id
from lookup.server.transport import JoiningTransport

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Protocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as Protocol

HEAD_BYTES = 65_536
"""How long the line and the headers of a request may be together: as h11 has it."""
PIECE_BYTES = 4_096
"""What is read at once beyond it waits until all before it is answered.

So that a few hundred requests of a connection wait in memory, and not 14,000.
"""
PATIENCE_SECONDS = 30.0
"""How long it may take from an answer, or the beginning, until the next is there."""


class Connection(Protocol):
    """uvicorn's, with limits."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*arguments, **named)
        self._since = self.loop.time()
        self._n_head = 0
        self._held = bytearray()
        self._is_refused = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; whoever takes too long is not waited for."""
        joining = JoiningTransport(cast(asyncio.Transport, transport))
        super().connection_made(cast(asyncio.Transport, joining))
        self._watch(PATIENCE_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._timer is not None:
            self._timer.cancel()
        self._held.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a piece of some requests, at once if there is little and nothing waits.

        What comes after a refusal is read and dropped: to close at once would take the
        answer away from a client that is still sending.
        """
        if self._is_refused:
            return
        if self._held or len(data) > PIECE_BYTES:
            self._held += data
            self._go_on()
        else:
            self._feed(data)

    def on_headers_complete(self) -> None:
        """Count the next head anew."""
        self._n_head = 0
        super().on_headers_complete()

    def on_body(self, _: bytes) -> None:
        """Drop it: nothing here has use for one."""
        self._n_head = 0

    def on_response_complete(self) -> None:
        """Go on with what waits."""
        self._since = self.loop.time()
        self._n_head = 0  # h11, without wheels, has no other such moment
        super().on_response_complete()
        if self._held or self.pipeline:
            self._go_on()
        if self._is_refused and not self._is_waited_for():
            self.transport.close()

    def _go_on(self) -> None:
        """Feed what is held until there is something to answer, and read no more then.

        uvicorn reads on after each answer, however many requests still wait.
        """
        while self._held and not (self.pipeline or self._is_over()):
            piece = bytes(self._held[:PIECE_BYTES])
            del self._held[:PIECE_BYTES]
            self._feed(piece)
        if (self._held or self.pipeline) and not self._is_over():
            self.flow.pause_reading()

    def _feed(self, data: bytes) -> None:
        self._n_head += len(data)
        super().data_received(data)
        if self._n_head > HEAD_BYTES and not self._is_over():
            told = f"the request's line and headers are longer than {HEAD_BYTES} bytes"
            self._refuse("request_too_long", told)

    def _is_over(self) -> bool:
        return self._is_refused or self.transport.is_closing()

    def send_400_response(self, msg: str) -> None:
        """Say in the form of all errors what uvicorn says in a form of its own."""
        self._refuse("invalid_request", msg)

    def _refuse(self, code: str, message: str) -> None:
        """Say that what came is no request, unless others wait for their answers.

        Those get theirs, and then the connection ends: who pipelines could take this
        for an answer to one of them.
        """
        self._is_refused = True
        self._held.clear()
        if self._is_waited_for():
            return
        answer = errors.response(422, code, message)
        headers = completed(answer.raw_headers, new_id())
        lines = [b"%s: %s\r\n" % header for header in headers]
        lines += [
            b"%s: %s\r\n" % header for header in self.server_state.default_headers
        ]
        head = b"HTTP/1.1 422 Unprocessable Content\r\nconnection: close\r\n"
        self.transport.write(b"".join([head, *lines, b"\r\n", bytes(answer.body)]))
        self.transport.write_eof()

    def _is_waited_for(self) -> bool:
        """Tell whether a request has no answer yet."""
        is_under_way = self.cycle is not None and not self.cycle.response_complete
        return is_under_way or bool(self.pipeline)

    def _watch(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._check)

    def _check(self) -> None:
        """End a connection whose next answer takes too long, whoever is slow."""
        remaining = self._since + PATIENCE_SECONDS - self.loop.time()
        if remaining > 0:
            self._watch(remaining)
        else:
            self.transport.abort()
