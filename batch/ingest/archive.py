"""Zips, unpacked whole and safely, or not at all."""

import errno
import fcntl
import hashlib
import io
import mmap
import os
import re
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batch.errors import BatchError

LARGEST = 20 * 2**30
"""Bytes that a zip may unpack to: a dozen times the largest release."""

DENSEST = 100
"""Bytes that a byte of a zip may become: MovieLens' own zips reach six."""

ENCRYPTED = 0x1

MOST = 1000
"""Members of a zip; MovieLens' own have two dozen at most."""

LARGEST_READ = 2**24
"""Bytes; the list of a thousand members takes a tenth, and blocks of members too."""

NAMED = b"PK\x01\x02"
"""What each member begins with where a zip names them."""

SMALL = 64 * 2**20
"""Bytes below which it does not matter how dense a zip is."""

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises on damaged, encrypted or strangely compressed members."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a disk that is full, a quota and a limit on files say."""

UNUSED_SECONDS = 24 * 60 * 60
"""After which nobody can still be reading what was unpacked of another zip."""

UNPACKED = re.compile(r"\.?[0-9a-f]{16}")


def digest(path: Path) -> str:
    """Hash the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpacked_once(archive: Path, unpacked: Path) -> Path:
    """Unpack a zip, or find what an earlier run unpacked of the same one.

    Raises:
        BatchError: it is no zip, damaged, unsafe, or there is no room for it.
    """
    check_zip(archive)
    folder = unpacked / digest(archive)[:16]
    try:
        unpacked.mkdir(parents=True, exist_ok=True)
        with locked(unpacked):
            remove_others(unpacked, folder)
            if not folder.is_dir():
                partial = folder.with_name(f".{folder.name}")
                unpack(archive, partial)
                partial.replace(folder)
            os.utime(folder)  # in use
    except OSError as error:
        remedy = "; free some space there" * (error.errno in FULL)
        raise BatchError(
            f"cannot unpack {archive} into {unpacked}: {error}{remedy}"
        ) from error
    return folder


def remove_others(unpacked: Path, folder: Path) -> None:
    """Remove what earlier runs unpacked, or did not finish unpacking."""
    for path in unpacked.iterdir():
        is_old = time.time() - path.stat().st_mtime > UNUSED_SECONDS
        is_partial = path.name.startswith(".")  # of a killed run: we hold the lock
        if path != folder and UNPACKED.fullmatch(path.name) and (is_old or is_partial):
            shutil.rmtree(path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes; a killed one lets go of it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def check_zip(path: Path) -> None:
    """See that a file is a zip that came whole.

    Raises:
        BatchError: with how the file begins.
    """
    if zipfile.is_zipfile(path):
        return
    with path.open("rb") as file:
        head = file.read(40)
    if head.startswith(b"PK"):
        raise BatchError(f"{path} is a damaged zip: its end is missing")
    raise BatchError(f"{path} is no folder and no zip: it begins with {head!r}")


def unpack(archive: Path, target: Path) -> None:
    """Unpack a zip into the new folder `target`, all of it or nothing.

    Raises:
        BatchError: the zip is damaged or would write outside of `target`.
        OSError: the files cannot be written.
    """
    check_directory(archive)
    try:
        with (
            Frugal(archive.open("rb", buffering=0)) as file,
            zipfile.ZipFile(file) as source,
        ):
            check_members(archive, source.infolist())
            target.mkdir(parents=True)
            for member in source.infolist():
                unpack_member(source, member, target)
    except DAMAGE as error:
        shutil.rmtree(target, ignore_errors=True)
        raise BatchError(f"{archive} is a damaged zip: {error}") from error
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def unpack_member(
    source: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path
) -> None:
    """Write one member; its checksum is compared when its last byte is read."""
    path = target / member.filename
    if member.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with source.open(member) as content, path.open("xb") as file:
        shutil.copyfileobj(content, file, 2**20)
        file.flush()
        os.fsync(file.fileno())  # or the rename could outlive it when power is cut


class Frugal(io.BufferedReader):
    """Gives no more at once than a zip's list of members may take.

    zipfile reads all of the list at once, as long as the zip says that it is.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Read some bytes.

        Raises:
            zipfile.BadZipFile: they are too many.
        """
        if size is not None and size > LARGEST_READ:
            raise zipfile.BadZipFile(f"its list of members takes {size:,} bytes")
        return super().read(size)


def check_directory(archive: Path) -> None:
    """Refuse a zip of too many members before zipfile lists them in memory.

    Raises:
        BatchError: there are more than in any release.
    """
    n, at = 0, -1
    with (
        archive.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        # each that zipfile would list begins so; nobody else's word is taken for it
        while (at := content.find(NAMED, at + 1)) >= 0:
            n += 1
            if n > MOST:
                raise BatchError(
                    f"{archive} is unsafe: it has more than {MOST} members"
                )


def check_members(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse a zip whose members are unsafe to write.

    Raises:
        BatchError: with the member and what is wrong with it.
    """
    seen = set[str]()
    for member in members:
        fault = "is in it twice" if member.filename in seen else fault_of(member)
        seen.add(member.filename)
        if fault:
            raise BatchError(f"{archive} is unsafe: {member.filename!r} {fault}")
    size = sum(member.file_size for member in members)
    # members that lie over one another have more bytes than the zip itself
    claimed = sum(member.compress_size for member in members)
    packed = max(1, min(claimed, archive.stat().st_size))
    if size > LARGEST or (size > SMALL and size / packed > DENSEST):
        raise BatchError(
            f"{archive} is unsafe: its {packed} bytes would unpack to {size}"
        )


def fault_of(member: zipfile.ZipInfo) -> str | None:
    """Say what makes a member unsafe to write."""
    name = member.filename
    if name.startswith("/") or "\\" in name or ":" in name.partition("/")[0]:
        return "is not a relative name"
    if ".." in name.split("/"):
        return "leads out of the folder"
    if member.flag_bits & ENCRYPTED:
        return "is encrypted: unpack it by hand and pass the folder"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    return None
