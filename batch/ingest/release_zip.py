"""Extract the files of a release from a zip, and nothing else."""

import hashlib
import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from batch import warehouse
from batch.errors import DISK_FULL_ERRNOS, BatchError

MAX_BYTES = 20 * 2**30
"""Limit of all extracted files together: a dozen times the largest release."""

UNUSED_SECONDS = 24 * 60 * 60
"""The age from which no running batch can still be reading another zip's files."""

UNPACKED = re.compile(r"\.?[0-9a-f]{16}")

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises for damaged, encrypted or strangely compressed members."""


def digest(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def extract_once(archive: Path, unpacked: Path, names: Collection[str]) -> Path:
    """Extract a zip into a folder named for its content, unless that folder exists.

    Raises:
        BatchError: the zip is damaged or holds no release, or the disk is full.
    """
    try:
        unpacked.mkdir(parents=True, exist_ok=True)
        with warehouse.locked(unpacked):
            folder = unpacked / digest(archive)[:16]
            remove_stale(unpacked, folder)
            if not folder.is_dir():
                partial = folder.with_name(f".{folder.name}")
                extract(archive, partial, names)
                partial.replace(folder)
            os.utime(folder)  # keeps it from being removed as stale
    except OSError as error:
        remedy = "; free some space there" * (error.errno in DISK_FULL_ERRNOS)
        raise BatchError(
            f"cannot unpack {archive} into {unpacked}: {error}{remedy}"
        ) from error
    return folder


def remove_stale(unpacked: Path, folder: Path) -> None:
    """Remove unfinished folders, and those of other zips unused for a day."""
    for path in unpacked.iterdir():
        is_old = time.time() - path.stat().st_mtime > UNUSED_SECONDS
        is_partial = path.name.startswith(".")  # left by a killed run: we hold the lock
        if path != folder and UNPACKED.fullmatch(path.name) and (is_old or is_partial):
            shutil.rmtree(path)


def extract(archive: Path, target: Path, names: Collection[str]) -> None:
    """Extract the members with these file names into `target`, all or none of them."""
    if not zipfile.is_zipfile(archive):
        with archive.open("rb") as file:
            head = file.read(40)
        raise BatchError(f"{archive} is not a complete zip: it begins {head!r}")
    try:
        with zipfile.ZipFile(archive) as source:
            left = MAX_BYTES
            for path, member in release_members(source, names).items():
                left -= extract_member(source, member, target / path, left)
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, DAMAGE):
            raise BatchError(f"{archive} cannot be unpacked: {error}") from error
        raise


def release_members(
    source: zipfile.ZipFile, names: Collection[str]
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Find the members with these names at the top of a zip or one folder down.

    A name may be that of a folder of Parquet files.
    """
    members = {
        path: member
        for member in source.infolist()
        if (path := PurePosixPath(member.filename))
        and not member.is_dir()
        and len(path.parts) <= 2 + is_part(path, names)
        and (path.name in names or is_part(path, names))
        # no "..", no "/", and not the __MACOSX that macOS adds
        and not path.parts[0].startswith((".", "/", "__MACOSX"))
    }
    if not members:
        found = ", ".join(sorted(source.namelist())[:10]) or "nothing"
        raise BatchError(
            f"no MovieLens release in {source.filename}: found {found}, but none of "
            f"{', '.join(sorted(names))}"
        )
    return members


def is_part(path: PurePosixPath, names: Collection[str]) -> bool:
    """Return whether a member is one of the Parquet files of a table."""
    return path.suffix == ".parquet" and path.parent.name in names


def extract_member(
    source: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, max_bytes: int
) -> int:
    """Copy at most `max_bytes` of one member to `path`, and return its size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with source.open(member) as content, path.open("xb") as file:
        while block := content.read(2**20):
            size += len(block)
            if size > max_bytes:
                limit = f"its files have more than {MAX_BYTES:,} bytes"
                raise BatchError(f"{source.filename} is too large: {limit}")
            file.write(block)
        file.flush()
        os.fsync(file.fileno())  # or a power cut could keep the rename but not this
    return size
