import contextlib
import hashlib
import logging
import os
import re
import resource
import signal
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import batch.ingest.download
import batch.ingest.pace
from batch.errors import BatchError
from batch.ingest import release
from batch.ingest.download import PARTIAL, PINNED, REMEDY, download
from batch.settings import ML_100K_URL
from tests.conftest import Tally
from tests.sql import raw

AUTHORITY = """\
[ca]
default_ca = here
[here]
database = index.txt
rand_serial = yes
new_certs_dir = .
default_md = sha256
policy = any
x509_extensions = local
[any]
commonName = supplied
[local]
subjectAltName = IP:127.0.0.1
"""

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    body: bytes = b""
    status: int = 200
    length: int | str | None = None
    seconds: float = 0
    to: str = ""
    at_once: int = 0
    """How much of a slow body is not slow."""


@dataclass
class Server:
    """A server of the web on this machine, which answers as it is told."""

    replies: list[Reply]
    port: int = 0
    scheme: str = "http"
    stop: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Address the zip."""
        return f"{self.scheme}://127.0.0.1:{self.port}/ml-100k.zip"

    def next(self) -> Reply:
        """Take the next reply; the last serves all further requests."""
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def send(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a request, the body in slow pieces if it is to take its time."""
        self.requests.append(handler.path)
        reply = self.next()
        handler.send_response(reply.status)
        length = len(reply.body) if reply.length is None else reply.length
        if length != -1:
            handler.send_header("Content-Length", str(length))
        if reply.to:
            handler.send_header("Location", reply.to)
        handler.end_headers()
        handler.wfile.write(reply.body[: reply.at_once])
        slow = len(reply.body) - reply.at_once
        step = -(-slow // 20) if reply.seconds else slow
        for start in range(reply.at_once, len(reply.body), step or 1):
            handler.wfile.write(reply.body[start : start + step])
            if self.stop.wait(reply.seconds / 20):
                return


@contextlib.contextmanager
def serving(*replies: Reply, certificate: Path | None = None) -> Iterator[Server]:
    """Serve from a thread, over TLS if there is a certificate."""
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


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the server even where a proxy is set."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def body(tmp_path: Path) -> bytes:
    """Zip a release as GroupLens does."""
    folder = raw.tab(tmp_path / "made")
    return raw.zipped(folder, tmp_path / "made.zip", "ml-100k/").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Name the folder to download into."""
    return tmp_path / "data" / "raw"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate that has expired."""
    return certified(tmp_path_factory.mktemp("tls"), "20210101000000Z")


def certified(folder: Path, end: str) -> Path:
    """Make a key, and a certificate of its own that is valid until then."""
    (folder / "ca.cnf").write_text(AUTHORITY)
    (folder / "index.txt").touch()
    for command in (
        "req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout key.pem -out csr.pem",
        "ca -batch -selfsign -config ca.cnf -keyfile key.pem -in csr.pem "
        f"-startdate 20200101000000Z -enddate {end} -notext -out crt.pem",
    ):
        subprocess.run(
            ["openssl", *command.split()], cwd=folder, check=True, capture_output=True
        )
    both = (folder / "key.pem").read_text() + (folder / "crt.pem").read_text()
    (folder / "both.pem").write_text(both)
    return folder / "both.pem"


def pin(body: bytes, algorithm: str = "sha256") -> str:
    """Give the checksum that the URL's fragment may hold."""
    return f"{algorithm}={hashlib.new(algorithm, body).hexdigest()}"


def failure(url: str, folder: Path, timeout: float = 5) -> str:
    """Expect no download, nothing left of it, and one line that helps."""
    with pytest.raises(BatchError) as caught:
        download(url, folder, timeout=timeout, pauses=(0, 0))
    said = str(caught.value)
    assert said.startswith(f"cannot download {url}: ")
    assert said.endswith(REMEDY)
    assert "\n" not in said
    assert not folder.exists() or not list(folder.iterdir())
    return said


def expect(folder: Path) -> None:
    """Expect the release of tests/sql/raw.py and nothing beside it."""
    assert [path.name for path in folder.iterdir()] == ["ml-100k"]
    content = (folder / "ml-100k/u.data").read_text()
    assert content.splitlines() == raw.joined(raw.RATINGS, "\t")
    assert release.find(folder, folder / "unpacked").name == "ml-100k"


def test_the_default_is_pinned() -> None:
    """A changed archive on GroupLens' side is noticed."""
    assert PINNED[ML_100K_URL].startswith("sha256=")


def test_a_release_is_put_in_place(body: bytes, folder: Path) -> None:
    """The folder is made, the progress told, and one request suffices."""
    told: list[tuple[int, int | None]] = []
    with serving(Reply(body)) as server:
        download(server.url, folder, progress=lambda *step: told.append(step))
    expect(folder)
    assert told[-1] == (len(body), len(body))
    assert server.requests == ["/ml-100k.zip"]


def test_a_server_need_not_say_the_length(body: bytes, folder: Path) -> None:
    """The progress is told without it."""
    told: list[tuple[int, int | None]] = []
    with serving(Reply(body, length=-1)) as server:
        download(server.url, folder, progress=lambda *step: told.append(step))
    expect(folder)
    assert told[-1] == (len(body), None)


def test_a_zip_without_a_folder_gets_one(tmp_path: Path, folder: Path) -> None:
    """Its folder is named for the release."""
    packed = raw.zipped(raw.csv(tmp_path / "made"), tmp_path / "made.zip")
    with serving(Reply(packed.read_bytes())) as server:
        download(server.url, folder)
    assert (folder / "ml-csv/ratings.csv").is_file()


def test_redirects_are_followed(body: bytes, folder: Path) -> None:
    """GroupLens sends http to https."""
    with serving(Reply(body)) as last, serving(Reply(status=301, to=last.url)) as first:
        download(first.url, folder)
    expect(folder)


def test_redirects_to_what_is_not_encrypted_need_a_checksum(
    tmp_path: Path, body: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody on the way could answer in its place."""
    certificate = certified(tmp_path, "21000101000000Z")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "crt.pem"))
    with (
        serving(Reply(body)) as last,
        serving(Reply(status=302, to=last.url), certificate=certificate) as first,
    ):
        said = failure(first.url, folder)
        assert f"it leads to '{last.url}', which is not encrypted" in said
        assert not last.requests
        download(f"{first.url}#{pin(body)}", folder)
    expect(folder)


@pytest.mark.parametrize("is_told", [True, False])
def test_what_is_larger_than_any_release_is_left(
    body: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    """Whether the server says so or not."""
    monkeypatch.setattr(batch.ingest.download, "LARGEST", len(body) - 1)
    with serving(Reply(body, length=None if is_told else -1)) as server:
        assert f"more than {len(body) - 1:,} bytes" in failure(server.url, folder)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"x" * 20, seconds=4),
        Reply(bytes(2**20), seconds=4, at_once=2**20 - 20),
    ],
    ids=["at once", "after much of it"],
)
def test_a_server_that_sends_drops_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    """It never falls silent."""
    monkeypatch.setattr(batch.ingest.pace, "SLOW_SECONDS", 0.3)
    with serving(reply) as server:
        assert re.search(r"bytes came in \d s \(3 tries\)", failure(server.url, folder))


def test_a_server_that_takes_hours_is_given_up(
    body: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another try would take as long."""
    monkeypatch.setattr(batch.ingest.pace, "LONGEST_SECONDS", 0.3)
    with serving(Reply(body, seconds=4)) as server:
        assert "it is not there after 0 s" in failure(server.url, folder)
    assert len(server.requests) == 1


def test_a_slow_line_suffices(
    body: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stretch of time brings enough."""
    monkeypatch.setattr(batch.ingest.pace, "SLOW_SECONDS", 0.2)
    monkeypatch.setattr(batch.ingest.pace, "SLOWEST", len(body) / 10)
    with serving(Reply(body, seconds=2)) as server:
        download(server.url, folder, timeout=5)
    expect(folder)


def test_what_comes_with_a_redirect_is_not_read(body: bytes, folder: Path) -> None:
    """It may be without an end."""
    much = bytes(2**24)
    with (
        serving(Reply(body)) as last,
        serving(Reply(much, status=302, to=last.url)) as first,
    ):
        tracemalloc.start()
        try:
            download(first.url, folder)
            assert tracemalloc.get_traced_memory()[1] < len(much) / 2
        finally:
            tracemalloc.stop()
    expect(folder)


@pytest.mark.parametrize(
    ("to", "cause"),
    [("ftp://127.0.0.1:9/ml.zip", "no URL of HTTP"), ("http://[", "it is no URL")],
)
def test_redirects_to_elsewhere_are_named(folder: Path, to: str, cause: str) -> None:
    with serving(Reply(status=302, to=to)) as server:
        assert cause in failure(server.url, folder)
    assert len(server.requests) == 1


def test_a_length_of_thousands_of_digits_is_no_length(
    body: bytes, folder: Path
) -> None:
    """Python makes no number of them."""
    with serving(Reply(body, length="9" * 5000)) as server:
        download(server.url, folder)
    expect(folder)


def test_what_is_there_is_kept(body: bytes, folder: Path) -> None:
    """Nothing is asked of the server the second time."""
    with serving(Reply(body)) as server:
        download(server.url, folder)
        download(server.url, folder)
    expect(folder)
    assert len(server.requests) == 1


def test_a_folder_with_something_else_is_left_alone(folder: Path) -> None:
    """An incomplete release is the user's to mend."""
    raw.tab(folder)
    (folder / "u.item").unlink()
    with serving(Reply()) as server, pytest.raises(BatchError, match=r"lacks u\.item"):
        download(server.url, folder)
    assert not server.requests
    assert (folder / "u.data").exists()


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_the_checksum_in_the_url_is_compared(
    body: bytes, folder: Path, algorithm: str
) -> None:
    """The right one passes, the wrong one is not tried again."""
    with serving(Reply(body + b"more"), Reply(body)) as server:
        url = f"{server.url}#{pin(body, algorithm)}"
        said = failure(url, folder)
        assert pin(body, algorithm).partition("=")[2] in said
        assert pin(body + b"more", algorithm).partition("=")[2] in said
        assert len(server.requests) == 1
        download(url, folder)
    expect(folder)


def test_the_checksum_may_be_given_apart(body: bytes, folder: Path) -> None:
    """It then goes before the URL's own."""
    with serving(Reply(body)) as server:
        download(f"{server.url}#{pin(b'')}", folder, checksum=pin(body))
    expect(folder)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("ftp://example.org/ml.zip", "'ftp://example.org/ml.zip' is no URL"),
        ("file:///etc/passwd", "is no URL that begins with http:// or https://"),
        ("http://", "is no URL"),
        ("http://127.0.0.1:port/", "is no URL"),
        ("http://127.0.0.1:1/ä.zip", "it is no URL"),
        ("http://127.0.0.1/ml.zip#sha256=12", "'sha256=12' is neither md5="),
    ],
)
def test_bad_urls_are_named(folder: Path, url: str, cause: str) -> None:
    """The value is quoted."""
    assert cause in failure(url, folder)


def test_a_truncated_body_is_noticed(body: bytes, folder: Path) -> None:
    """It is asked for again, and given up in the end."""
    cut = Reply(body[:-9], length=len(body))
    with serving(cut, Reply(body)) as server:
        download(server.url, folder, pauses=(0,))
    expect(folder)
    other = folder.with_name("other")
    with serving(cut) as server:
        said = failure(server.url, other)
    assert f"broke after {len(body) - 9} of {len(body)} bytes (3 tries)" in said
    assert len(server.requests) == 3


def test_what_is_missing_is_not_asked_for_again(folder: Path) -> None:
    """404 stays 404."""
    with serving(Reply(status=404)) as server:
        assert "the server answered 404 Not Found; " in failure(server.url, folder)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_busy_server_is_asked_again(body: bytes, folder: Path, status: int) -> None:
    """An error of the server may pass."""
    with serving(Reply(status=status), Reply(body)) as server:
        download(server.url, folder, pauses=(0, 0))
    expect(folder)
    assert len(server.requests) == 2


def test_a_broken_server_is_given_up(folder: Path) -> None:
    """The number of tries is bounded, and told."""
    with serving(Reply(status=500)) as server:
        said = failure(server.url, folder)
    assert "the server answered 500 Internal Server Error (3 tries)" in said
    assert len(server.requests) == 3


def test_a_silent_server_is_given_up(body: bytes, folder: Path) -> None:
    """A time-out in the middle of the body is one like any other."""
    with serving(Reply(body, seconds=20)) as server:
        assert "fell silent (3 tries)" in failure(server.url, folder, timeout=0.1)


def test_a_refused_connection_is_named(folder: Path) -> None:
    """Nobody listens on that port any more."""
    with serving(Reply()) as server:
        url = server.url
    assert "Connection refused" in failure(url, folder)


def test_a_page_is_no_zip(folder: Path) -> None:
    """A hotel's login page is not unpacked."""
    with serving(Reply(b"<html>Please log in</html>")) as server:
        assert "no zip: it begins with b'<html>Please" in failure(server.url, folder)


def test_a_damaged_zip_is_refused(body: bytes, folder: Path) -> None:
    """Without a checksum, the zip's own are compared."""
    bad = bytearray(body)
    bad[60:64] = b"\0\0\0\0"
    with serving(Reply(bytes(bad))) as server:
        assert "is a damaged zip" in failure(server.url, folder)


def test_a_zip_cannot_write_elsewhere(tmp_path: Path, folder: Path) -> None:
    """Its `../` is refused and nothing is written."""
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../u.data", "evil")
    with serving(Reply((tmp_path / "evil.zip").read_bytes())) as server:
        assert "'../../u.data' leads out" in failure(server.url, folder)
    assert not list(tmp_path.rglob("u.data"))


def test_a_zip_of_something_else_is_refused(tmp_path: Path, folder: Path) -> None:
    """Only a release is put in place."""
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with serving(Reply((tmp_path / "other.zip").read_bytes())) as server:
        assert "found readme.txt" in failure(server.url, folder)


@pytest.mark.parametrize(
    ("is_trusted", "cause"),
    [(True, "certificate has expired"), (False, "")],
)
def test_a_bad_certificate_needs_a_checksum(
    body: bytes,
    folder: Path,
    certificate: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    is_trusted: bool,
    cause: str,
) -> None:
    """Without one nothing is fetched; with the right one it does not matter."""
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("crt.pem")))
    with serving(Reply(body), certificate=certificate) as server:
        said = failure(server.url, folder)
        assert f"its certificate is not valid ({cause}" in said
        assert not server.requests
        wrong = failure(f"{server.url}#{pin(b'')}", folder)
        assert f"expected {pin(b'').partition('=')[2]}" in wrong
        caplog.set_level(logging.WARNING)
        download(f"{server.url}#{pin(body)}", folder)
    expect(folder)
    assert f"the certificate of {server.url} is not valid" in caplog.text


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "data").touch()
    with pytest.raises(BatchError) as caught:
        download("http://127.0.0.1:1/", tmp_path / "data/raw")
    assert f"cannot write into {tmp_path}/data/raw: Not a directory" in str(
        caught.value
    )


