"""A web server in a thread that gives prepared replies, good or bad."""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Reply:
    """The answer to one request; a `length` of -1 sends none."""

    body: bytes = b""
    status: int = 200
    length: int | str | None = None
    seconds: float = 0
    to: str = ""


@dataclass
class Server:
    """The replies that are left; the last one serves all further requests."""

    replies: list[Reply]
    port: int = 0
    scheme: str = "http"
    stop: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The URL of the zip."""
        return f"{self.scheme}://127.0.0.1:{self.port}/ml-100k.zip"

    def send(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request, the body in twenty pieces if it is to take some seconds."""
        self.requests.append(handler.path)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        handler.send_response(reply.status)
        length = len(reply.body) if reply.length is None else reply.length
        if length != -1:
            handler.send_header("Content-Length", str(length))
        if reply.to:
            handler.send_header("Location", reply.to)
        handler.end_headers()
        step = -(-len(reply.body) // 20) if reply.seconds else len(reply.body)
        for start in range(0, len(reply.body), step or 1):
            handler.wfile.write(reply.body[start : start + step])
            if self.stop.wait(reply.seconds / 20):
                return


@contextlib.contextmanager
def serving(*replies: Reply, certificate: Path | None = None) -> Iterator[Server]:
    """Serve replies, over TLS if there is a certificate."""
    server = Server(list(replies))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):
                server.send(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.port = http.server_port
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            http.socket = context.wrap_socket(http.socket, server_side=True)
            server.scheme = "https"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            http.shutdown()
            thread.join()
