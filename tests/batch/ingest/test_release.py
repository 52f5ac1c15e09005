import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from batch.errors import BatchError
from batch.ingest import release
from tests.sql import raw

LAYOUTS = {"ml-100k": "tab", "ml-1m": "dat", "ml-10m": "dat", "ml-csv": "csv"}

every_format = pytest.mark.parametrize("name", raw.WRITERS)


def find(path: Path) -> release.Release:
    """Find a release, unpacking beside it."""
    return release.find(path, path.parent / "unpacked")


def failure(path: Path) -> str:
    """Expect no release, and return the one line that says why."""
    with pytest.raises(BatchError) as caught:
        find(path)
    said = str(caught.value)
    assert "\n" not in said
    return said


def archive_of(path: Path, members: dict[str, bytes]) -> Path:
    """Write a zip with these members and a release."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@every_format
@pytest.mark.parametrize("inner", [".", "ml"])
@pytest.mark.parametrize("packed", [False, True])
def test_releases_are_recognised(
    tmp_path: Path, name: str, inner: str, packed: bool
) -> None:
    """In a folder or a zip, at its top or one folder down."""
    folder = tmp_path / "raw"
    path = home = raw.WRITERS[name](folder / inner)
    if packed:
        prefix = "" if inner == "." else "ml/"
        path = raw.zipped(home, tmp_path / "ml.zip", prefix)
        shutil.rmtree(folder)
    else:
        path = folder
    found = find(path)
    assert (found.name, found.layout) == (name, LAYOUTS[name])
    assert all(file.is_file() for file in found.files)
    paths = {value for key, value in found.parameters.items() if "path" in key}
    assert paths == {str(file) for file in found.files}


@every_format
def test_fingerprints_follow_the_content(tmp_path: Path, name: str) -> None:
    """Folder and zip have the same, and each byte of each file matters."""
    folder = raw.WRITERS[name](tmp_path / "raw")
    (folder / "README").write_text("this does not matter")
    packed = raw.zipped(folder, tmp_path / "ml.zip", "ml/")
    found = find(folder)
    before = release.fingerprint(found)
    assert before == release.fingerprint(find(packed))
    (folder / "README").write_text("and may change")
    assert before == release.fingerprint(find(folder))
    for path in found.files:
        content = path.read_bytes()
        path.write_bytes(content[:-2] + b"7\n")
        assert before != release.fingerprint(find(folder))
        path.write_bytes(content)
    assert before == release.fingerprint(find(folder))


@pytest.mark.parametrize(
    ("write", "encoding", "expected"),
    [
        (raw.tab, "latin-1", "latin-1"),
        (raw.tab, "utf-8", "utf-8"),
        (raw.dat, "latin-1", "latin-1"),
        (raw.dat, "utf-8", "utf-8"),
        (raw.csv, "utf-8", "utf-8"),
        (raw.csv, "latin-1", "utf-8"),
    ],
)
def test_the_encoding_is_that_of_the_file_or_the_format(
    tmp_path: Path, write: Callable[..., Path], encoding: str, expected: str
) -> None:
    """Old releases are Latin-1 unless saved anew; a CSV is UTF-8 or wrong."""
    found = find(write(tmp_path, encoding=encoding))
    assert found.parameters["encoding"] == expected


def test_unfinished_downloads_are_not_seen(tmp_path: Path) -> None:
    """Hidden folders and those of macOS are no releases."""
    raw.tab(tmp_path / "raw/ml-100k")
    raw.tab(tmp_path / "raw/.download/ml-100k")
    raw.tab(tmp_path / "raw/__MACOSX")
    assert find(tmp_path / "raw").files[0].parent == tmp_path / "raw/ml-100k"
    shutil.rmtree(tmp_path / "raw/ml-100k")
    assert "no MovieLens release" in failure(tmp_path / "raw")


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    """The message says what would do."""
    said = failure(tmp_path / "nowhere")
    assert f"{tmp_path}/nowhere does not exist" in said
    assert "ml-100k: u.data, u.item, u.user" in said


def test_a_folder_with_nothing_known_is_described(tmp_path: Path) -> None:
    """The message says what is there and what each release needs."""
    assert f"no MovieLens release in {tmp_path}: found nothing" in failure(tmp_path)
    (tmp_path / "links.csv").write_text("x")
    (tmp_path / "old").mkdir()
    said = failure(tmp_path)
    assert "found links.csv, old/; wanted is" in said
    assert "ml-1m: ratings.dat, movies.dat, users.dat" in said
    assert "ml-csv: ratings.csv, movies.csv" in said


def test_a_full_folder_is_described_in_short(tmp_path: Path) -> None:
    """Ten names are enough."""
    for number in range(15):
        (tmp_path / f"{number:02}.txt").touch()
    assert "09.txt and 5 more" in failure(tmp_path)


def test_two_releases_in_one_folder_are_ambiguous(tmp_path: Path) -> None:
    """Nobody can tell which is meant."""
    raw.csv(raw.tab(tmp_path))
    said = failure(tmp_path)
    assert f"{tmp_path} is ambiguous" in said
    assert "ratings.csv" in said
    assert "u.data" in said


def test_two_folders_with_releases_are_ambiguous(tmp_path: Path) -> None:
    """The message names both."""
    raw.tab(tmp_path / "ml-100k")
    raw.csv(tmp_path / "ml-25m")
    assert "ml-100k and ml-25m; name one of them" in failure(tmp_path)


@every_format
def test_a_missing_companion_is_named(tmp_path: Path, name: str) -> None:
    """Each file of a release is needed, but for the users of ml-1m."""
    for path in find(raw.WRITERS[name](tmp_path)).files:
        content = path.read_bytes()
        path.unlink()
        if path.name == "users.dat":
            assert find(tmp_path).name == "ml-10m"
        else:
            assert f"{tmp_path} lacks {path.name}: " in failure(tmp_path)
        path.write_bytes(content)


@every_format
def test_an_empty_file_is_named(tmp_path: Path, name: str) -> None:
    """A download that broke off at once leaves such files."""
    for path in find(raw.WRITERS[name](tmp_path)).files:
        content = path.read_bytes()
        path.write_bytes(b"")
        assert f"{path} is empty" in failure(tmp_path)
        path.write_bytes(content)


def test_a_csv_without_its_header_is_refused(tmp_path: Path) -> None:
    """Its first rating would be taken for one and lost."""
    raw.csv(tmp_path)
    (tmp_path / "ratings.csv").write_text("1,10,5,881250949\n")
    said = failure(tmp_path)
    assert f"{tmp_path}/ratings.csv, line 1: it begins with '1,10,5,881250949'" in said
    assert "not with the header 'userId,movieId,rating,timestamp'" in said


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A permission that is missing is said, not traced."""
    raw.tab(tmp_path)
    (tmp_path / "u.item").chmod(0)
    assert "u.item" in failure(tmp_path)


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    """The fingerprint is taken later than the files are found."""
    found = find(raw.tab(tmp_path))
    (tmp_path / "u.data").unlink()
    with pytest.raises(BatchError, match=r"cannot read .*u\.data"):
        release.fingerprint(found)


