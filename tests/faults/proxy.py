"""A TCP proxy that delays, throttles, garbles or cuts a connection."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Passes bytes on to a port of this machine, with faults.

    Attributes:
        port: where it listens.
        delay: seconds that each piece of a response waits.
        rate: bytes of responses a second; 0: no limit.
        garbles: whether responses are garbled.
        is_deaf: whether nothing is passed on, in either direction.
        rewrites: bytes of responses → others of the same length.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.well()
        threading.Thread(target=self._accept, daemon=True).start()

    def well(self) -> None:
        self.delay, self.rate, self.garbles, self.is_deaf = 0.0, 0, False, False
        self.rewrites: dict[bytes, bytes] = {}

    def cut(self) -> None:
        """Close all connections."""
        opened, self._open = self._open, []
        for one in opened:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def half_close(self) -> None:
        """Close the direction to all clients."""
        for one in self._open[::2]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_WR)

    def n_connections(self) -> int:
        return sum(one.fileno() >= 0 for one in self._open[::2])

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except ConnectionRefusedError:
                client.close()
                continue
            except OSError:
                return
            self._open += [client, server]
            for pump in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=pump, daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket, back: bool) -> None:
        with suppress(OSError), one, other:
            while data := one.recv(65_536):
                while self.is_deaf:
                    time.sleep(0.01)
                if back:
                    time.sleep(self.delay)
                    if self.garbles:
                        data = bytes(byte ^ 0x55 for byte in data)
                    for old, new in self.rewrites.items():
                        data = data.replace(old, new)
                size = max(1, self.rate // 10) if back and self.rate else len(data)
                for start in range(0, len(data), size):
                    if start:
                        time.sleep(0.1)
                    other.sendall(data[start : start + size])


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """Run a proxy to a port for the length of a block."""
    made = Proxy(target)
    try:
        yield made
    finally:
        made.close()
