"""Limits of a connection: the length of a head, pipelined requests, and time.

uvicorn waits without limit for the rest of a request, accepts heads of any length, and
reads on while requests wait for their answers. A client could fill its memory, or hold
all connections that the system allows.
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
"""The limit of a request's line and headers together, which is also that of h11."""
PIECE_BYTES = 4_096
"""Bytes that are parsed at a time, so that at most a few hundred pipelined requests are
answered before the next ones are parsed."""
PATIENCE_SECONDS = 30.0
"""The time limit from the previous answer, or the connection's start, to the next."""


class Connection(Protocol):
    """uvicorn's HTTP protocol, with limits."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*arguments, **named)
        self._since = self.loop.time()
        self._n_head = 0
        self._held = bytearray()
        self._is_refused = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timer, and join the writes of each answer."""
        joining = JoiningTransport(cast(asyncio.Transport, transport))
        super().connection_made(cast(asyncio.Transport, joining))
        self._watch(PATIENCE_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer and drop unparsed data."""
        if self._timer is not None:
            self._timer.cancel()
        self._held.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data now if it is short and nothing waits; else hold it.

        Data after a refusal is read and dropped: closing at once would discard the
        answer before a client that is still sending reads it.
        """
        if self._is_refused:
            return
        if self._held or len(data) > PIECE_BYTES:
            self._held += data
            self._continue()
        else:
            self._feed(data)

    def on_headers_complete(self) -> None:
        """Reset the count for the next head."""
        self._n_head = 0
        super().on_headers_complete()

    def on_body(self, _: bytes) -> None:
        """Drop the body: no route reads one."""
        self._n_head = 0

    def on_response_complete(self) -> None:
        """Continue with the held data."""
        self._since = self.loop.time()
        self._n_head = 0  # h11, used where httptools has no wheel, calls only this
        super().on_response_complete()
        if self._held or self.pipeline:
            self._continue()
        if self._is_refused and not self._has_waiting_request():
            self.transport.close()

    def _continue(self) -> None:
        """Parse held data until there is a request to answer, then pause reading.

        uvicorn resumes reading after each answer, even while requests wait.
        """
        while self._held and not (self.pipeline or self._is_closing()):
            piece = bytes(self._held[:PIECE_BYTES])
            del self._held[:PIECE_BYTES]
            self._feed(piece)
        if (self._held or self.pipeline) and not self._is_closing():
            self.flow.pause_reading()

    def _feed(self, data: bytes) -> None:
        self._n_head += len(data)
        super().data_received(data)
        if self._n_head > HEAD_BYTES and not self._is_closing():
            problem = f"the request line and headers exceed {HEAD_BYTES} bytes"
            self._refuse("request_too_long", problem)

    def _is_closing(self) -> bool:
        return self._is_refused or self.transport.is_closing()

    def send_400_response(self, msg: str) -> None:
        """Send uvicorn's error for a malformed request as JSON."""
        self._refuse("invalid_request", msg)

    def _refuse(self, code: str, message: str) -> None:
        """Answer data that is not a request with 422, and close the connection.

        If earlier requests wait for their answers, these are sent instead, since a
        client would take the 422 for one of them.
        """
        self._is_refused = True
        self._held.clear()
        if self._has_waiting_request():
            return
        answer = errors.response(422, code, message)
        headers = [
            (b"connection", b"close"),
            *completed(answer.raw_headers, new_id()),
            *self.server_state.default_headers,
        ]
        lines = [b"HTTP/1.1 422 Unprocessable Content"]
        lines += [b"%s: %s" % header for header in headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.write_eof()

    def _has_waiting_request(self) -> bool:
        is_under_way = self.cycle is not None and not self.cycle.response_complete
        return is_under_way or bool(self.pipeline)

    def _watch(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._check)

    def _check(self) -> None:
        """Abort the connection if its next answer takes too long."""
        remaining = self._since + PATIENCE_SECONDS - self.loop.time()
        if remaining > 0:
            self._watch(remaining)
        else:
            self.transport.abort()
