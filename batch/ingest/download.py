"""Download a release: retried, checked, and moved into place when it is complete."""

import hashlib
import http.client
import logging
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urldefrag
from urllib.request import BaseHandler, Request, build_opener

from batch import warehouse
from batch.errors import DISK_FULL_ERRNOS, BatchError
from batch.ingest import release, release_zip
from batch.settings import ML_100K_URL
from lookup.shared.env import without_password

CHECKSUMS = {
    # the md5 that GroupLens publishes for it is 0e33842e24a9c977be4e0107933c0723
    ML_100K_URL: "sha256="
    "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
}

CHECKSUM = re.compile(r"md5=[0-9a-f]{32}|sha256=[0-9a-f]{64}")

BY_HAND = (
    "get ml-100k.zip by hand from https://grouplens.org/datasets/movielens/100k/ "
    "and pass it with --raw ml-100k.zip (or MOVIELENS_RAW)"
)

PARTIAL = ".download"
"""The hidden folder of an unfinished download, inside the destination."""

MAX_BYTES = 2 * 2**30
"""Limit of a zip: eight times the largest release."""

Progress = Callable[[int, int | None], None]
"""Receives the bytes downloaded so far and their total, if the server gives it."""

log = logging.getLogger(__name__)


def download(
    url: str,
    folder: Path,
    *,
    timeout: float = 30,
    pauses: tuple[float, ...] = (1, 4),
    progress: Progress | None = None,
) -> None:
    """Download a release into `folder`, unless the folder holds one.

    The URL's fragment may be the file's checksum, `#md5=…` or `#sha256=…`. After each
    of the `pauses`, it tries again. A failed download leaves nothing behind.

    Raises:
        BatchError: with the URL, the cause, and how to get the release by hand.
    """
    shown = without_password(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with warehouse.locked(folder), scratch(folder / PARTIAL) as partial:
            if is_empty(folder):
                log.info("downloading %s into %s", shown, folder)
                fetch(url, partial / "release.zip", timeout, pauses, progress)
                install(partial / "release.zip", folder)
    except BatchError as error:
        raise BatchError(f"cannot download {shown}: {error}; {BY_HAND}") from error
    except OSError as error:
        remedy = "free some space there, or " * (error.errno in DISK_FULL_ERRNOS)
        raise BatchError(
            f"cannot download {shown}: cannot write into {folder}: "
            f"{error.strerror or error}; {remedy}{BY_HAND}"
        ) from error
    release.find(folder, folder / PARTIAL)


def is_empty(folder: Path) -> bool:
    """Return whether a folder is missing, or holds nothing but hidden files."""
    return not folder.exists() or (
        folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir())
    )


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Make an empty folder for a block; first remove what a killed run left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install(archive: Path, folder: Path) -> None:
    """Extract a downloaded zip next to it, then move its release into `folder`."""
    unpacked = archive.with_name("unpacked")
    release_zip.extract(archive, unpacked, release.FILE_NAMES)
    found = release.locate(unpacked)
    home = found.files[0].parent
    home.replace(folder / (found.name if home == unpacked else home.name))


def fetch(
    url: str,
    target: Path,
    timeout: float,
    pauses: tuple[float, ...],
    progress: Progress | None,
) -> None:
    """Download a file, with another try after each pause, and compare its checksum."""
    url, fragment = urldefrag(url)
    checksum = fragment.lower() or CHECKSUMS.get(url)
    if checksum and not CHECKSUM.fullmatch(checksum):
        raise BatchError(f"{checksum!r} is neither md5=<32 hex> nor sha256=<64 hex>")
    for pause in (*pauses, None):
        try:
            fetch_once(url, target, timeout, progress)
            break
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = transient_cause(error)
            if pause is None:
                raise BatchError(f"{cause} ({len(pauses) + 1} tries)") from error
            log.info("%s: %s; next try in %g s", without_password(url), cause, pause)
            time.sleep(pause)
    if checksum:
        check_content(target, checksum)


def fetch_once(
    url: str, target: Path, timeout: float, progress: Progress | None
) -> None:
    """Download a file, and check its length."""
    # settings.download_url has checked the scheme
    request = Request(url, headers={"User-Agent": "movielens-xgb"})  # noqa: S310
    opener = build_opener(*[EncryptedOnly] * (request.type == "https"))
    with opener.open(request, timeout=timeout) as response, target.open("wb") as file:
        received, total = 0, response.length
        while block := response.read1(2**18):
            received += len(block)
            if max(received, total or 0) > MAX_BYTES:
                raise BatchError(f"it has more than {MAX_BYTES:,} bytes")
            file.write(block)
            if progress:
                progress(received, total)
    if total is not None and received != total:
        raise ConnectionError(f"it ended after {received} of {total} bytes")


class EncryptedOnly(BaseHandler):
    """Refuses to follow redirects from https to http."""

    def http_request(self, request: Request) -> Request:
        """Refuse a request that is not encrypted."""
        shown = without_password(request.full_url)
        raise BatchError(f"it redirects to {shown!r}, which is not encrypted")


def transient_cause(error: Exception) -> str:
    """Describe an error that a retry may avoid; raise an error that it would not."""
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
        raise error
    if isinstance(error, HTTPError):
        cause = f"the server answered {error.code} {error.reason}"
        if error.code < 500 and error.code not in (408, 429):
            raise BatchError(cause) from error
        return cause
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        cause = f"its certificate is not valid ({reason.verify_message})"
        raise BatchError(cause) from error
    if isinstance(error, http.client.InvalidURL | ValueError):
        raise BatchError(f"it is no URL: {error}") from error
    if isinstance(reason, TimeoutError):
        return "the server fell silent"
    return f"the connection broke: {reason}"


def check_content(path: Path, checksum: str) -> None:
    """Compare a file with its checksum."""
    algorithm, _, expected = checksum.partition("=")
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, algorithm).hexdigest()
    if actual != expected:
        raise BatchError(
            f"the {algorithm} of its {path.stat().st_size} bytes is {actual}, "
            f"expected {expected}"
        )