def test_a_file_that_is_no_zip_is_described(tmp_path: Path) -> None:
    """Web pages that were saved as a zip are common."""
    path = tmp_path / "ml.zip"
    path.write_bytes(b"<!doctype html>")
    assert f"{path} is no folder and no zip" in failure(path)
    assert "b'<!doctype html>'" in failure(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_zip_is_refused(tmp_path: Path, share: float) -> None:
    """Half a download is none."""
    path = raw.zipped(raw.tab(tmp_path / "raw"), tmp_path / "ml.zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert f"{path} is a damaged zip" in failure(path)


def test_a_zip_with_wrong_bytes_is_refused(tmp_path: Path) -> None:
    """Its own checksums are compared, and what was unpacked is gone."""
    path = raw.zipped(raw.tab(tmp_path / "raw"), tmp_path / "ml.zip")
    content = bytearray(path.read_bytes())
    content[60:64] = b"\0\0\0\0"
    path.write_bytes(content)
    assert f"{path} is a damaged zip" in failure(path)
    assert not list((tmp_path / "unpacked").iterdir())


def test_a_zip_with_nothing_known_is_described(tmp_path: Path) -> None:
    """The message names the zip, not where it was unpacked."""
    path = archive_of(tmp_path / "ml.zip", {"readme.txt": b"hello"})
    said = failure(path)
    assert f"no MovieLens release in {path}: found readme.txt" in said


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../u.data", "leads out of the folder"),
        ("ml/../../u.data", "leads out of the folder"),
        ("/etc/u.data", "is not a relative name"),
        ("C:/u.data", "is not a relative name"),
        ("ml\\u.data", "is not a relative name"),
    ],
)
def test_unsafe_names_are_refused(tmp_path: Path, name: str, fault: str) -> None:
    """Nothing is written, not even the safe members."""
    path = tmp_path / "ml.zip"
    archive_of(path, {"u.item": b"1", name: b"1"})
    assert f"{path} is unsafe: {name!r} {fault}" in failure(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ml.zip", "unpacked"]
    assert not list((tmp_path / "unpacked").iterdir())


def test_links_are_refused(tmp_path: Path) -> None:
    """A link could make the next member land anywhere."""
    path = tmp_path / "ml.zip"
    link = zipfile.ZipInfo("u.data")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "'u.data' is a link" in failure(path)


def test_repeated_members_are_refused(tmp_path: Path) -> None:
    """A second member of the same name overwrites nothing."""
    path = archive_of(tmp_path / "ml.zip", {"u.data": b"1"})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("u.data", b"2")
    assert f"{path} is unsafe: 'u.data' is in it twice" in failure(path)
    assert not list((tmp_path / "unpacked").iterdir())


def test_bombs_are_refused(tmp_path: Path) -> None:
    """Dense zips and those that claim too much are not unpacked."""
    path = tmp_path / "ml.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("u.data", bytes(65 * 2**20))
    assert "would unpack to 68157440" in failure(path)
    raw.zipped(raw.tab(tmp_path / "raw"), path)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    struct.pack_into("<I", content, entry + 24, 2**32 - 2)
    path.write_bytes(content)
    assert "is unsafe" in failure(path)
    assert not list((tmp_path / "unpacked").iterdir())


def test_a_zip_is_unpacked_once(tmp_path: Path) -> None:
    """The same content is reused; what nobody used for a day makes room."""
    path = raw.zipped(raw.tab(tmp_path / "raw"), tmp_path / "ml.zip")
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked/notes.txt").touch()
    first = find(path).files[0]
    born = first.stat().st_ino, first.stat().st_mtime_ns
    again = find(Path(shutil.copy(path, tmp_path / "copy.zip"))).files[0]
    assert (again, again.stat().st_ino, again.stat().st_mtime_ns) == (first, *born)
    other = find(raw.zipped(raw.csv(tmp_path / "csv"), tmp_path / "csv.zip")).files[0]
    assert first.exists()  # somebody may be reading it
    os.utime(first.parent, (0, 0))
    find(tmp_path / "csv.zip")
    left = sorted(entry.name for entry in (tmp_path / "unpacked").iterdir())
    assert left == [other.parent.name, "notes.txt"]


def test_interrupted_unpacking_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed run left is removed, not read."""
    path = raw.zipped(raw.tab(tmp_path / "raw"), tmp_path / "ml.zip")
    whole = release.fingerprint(find(path))
    home = find(path).files[0].parent
    (home / "u.data").write_bytes(b"1\t1\t1\t1\n")
    home.rename(home.with_name(f".{home.name}"))
    assert release.fingerprint(find(path)) == whole
    assert [p.name for p in (tmp_path / "unpacked").iterdir()] == [home.name]