@pytest.mark.skipif(
    os.getuid() != 0, reason="NO DISK TO FILL: only root may mount a tiny tmpfs"
)
def test_a_full_disk_is_named(tmp_path: Path, folder: Path, tally: Tally) -> None:
    """The real thing: a disk of 64 KiB."""
    tally.faults(2)
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("NO DISK TO FILL: mount is not permitted here")
    try:
        with serving(Reply(os.urandom(2**20))) as server:
            said = failure(server.url, folder)
        assert f"cannot write into {folder}: No space left on device" in said
        with serving(Reply(big_zip(tmp_path))) as server:
            said = failure(server.url, folder)
        assert f"into {folder}: No space left on device; free some space" in said
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def big_zip(folder: Path) -> bytes:
    """Zip a release that is far smaller packed than unpacked."""
    ratings: list[raw.Row] = [(user, 10, 3.0, 7) for user in range(1, 20_000)]
    made = raw.tab(folder / "big", ratings=ratings)
    with zipfile.ZipFile(folder / "big.zip", "w", zipfile.ZIP_LZMA) as archive:
        for path in made.iterdir():
            archive.write(path, path.name)
    return (folder / "big.zip").read_bytes()


def test_a_limit_on_files_is_named(folder: Path, tally: Tally) -> None:
    """A quota does what a full disk does."""
    tally.faults()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(Reply(os.urandom(2**20))) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
        try:
            said = failure(server.url, folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"cannot write into {folder}: File too large" in said


def start(url: str, folder: Path) -> subprocess.Popen[bytes]:
    """Download in a process of its own."""
    code = (
        "import sys, pathlib, batch.ingest.download as d\n"
        "d.download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, url, str(folder)]
    return subprocess.Popen(command, cwd=ROOT)


def wait_for(path: Path) -> None:
    """Wait until a file holds something."""
    end = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.005)


def test_a_killed_download_starts_over(body: bytes, folder: Path) -> None:
    """What it left is never read, and gone after the next."""
    padded = body + bytes(2**20)
    with serving(Reply(padded, seconds=60), Reply(body)) as server:
        process = start(server.url, folder)
        wait_for(folder / PARTIAL / "release.zip")
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert [path.name for path in folder.iterdir()] == [PARTIAL]
        with pytest.raises(BatchError, match="no MovieLens release"):
            release.find(folder, folder / "unpacked")
        download(server.url, folder)
    expect(folder)


def test_a_download_killed_while_unpacking_starts_over(
    body: bytes, folder: Path
) -> None:
    """A whole release in the hidden folder is still not used."""
    raw.tab(folder / PARTIAL / "unpacked" / "ml-100k", ratings=[(9, 9, 1.0, 9)])
    with serving(Reply(body)) as server:
        download(server.url, folder)
    expect(folder)


def test_two_downloads_at_once_make_one(body: bytes, folder: Path) -> None:
    """The second waits and finds what the first has fetched."""
    with serving(Reply(body, seconds=0.5)) as server:
        processes = [start(server.url, folder) for _ in range(2)]
        assert [process.wait() for process in processes] == [0, 0]
    expect(folder)
    assert len(server.requests) == 1
