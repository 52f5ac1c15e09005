"""Tiny disks, which only root may mount."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096
"""Bytes in which a tmpfs counts room."""


@contextmanager
def tiny_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a disk over a folder; its files move there and, at the end, back."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    with tempfile.TemporaryDirectory() as elsewhere:
        away = Path(elsewhere) / folder.name
        shutil.copytree(folder, away)
        if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("NO DISK TO FILL: only root may mount a tiny tmpfs")
        try:
            shutil.copytree(away, folder, dirs_exist_ok=True)
            yield
            shutil.rmtree(away)
            shutil.copytree(folder, away)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
            shutil.rmtree(folder)
            shutil.copytree(away, folder)


@contextmanager
def filled(folder: Path, pages: int = 0) -> Iterator[None]:
    """Fill the disk of a folder but for so many pages, for the length of a block."""
    disk = os.statvfs(folder)
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(max(0, disk.f_bavail - pages) * PAGE))
    try:
        yield
    finally:
        ballast.unlink()
