"""Fetch MovieLens: to a hidden name, checked, unpacked, moved into place at once."""

import hashlib
import http.client
import logging
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urldefrag, urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    HTTPSHandler,
    Request,
    build_opener,
)

from batch.errors import BatchError
from batch.ingest import archive, release
from batch.ingest.pace import Pace, TransientError
from batch.settings import ML_100K_URL, is_url
from lookup.shared.env import without_password

PINNED = {
    # the md5 that GroupLens publishes for it is 0e33842e24a9c977be4e0107933c0723
    ML_100K_URL: "sha256="
    "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
}

REMEDY = (
    "get ml-100k.zip by hand from https://grouplens.org/datasets/movielens/100k/ "
    "and pass it with --raw ml-100k.zip (or MOVIELENS_RAW)"
)

PARTIAL = ".download"
"""The folder for what is under way: on the disk it is bound for, and never read."""

ARCHIVE = "release.zip"

CHECKSUM = re.compile(r"md5=[0-9a-f]{32}|sha256=[0-9a-f]{64}")

BLOCK = 2**18

LARGEST = 2 * 2**30
"""Bytes of a zip: eight times the largest release."""

LENGTH = re.compile(r"[0-9]{1,18}")

BUSY = (408, 429)
"""What servers say, beside 5xx, when another try may help."""

Progress = Callable[[int, int | None], None]
"""Told the bytes that came and, where the server says so, how many there are."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What to fetch, and how."""

    url: str
    checksum: str | None
    timeout: float
    progress: Progress | None

    def __str__(self) -> str:
        return without_password(self.url)


def download(
    url: str,
    folder: Path,
    *,
    checksum: str | None = None,
    timeout: float = 30,
    pauses: tuple[float, ...] = (1, 4),
    progress: Progress | None = None,
) -> None:
    """Fetch a release into `folder`, unless there is one.

    The checksum, `md5=…` or `sha256=…`, may also be the URL's fragment, and is known
    for GroupLens' ml-100k.zip. After each of the `pauses` comes another try.

    Raises:
        BatchError: with the URL, the cause and how to do without. Nothing is left.
    """
    with explained(without_password(url), folder):
        folder.mkdir(parents=True, exist_ok=True)
        with archive.locked(folder):
            remove(folder / PARTIAL)
            if is_empty(folder):
                source = source_of(url, checksum, timeout, progress)
                log.info("downloading %s into %s", source, folder)
                with scratch(folder / PARTIAL) as partial:
                    fetch(source, partial / ARCHIVE, pauses)
                    install(partial, folder)
    release.find(folder, folder / PARTIAL)


@contextmanager
def explained(url: str, folder: Path) -> Iterator[None]:
    """Name the URL in each failure, and what to do about it."""
    try:
        yield
    except BatchError as error:
        raise BatchError(f"cannot download {url}: {error}; {REMEDY}") from error
    except OSError as error:
        remedy = "free some space there, or " * (error.errno in archive.FULL)
        raise BatchError(
            f"cannot download {url}: cannot write into {folder}: "
            f"{error.strerror or error}; {remedy}{REMEDY}"
        ) from error


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Lend a new folder, which a run that is killed leaves to the next to remove."""
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def is_empty(folder: Path) -> bool:
    """Tell whether a folder is missing, or holds nothing but hidden files."""
    return not folder.exists() or (
        folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir())
    )


def source_of(
    url: str, checksum: str | None, timeout: float, progress: Progress | None
) -> Source:
    """Check the URL, and find the checksum that it is to have.

    Raises:
        BatchError: the URL or the checksum is none.
    """
    plain, fragment = urldefrag(url)
    if not is_url(plain):
        shown = without_password(plain)
        raise BatchError(
            f"{shown!r} is no URL that begins with http:// or https:// and has a host, "
            "and neither user nor password"
        )
    pinned = checksum or fragment.lower() or PINNED.get(plain)
    if pinned and not CHECKSUM.fullmatch(pinned):
        raise BatchError(f"{pinned!r} is neither md5=<32 hex> nor sha256=<64 hex>")
    return Source(plain, pinned, timeout, progress)


def install(partial: Path, folder: Path) -> None:
    """Unpack what came beside its destination, then move it there in one step.

    Raises:
        BatchError: what came is no zip or no release.
    """
    came, unpacked = partial / ARCHIVE, partial / "unpacked"
    archive.check_zip(came)
    archive.unpack(came, unpacked)
    found = release.locate(unpacked, shown=came)
    home = found.files[0].parent
    home.replace(folder / (found.name if home == unpacked else home.name))


def fetch(source: Source, target: Path, pauses: tuple[float, ...]) -> None:
    """Fetch a file, with another try after each pause.

    Raises:
        BatchError: the last try failed, or one in a way that another would not mend.
    """
    for pause in pauses:
        try:
            fetch_once(source, target)
        except TransientError as error:
            log.info("%s: %s; next try in %g s", source, error, pause)
            time.sleep(pause)
        else:
            return
    try:
        fetch_once(source, target)
    except TransientError as error:
        raise BatchError(f"{error} ({len(pauses) + 1} tries)") from error


def fetch_once(source: Source, target: Path) -> None:
    """Fetch a file and compare its length and checksum.

    Raises:
        BatchError: the server does not have it, or it is not the file expected.
        TransientError: the server or the connection failed.
    """
    algorithm, _, expected = (source.checksum or "sha256=").partition("=")
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    done, pace = 0, Pace()
    with answer(source) as response, target.open("wb") as file:
        length = response.headers.get("Content-Length", "")
        total = int(length) if LENGTH.fullmatch(length) else None
        check_size(total or 0)
        for block in blocks(response):
            file.write(block)
            hasher.update(block)
            done += len(block)
            check_size(done)
            pace.count(len(block))
            if source.progress:
                source.progress(done, total)
    if total is not None and done != total:
        raise TransientError(f"the connection broke after {done} of {total} bytes")
    if expected and hasher.hexdigest() != expected:
        raise BatchError(
            f"the {algorithm} of its {done} bytes is {hasher.hexdigest()}, "
            f"expected {expected}"
        )


def check_size(n_bytes: int) -> None:
    """See that no server fills the disk.

    Raises:
        BatchError: it is larger than any release.
    """
    if n_bytes > LARGEST:
        raise BatchError(f"it has more than {LARGEST:,} bytes, which no release has")


def blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Read an answer piece by piece.

    Raises:
        TransientError: the connection failed.
    """
    with interruptions():
        while block := response.read1(BLOCK):
            yield block


