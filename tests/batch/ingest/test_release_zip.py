import os
import shutil
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from batch.errors import BatchError
from batch.ingest import release, release_zip
from tests.sql import raw


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Zip a release."""
    return raw.zipped(raw.tab(tmp_path / "raw"), tmp_path / "ml.zip")


def refused(archive: Path) -> str:
    """Expect a zip to be refused, and nothing of it to be left."""
    unpacked = archive.parent / "unpacked"
    with pytest.raises(BatchError) as caught:
        release.find(archive, unpacked)
    assert not list(unpacked.iterdir())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def add(archive: Path, name: str, content: str, mode: int = 0o644) -> None:
    """Add a member to a zip."""
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(member, content)


def patch(archive: Path, offset: int, value: bytes) -> None:
    """Overwrite bytes of the first entry in a zip's list of members."""
    content = archive.read_bytes()
    at = content.index(b"PK\x01\x02") + offset
    archive.write_bytes(content[:at] + value + content[at + len(value) :])


def test_only_the_files_of_the_release_are_extracted(packed: Path) -> None:
    """No other member is written anywhere, whatever its name."""
    names = ("README", "../u.data", "a/../../u.item", "/etc/u.user", "a/b/u.data")
    for name in (*names, "C:/x", "ml\\u.data", "__MACOSX/u.data", ".b/u.data"):
        add(packed, name, "evil")
    add(packed, "link", "/etc", stat.S_IFLNK | 0o777)
    (packed.parent / "raw").rename(packed.parent / "made")
    found = release.find(packed, packed.parent / "unpacked")
    home = found.files[0].parent
    assert sorted(home.iterdir()) == list(found.files)
    assert found.files[0].read_text().splitlines() == raw.joined(raw.RATINGS, "\t")
    assert sorted(path.name for path in packed.parent.iterdir()) == [
        "made",
        "ml.zip",
        "unpacked",
    ]


def test_a_link_is_extracted_as_a_file(tmp_path: Path) -> None:
    """Its target is its content, and no target is followed."""
    folder = raw.tab(tmp_path / "raw")
    (folder / "u.data").unlink()
    packed = raw.zipped(folder, tmp_path / "ml.zip")
    add(packed, "u.data", "/etc/passwd", stat.S_IFLNK | 0o777)
    path = release.find(packed, tmp_path / "unpacked").files[0]
    assert not path.is_symlink()
    assert path.read_text() == "/etc/passwd"


def test_zip64_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ml.zip"
    with zipfile.ZipFile(path, "w") as made:
        for source in raw.tab(tmp_path / "raw").iterdir():
            with made.open(source.name, "w", force_zip64=True) as file:
                file.write(source.read_bytes())
    assert release.find(path, tmp_path / "unpacked").name == "ml-100k"


@pytest.mark.parametrize("content", [b"<!doctype html>", b"\x1f\x8b\x08\0", b""])
def test_other_files_are_no_zips(tmp_path: Path, content: bytes) -> None:
    """Web pages that were saved as a zip are common."""
    path = tmp_path / "ml.zip"
    path.write_bytes(content)
    assert f"{path} is not a complete zip: it begins {content!r}" in refused(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_zip_is_refused(packed: Path, share: float) -> None:
    os.truncate(packed, int(packed.stat().st_size * share))
    assert f"{packed} is not a complete zip: it begins b'PK" in refused(packed)


@pytest.mark.parametrize(
    ("offset", "value", "cause"),
    [
        (8, struct.pack("<H", 1), "is encrypted, password required"),
        (24, struct.pack("<I", 5), "Bad CRC-32"),
    ],
    ids=["encrypted", "longer than it says"],
)
def test_members_that_cannot_be_read_are_refused(
    packed: Path, offset: int, value: bytes, cause: str
) -> None:
    patch(packed, offset, value)
    message = refused(packed)
    assert f"{packed} cannot be unpacked: " in message
    assert cause in message


def test_a_bomb_is_refused_while_it_is_copied(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files together count, whatever sizes the zip claims."""
    size = sum(path.stat().st_size for path in (packed.parent / "raw").iterdir())
    monkeypatch.setattr(release_zip, "MAX_BYTES", size - 1)
    assert f"its files have more than {size - 1:,} bytes" in refused(packed)
    monkeypatch.setattr(release_zip, "MAX_BYTES", size)
    release.find(packed, packed.parent / "unpacked")


def test_a_zip_of_something_else_is_described(tmp_path: Path) -> None:
    path = tmp_path / "ml.zip"
    add(path, "inner.zip", "")
    add(path, "readme.txt", "hello")
    message = refused(path)
    assert (
        f"no MovieLens release in {path}: found inner.zip, readme.txt, but" in message
    )


def test_a_zip_is_unpacked_once(tmp_path: Path, packed: Path) -> None:
    """The same content is reused; folders unused for a day are removed."""

    def find(path: Path) -> Path:
        return release.find(path, tmp_path / "unpacked").files[0]

    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked/notes.txt").touch()
    first = find(packed)
    born = first.stat().st_ino, first.stat().st_mtime_ns
    again = find(Path(shutil.copy(packed, tmp_path / "copy.zip")))
    assert (again, again.stat().st_ino, again.stat().st_mtime_ns) == (first, *born)
    other = find(raw.zipped(raw.csv(tmp_path / "csv"), tmp_path / "csv.zip"))
    assert first.exists()  # another batch may be reading it
    os.utime(first.parent, (0, 0))
    find(tmp_path / "csv.zip")
    left = sorted(entry.name for entry in (tmp_path / "unpacked").iterdir())
    assert left == [other.parent.name, "notes.txt"]


def test_interrupted_unpacking_is_not_used(tmp_path: Path, packed: Path) -> None:
    whole = release.fingerprint(release.find(packed, tmp_path / "unpacked"))
    home = release.find(packed, tmp_path / "unpacked").files[0].parent
    (home / "u.data").write_bytes(b"1\t1\t1\t1\n")
    home.rename(home.with_name(f".{home.name}"))
    found = release.find(packed, tmp_path / "unpacked")
    assert release.fingerprint(found) == whole
    assert [path.name for path in (tmp_path / "unpacked").iterdir()] == [home.name]
