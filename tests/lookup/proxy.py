"""A small reverse proxy that serves a lookup below a path, as nginx or Traefik do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx


@contextmanager
def proxy(target: str, root: str, *, strips: bool) -> Iterator[str]:
    """Yield the proxy's address; it answers 404 outside of the path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix(root)
            if path == self.path or path[:1] not in ("", "/", "?"):
                self.send_error(404)
                return
            if strips and not path.startswith("/"):
                path = f"/{path}"
            answer = httpx.get(target + (path if strips else self.path))
            self.send_response(answer.status_code)
            for name in ("content-type", "content-security-policy"):
                self.send_header(name, answer.headers[name])
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
