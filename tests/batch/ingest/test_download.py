import hashlib
import os
import resource
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import batch.ingest.download
from batch.errors import BatchError
from batch.ingest import release
from batch.ingest.download import BY_HAND, PARTIAL, download
from tests.batch.ingest.file_server import Reply, serving
from tests.sql import raw


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
    """Make a key and a certificate that signs itself, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 "
        "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out crt.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    both = (folder / "key.pem").read_text() + (folder / "crt.pem").read_text()
    (folder / "both.pem").write_text(both)
    return folder / "both.pem"


def failure(url: str, folder: Path, timeout: float = 5) -> str:
    """Expect no download, nothing left of it, and one line that helps."""
    with pytest.raises(BatchError) as caught:
        download(url, folder, timeout=timeout, pauses=(0, 0))
    message = str(caught.value)
    assert message.startswith(f"cannot download {url}: ")
    assert message.endswith(BY_HAND)
    assert "\n" not in message
    assert not folder.exists() or not list(folder.iterdir())
    return message


def expect(folder: Path) -> None:
    """Expect the release of tests/sql/raw.py and nothing else."""
    assert [path.name for path in folder.iterdir()] == ["ml-100k"]
    content = (folder / "ml-100k/u.data").read_text()
    assert content.splitlines() == raw.joined(raw.RATINGS, "\t")
    assert release.find(folder, folder / "unpacked").name == "ml-100k"


@pytest.mark.parametrize("length", [None, -1, "9" * 5000])
def test_a_release_is_put_in_place_once(
    body: bytes, folder: Path, length: int | str | None
) -> None:
    """The server need not give a length, or one that Python can read."""
    steps: list[tuple[int, int | None]] = []
    with serving(Reply(body, length=length)) as server:
        for _ in range(2):
            download(server.url, folder, progress=lambda *step: steps.append(step))
    expect(folder)
    assert steps[-1] == (len(body), len(body) if length is None else None)
    assert server.requests == ["/ml-100k.zip"]


def test_a_zip_without_a_folder_gets_one(tmp_path: Path, folder: Path) -> None:
    packed = raw.zipped(raw.csv(tmp_path / "made"), tmp_path / "made.zip")
    with serving(Reply(packed.read_bytes())) as server:
        download(server.url, folder)
    assert (folder / "ml-csv/ratings.csv").is_file()


def test_redirects_are_followed(body: bytes, folder: Path) -> None:
    with serving(Reply(body)) as last, serving(Reply(status=301, to=last.url)) as first:
        download(first.url, folder)
    expect(folder)


def test_redirects_do_not_leave_https(
    body: bytes, folder: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("crt.pem")))
    with (
        serving(Reply(body)) as last,
        serving(Reply(status=302, to=last.url), certificate=certificate) as first,
    ):
        assert f"it redirects to '{last.url}', which is not encrypted" in failure(
            first.url, folder
        )
        assert not last.requests


def test_a_bad_certificate_is_refused(folder: Path, certificate: Path) -> None:
    with serving(Reply(), certificate=certificate) as server:
        assert "its certificate is not valid (self" in failure(server.url, folder)
        assert not server.requests


@pytest.mark.parametrize("length", [None, -1])
def test_a_file_larger_than_any_release_is_refused(
    body: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    monkeypatch.setattr(batch.ingest.download, "MAX_BYTES", len(body) - 1)
    with serving(Reply(body, length=length)) as server:
        assert f"more than {len(body) - 1:,} bytes" in failure(server.url, folder)
    assert len(server.requests) == 1


def test_a_folder_with_something_else_is_left_alone(folder: Path) -> None:
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
    """A wrong one is not tried again."""
    expected, actual = (
        hashlib.new(algorithm, content).hexdigest() for content in (body, body + b"x")
    )
    with serving(Reply(body + b"x"), Reply(body)) as server:
        url = f"{server.url}#{algorithm}={expected}"
        assert f"bytes is {actual}, expected {expected}" in failure(url, folder)
        assert len(server.requests) == 1
        download(url, folder)
    expect(folder)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://127.0.0.1:port/", "it is no URL"),
        ("http://127.0.0.1:1/ä.zip", "it is no URL"),
        ("http://127.0.0.1:1/ml.zip", "Connection refused"),
        ("http://127.0.0.1/ml.zip#sha256=12", "'sha256=12' is neither md5="),
    ],
)
def test_bad_urls_are_named(folder: Path, url: str, cause: str) -> None:
    assert cause in failure(url, folder)


@pytest.mark.parametrize(
    ("reply", "cause", "n_tries"),
    [
        (Reply(status=404), "the server answered 404 Not Found; ", 1),
        (Reply(status=302, to="http://["), "it is no URL", 1),
        (Reply(status=500), "the server answered 500 Internal Server Error", 3),
        (Reply(status=503), "the server answered 503 ", 3),
        (Reply(status=429), "the server answered 429 ", 3),
        (Reply(b"x" * 20, length=29), "it ended after 20 of 29 bytes", 3),
        (Reply(b"x" * 20, seconds=20), "the server fell silent", 3),
    ],
)
def test_only_what_may_pass_is_tried_again(
    body: bytes, folder: Path, reply: Reply, cause: str, n_tries: int
) -> None:
    with serving(reply) as server:
        message = failure(server.url, folder, timeout=0.3)
    assert cause in message
    assert len(server.requests) == n_tries
    assert (" (3 tries); " in message) == (n_tries == 3)
    if n_tries == 3:
        with serving(reply, Reply(body)) as server:
            download(server.url, folder, timeout=0.3, pauses=(0,))
        expect(folder)


@pytest.mark.parametrize("is_page", [True, False])
def test_only_a_whole_zip_is_put_in_place(
    body: bytes, folder: Path, is_page: bool
) -> None:
    """Neither a hotel's login page nor a damaged zip; test_release_zip has others."""
    content = b"<html>Please" if is_page else body[:60] + bytes(4) + body[64:]
    cause = (
        "not a complete zip: it begins b'<html>" if is_page else "cannot be unpacked"
    )
    with serving(Reply(content)) as server:
        assert cause in failure(server.url, folder)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    cause = f"cannot write into {tmp_path}/data/raw: Not a directory"
    with pytest.raises(BatchError, match=cause):
        download("http://127.0.0.1:1/", tmp_path / "data/raw")


