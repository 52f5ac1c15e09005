"""Malicious requests as bytes, and a reader of what comes back."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

CODES = {
    401: {"unauthorized"},
    404: {"not_found", "unknown_user", "unknown_item", "unknown_about"},
    405: {"method_not_allowed"},
    422: {"invalid_parameter", "invalid_request", "request_too_long"},
}
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Answer:
    """One response on a connection."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None

    def is_as_agreed(self) -> bool:
        """Return whether it has the form of the contract."""
        if self.status in {200, 204, 304} or self.body is None:
            return self.status in {200, 204, 304, *CODES}
        error = json.loads(self.body)["error"]
        return (
            set(error) == {"code", "message"}
            and error["code"] in CODES.get(self.status, set())
            and self.headers["content-type"] == "application/json"
            and self.headers["x-content-type-options"] == "nosniff"
            and bool(self.headers["x-request-id"])
            and "server" not in self.headers
        )


def exchange(
    port: int, data: bytes, patience: float = 20.0, *, is_whole: bool = True
) -> list[Answer]:
    """Send bytes on a new connection, and read all responses.

    Incomplete requests get none, or one when we stop sending.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        with suppress(OSError):  # the server may close before it has read all
            connection.sendall(data)
            if not is_whole:
                connection.shutdown(socket.SHUT_WR)
        return list(answers(connection, has_bodies=not data.startswith(b"HEAD ")))


def answers(connection: socket.socket, *, has_bodies: bool = True) -> Iterator[Answer]:
    """Read responses until the server closes the connection."""
    with connection.makefile("rb") as reader, suppress(ConnectionResetError):
        while line := reader.readline():
            headers = {}
            while field := reader.readline().strip():
                name, _, value = field.partition(b":")
                headers[name.decode().lower()] = value.decode().strip()
            status = int(line.split()[1])
            if status == 100:  # the client asked for it with Expect
                continue
            length = int(headers.get("content-length", "0"))
            yield Answer(status, headers, reader.read(length) if has_bodies else None)


def get(target: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    """Return a request after which the server closes the connection."""
    given = {header.partition(b":")[0] for header in headers}
    usual = [b"Host: x"] if b"Host" not in given else []
    usual += [b"Connection: close"] if b"Connection" not in given else []
    line = b"%s %s HTTP/1.1" % (method, target)
    return b"\r\n".join([line, *usual, *headers, b"", b""])


IDS = (
    b"0", b"-1", b"+1", b"1.0", b"1e3", b"0x1", b"1_0", b"1" + b"0" * 400, b"9" * 999,
    b"9" * 1001, b"0" * 5000 + b"1", b"%20" b"42", b"42%20", b"42%0a", b"42%00",
    b"%0042",
    b"%d9%a4%d9%a2",  # Arabic-Indic 42
    b"%ef%bc%94%ef%bc%92",  # fullwidth 42
    b"%c2%b2",  # a superscript 2
    b"*", b"4*", b"?", b"[0-9]", b"42:x", b"recs:g1:user:42",
    b"42%0d%0aSET%20recs:current%20x", b"42%0d%0a%0d%0aGET%20/", b"..%2f7", b"42;7",
    b"42,7", b"$42", b"${42}", b"%2542", b"%", b"%4", b"%zz", b"%c3%28", b"%ff%fe",
    b"%ed%a0%80", b"NaN", b"null", b"true", b"'42'", b"\x80", b"\xff", b"42\t", b"{42}",
    b"<script>", b"%3Cscript%3E", b"a" * 10_000,
)  # fmt: skip

PATHS = (
    b"/", b"/..", b"/../", b"/../../etc/passwd", b"/static/../key.py",
    b"/static/..%2fkey.py", b"/static/%2e%2e/key.py", b"/static/%2e%2e%2fkey.py",
    b"/static/%252e%252e%252fkey.py", b"/static/..\\key.py", b"/static/..%5ckey.py",
    b"/static/....//key.py", b"/static/", b"/static/%2fetc%2fpasswd",
    b"/static//etc/passwd", b"/static/page.js%00.css", b"/static/.", b"/static/..",
    b"/static/C:%5cwindows", b"//recommend/42", b"/recommend", b"/recommend/",
    b"/recommend//42", b"/recommend/42/", b"/recommend/42/..", b"/RECOMMEND/42",
    b"/recommend%2f42", b"/recommend/42%3fk=1", b"/%", b"/%00",
    b"/%0d%0aSet-Cookie:%20a=b", b"/\xc3\xa9", b"/%c3%a9", b"/" + b"a/" * 5_000,
    b"/openapi.json/", b"/metrics/../recommend/7", b"/.git/config", b"/.env", b"/docs",
    b"/redoc", b"/fail", b"*", b"x", b"?", b"#", b"/#", b"", b"/recommend/42#x",
    b"http://elsewhere/recommend/42", b"http://elsewhere:99999/recommend/42",
    b"http://[::/recommend/42", b"https://user:secret@elsewhere/x", b"elsewhere:443",
    b"file:///etc/passwd",
)  # fmt: skip

QUERIES = (
    b"k=0", b"k=-1", b"k=1.5", b"k=" + b"9" * 400, b"k=%d9%a1", b"k=%ef%bc%91",
    b"k=%c2%b2", b"k=1&k=2", b"k=1&k=1", b"k=", b"k", b"=1", b"&", b"&&&k=1&&", b"K=1",
    b"k=1;k=2", b"k=1%00", b"k=%0a1", b"k=1%0a", b"k=%20" b"1", b"k=+1", b"k=1+",
    b"offset=-1", b"offset=" + b"9" * 30, b"offset=1e3", b"offset=999999999999999999",
    b"genre=", b"genre=%00", b"genre=%ff", b"genre=" + b"a" * 9_000,
    b"genre=a&" * 5_000 + b"genre=b", b"exclude=", b"exclude=,", b"exclude=1,,2",
    b"exclude=1,", b"exclude=" + b"1," * 9_000 + b"1", b"exclude=-1", b"exclude=1%2c2",
    b"exclude=*", b"exclude=" + b"9" * 1_001, b"fallback=x",
    b"fallback=none&fallback=none", b"because=2", b"because=%d9%a1", b"x=1",
    b"__proto__=1", b"k[]=1", b"k=1&" * 9_000, b"%", b"k=%", b"k=%zz", b"\xff=\xff",
    b"x=" + b"a" * MEGABYTE, b"k=1&" * 250_000, b"exclude=" + b"1," * 500_000 + b"1",
)  # fmt: skip

HEADERS: Mapping[str, tuple[bytes, ...]] = {
    "hosts that are none": (b"Host: [::",),
    "an empty host": (b"Host:",),
    "a host with a path": (b"Host: x/../y?z#",),
    "a host with letters of elsewhere": (b"Host: \xff\xfe",),
    "many hosts": tuple(b"Host: %d" % i for i in range(50)),
    "a megabyte": (b"X-Long: " + b"a" * MEGABYTE,),
    "a megabyte of a name": (b"a" * MEGABYTE + b": x",),
    "ten thousand": tuple(b"X-%d: %d" % (i, i) for i in range(10_000)),
    "ten thousand short": (b"a:",) * 10_000,
    "a fold": (b"X-A: b", b" c"),
    "a bare line feed": (b"X-A: b\nX-B: c",),
    "a bare carriage return": (b"X-A: b\rX-B: c",),
    "a zero": (b"X-A: \x00",),
    "no colon": (b"nothing",),
    "a blank before the colon": (b"X-A : b",),
    "an etag without an end": (b'If-None-Match: "' + b"," * 9_000,),
    "encodings": (b"Accept-Encoding: gzip;q=,,;;q=x,gzip;q=1e9" + b",x" * 9_000,),
    "an id with a line feed": (b"X-Request-ID: a%0d%0ab",),
    "an id that is long": (b"X-Request-ID: " + b"a" * 9_000,),
    "a scheme of elsewhere": (
        b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: \xff",
    ),
    "an origin": (b"Origin: null",),
    "a bad range": (b"Range: bytes=9-1,x",),
    "a range beyond all": (b"Range: bytes=999999999-",),
    "an upgrade": (b"Connection: Upgrade, close", b"Upgrade: websocket"),
    "an upgrade to HTTP/2": (b"Connection: Upgrade, close", b"Upgrade: h2c"),
    "a length that is none": (b"Content-Length: -1",),
    "two lengths": (b"Content-Length: 3", b"Content-Length: 4", b"", b"abcd"),
    "a length beyond all": (b"Content-Length: " + b"9" * 40,),
    "a length and chunks": (
        b"Content-Length: 4", b"Transfer-Encoding: chunked", b"",
        b"0", b"", b"GET /recommend/7 HTTP/1.1", b"Host: x", b"",
    ),
    "chunks and a length": (
        b"Transfer-Encoding: chunked", b"Content-Length: 6", b"", b"0", b"", b"G",
    ),
    "chunks that are none": (b"Transfer-Encoding: xchunked", b"", b"0", b""),
    "chunks twice": (b"Transfer-Encoding: chunked, chunked", b"", b"0", b""),
    "a chunk beyond all": (b"Transfer-Encoding: chunked", b"", b"f" * 40, b"x"),
    "a body": (b"Content-Length: 5", b"", b"hello"),
    "a body of a megabyte": (b"Content-Length: 1000000", b"", b"a" * MEGABYTE),
    "a promise of a body": (
        b"Expect: 100-continue", b"Content-Length: 5", b"", b"hello",
    ),
}  # fmt: skip

METHODS = (
    b"POST", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"PROPFIND", b"PURGE",
    b"PRI", b"get", b"GETT", b"G\x00T", b"", b"OPTIONS", b"HEAD",
)  # fmt: skip

GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "a line feed": b"\n",
    "empty lines": b"\r\n" * 50_000,
    "zeros": b"\x00" * 9_000,
    "bytes": bytes(range(256)) * 40,
    "a handshake of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    + b"\x00" * 400,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
    "HTTP/0.9": b"GET /recommend/42\r\n",
    "HTTP/0.9 with a number": b"GET /recommend/42 HTTP/0.9\r\n\r\n",
    "HTTP/1.0": b"GET /recommend/42 HTTP/1.0\r\n\r\n",
    "HTTP/9.9": b"GET /recommend/42 HTTP/9.9\r\nHost: x\r\n\r\n",
    "no host": b"GET /recommend/42 HTTP/1.1\r\nConnection: close\r\n\r\n",
    "no version": b"GET /recommend/42 \r\n\r\n",
    "commands of Redis": b"*1\r\n$8\r\nFLUSHALL\r\n",
    "a command of Redis": b"SET recs:current x\r\n",
    "half a line": b"GET /recom",
    "half of the headers": b"GET /recommend/42 HTTP/1.1\r\nHost: x\r\nX-A: ",
    "a target without an end": b"GET /" + b"a" * MEGABYTE,
    "a method without an end": b"A" * MEGABYTE,
    "many at once": get(b"/recommend/42").replace(b"close", b"keep-alive") * 300
    + get(b"/recommend/7"),
    "many at once, the last of them garbage": b"GET /recommend/42 HTTP/1.1\r\n\r\n" * 99
    + b"\x00\x00\x00",
}


def corpus() -> dict[str, bytes]:
    """Return all requests by name."""
    named = {
        f"id {text[:40]!r} at {route!r}": get(route + text)
        for route in (b"/recommend/", b"/similar/", b"/items/", b"/users/")
        for text in IDS
    }
    named |= {f"path {text[:40]!r}": get(text) for text in PATHS}
    for route in (b"/recommend/42", b"/popular", b"/items/50", b"/", b"/ready"):
        for text in QUERIES:
            named[f"query {text[:40]!r} at {route!r}"] = get(route + b"?" + text)
    for route in (b"/recommend/42", b"/nowhere", b"/static/page.js"):
        for name, headers in HEADERS.items():
            named[f"headers at {route!r}: {name}"] = get(route, *headers)
    named |= {f"method {m!r}": get(b"/recommend/42", method=m) for m in METHODS}
    return named | GARBAGE
