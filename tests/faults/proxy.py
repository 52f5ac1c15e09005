"""What lies between a client and its server, and is not always well."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Passes bytes on to a port of this machine, or does worse.

    Attributes:
        port: where it listens.
        delay: seconds that each piece of an answer waits.
        rate: bytes of answers a second at most; 0: as many as come.
        garbles: whether answers are turned into something else.
        is_deaf: whether nothing is passed on, in neither direction.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.well()
        threading.Thread(target=self._accept, daemon=True).start()

    def well(self) -> None:
        """Do as it should from now on."""
        self.delay, self.rate, self.garbles, self.is_deaf = 0.0, 0, False, False

    def cut(self) -> None:
        """End all connections that there are."""
        opened, self._open = self._open, []
        for one in opened:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def half_close(self) -> None:
        """Say to all clients that no answer will come, and listen on."""
        for one in self._open[::2]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End."""
        self._listener.close()
        self.cut()

    def n_connections(self) -> int:
        """Count those that are open."""
        return sum(one.fileno() >= 0 for one in self._open[::2])

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

    def _pump(self, one: socket.socket, other: socket.socket, answers: bool) -> None:
        with suppress(OSError), one, other:
            while data := one.recv(65_536):
                while self.is_deaf:
                    time.sleep(0.01)
                if answers:
                    time.sleep(self.delay)
                    if self.garbles:
                        data = bytes(byte ^ 0x55 for byte in data)
                for piece in self._pieces(data) if answers else [data]:
                    other.sendall(piece)

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        """Cut into what is sent every tenth of a second."""
        while data:
            size = max(1, self.rate // 10) if self.rate else len(data)
            yield data[:size]
            data = data[size:]
            if data:
                time.sleep(0.1)


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """Stand before a port for the length of a block."""
    made = Proxy(target)
    try:
        yield made
    finally:
        made.close()