@pytest.mark.skipif(
    os.getuid() != 0, reason="NO DISK TO FILL: only root may mount a tiny tmpfs"
)
def test_a_full_disk_is_named(tmp_path: Path, folder: Path) -> None:
    """A disk of 64 KiB: for the zip, and for its files."""
    ratings: list[raw.Row] = [(user, 10, 3.0, 7) for user in range(1, 20_000)]
    made = raw.tab(tmp_path / "big", ratings=ratings)
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_LZMA) as archive:
        for path in made.iterdir():
            archive.write(path, path.name)
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("NO DISK TO FILL: mount is not permitted here")
    try:
        for content in (os.urandom(2**20), (tmp_path / "big.zip").read_bytes()):
            with serving(Reply(content)) as server:
                assert (
                    f"cannot write into {folder}: No space left on device; free some"
                    in failure(server.url, folder)
                )
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_limit_on_files_is_named(folder: Path) -> None:
    """A quota does what a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(Reply(os.urandom(2**20))) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
        try:
            message = failure(server.url, folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"cannot write into {folder}: File too large" in message


def test_a_killed_download_starts_over(body: bytes, folder: Path) -> None:
    """Even a complete release in the hidden folder is not read."""
    raw.tab(folder / PARTIAL / "unpacked" / "ml-100k", ratings=[(9, 9, 1.0, 9)])
    with pytest.raises(BatchError, match="no MovieLens release"):
        release.find(folder, folder / "unpacked")
    with serving(Reply(body)) as server:
        download(server.url, folder)
    expect(folder)


def test_two_downloads_at_once_make_one(body: bytes, folder: Path) -> None:
    with serving(Reply(body, seconds=0.5)) as server, ThreadPoolExecutor() as threads:
        list(threads.map(download, [server.url] * 2, [folder] * 2))
    expect(folder)
    assert len(server.requests) == 1