def answer(source: Source) -> http.client.HTTPResponse:
    """Ask the server for the file.

    Raises:
        BatchError: the server does not have it, or is not to be trusted.
        TransientError: the server or the connection failed.
    """
    context = ssl.create_default_context()
    try:
        return ask(source, context)
    except ssl.SSLCertVerificationError as error:
        if not source.checksum:
            raise BatchError(
                f"its certificate is not valid ({error.verify_message}); this matters "
                "less with the file's #sha256=… at the end of the URL"
            ) from error
        log.warning(
            "the certificate of %s is not valid (%s): going on without, since the "
            "file's checksum is known",
            source,
            error.verify_message,
        )
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return ask(source, context)


def ask(source: Source, context: ssl.SSLContext) -> http.client.HTTPResponse:
    """Send the request.

    Raises:
        BatchError: the server does not have it.
        TransientError: the server or the connection failed.
        ssl.SSLCertVerificationError: the server is not to be trusted.
    """
    # source_of has seen to it that the URL is one of the web
    request = Request(source.url, headers={"User-Agent": "movielens-xgb"})  # noqa: S310
    guard = Guarded(is_pinned=source.checksum is not None)
    opener = build_opener(HTTPSHandler(context=context), guard)
    with interruptions():
        response: http.client.HTTPResponse = opener.open(
            request, timeout=source.timeout
        )
        return response


class Guarded(HTTPRedirectHandler):
    """Follows no server to where anybody on the way can change what comes."""

    def __init__(self, *, is_pinned: bool) -> None:
        self.is_pinned = is_pinned

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> Request | None:
        """Make the next request.

        Raises:
            BatchError: it would not be encrypted any more, or no HTTP.
        """
        # or urllib would read all that comes with the answer, however much it is
        fp.close()
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https"):
            raise BatchError(
                f"it leads to {without_password(newurl)!r}, no URL of HTTP"
            )
        if req.type == "https" and scheme == "http" and not self.is_pinned:
            raise BatchError(
                f"it leads to {without_password(newurl)!r}, which is not encrypted; "
                "this matters less with the file's #sha256=… at the end of the URL"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def interruptions() -> Iterator[None]:
    """Tell the faults that may pass from those that stay.

    Raises:
        BatchError: the server answered, and will not answer otherwise.
        TransientError: the server or the connection failed.
        ssl.SSLCertVerificationError: the server is not to be trusted.
    """
    try:
        yield
    except HTTPError as error:
        said = f"the server answered {error.code} {error.reason}"
        if error.code >= 500 or error.code in BUSY:
            raise TransientError(said) from error
        raise BatchError(said) from error
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise error.reason from error
        raise TransientError(str(error.reason)) from error
    except (http.client.InvalidURL, ValueError) as error:
        raise BatchError(f"it is no URL: {error}") from error
    except TimeoutError as error:
        raise TransientError("the server fell silent") from error
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(f"the connection broke: {error}") from error
