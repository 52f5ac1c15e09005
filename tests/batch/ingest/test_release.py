import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from batch.errors import BatchError
from batch.ingest import release
from tests.sql import raw

LAYOUTS = {"ml-100k": "tab", "ml-1m": "dat", "ml-10m": "dat", "ml-csv": "csv"}

every_format = pytest.mark.parametrize("name", raw.WRITERS)


def find(path: Path) -> release.Release:
    """Find a release, with `unpacked` next to it."""
    return release.find(path, path.parent / "unpacked")


def failure(path: Path) -> str:
    """Expect no release, and return the one line that says why."""
    with pytest.raises(BatchError) as caught:
        find(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@every_format
@pytest.mark.parametrize("inner", [".", "ml"])
@pytest.mark.parametrize("packed", [False, True])
def test_releases_are_recognised(
    tmp_path: Path, name: str, inner: str, packed: bool
) -> None:
    """In a folder or a zip, at its top or one folder down."""
    path = tmp_path / "raw"
    home = raw.WRITERS[name](path / inner)
    if packed:
        prefix = "" if inner == "." else "ml/"
        path = raw.zipped(home, tmp_path / "ml.zip", prefix)
        shutil.rmtree(tmp_path / "raw")
    found = find(path)
    assert (found.name, found.layout) == (name, LAYOUTS[name])
    assert all(file.is_file() for file in found.files)
    paths = {value for key, value in found.parameters.items() if "path" in key}
    assert paths == {str(file) for file in found.files}


README = "Summary\n=======\n\nThis dataset ({}) describes 5-star rating activity"


@pytest.mark.parametrize(
    ("folder", "readme", "expected"),
    [
        ("ml-25m", None, "ml-25m"),
        ("ML-Latest-Small", None, "ml-latest-small"),
        ("renamed", "ml-latest-small", "ml-latest-small"),
        ("ml-25m", "ml-32m", "ml-32m"),
        ("renamed", "ml-1m", "ml-csv"),
        ("ml-25m-mine", None, "ml-csv"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_csv_releases_differ_by_name(
    tmp_path: Path, folder: str, readme: str | None, expected: str, packed: bool
) -> None:
    """By the README next to the files, by their folder, or by the zip's name."""
    path = raw.csv(tmp_path / folder)
    if packed:
        path = raw.zipped(path, tmp_path / f"{folder}.zip")
    elif readme:
        (path / "README.txt").write_text(README.format(readme))
    by_folder = {"renamed": "ml-csv"}.get(folder, folder.lower())
    unread = by_folder if by_folder != "ml-25m-mine" else "ml-csv"
    assert find(path).name == (unread if packed else expected)


@pytest.mark.parametrize(
    ("name", "other", "is_other"),
    [
        ("ml-100k", "ml-100k", False),
        ("ml-100k", "ml-1m", True),
        ("ml-25m", "ml-32m", True),
        ("ml-csv", "ml-latest-small", False),
        ("ml-csv", "ml-100k", True),
        ("ml-csv", "own data", True),
    ],
)
def test_a_name_that_says_only_csv_is_no_other(
    name: str, other: str, is_other: bool
) -> None:
    assert release.is_other(name, other) == release.is_other(other, name) == is_other


@every_format
def test_fingerprints_follow_the_content(tmp_path: Path, name: str) -> None:
    """Folder and zip have the same, and each byte of each file matters."""
    folder = raw.WRITERS[name](tmp_path / "raw")
    (folder / "README").write_text("this does not matter")
    packed = raw.zipped(folder, tmp_path / "ml.zip", "ml/")
    found = find(folder)
    before = release.fingerprint(found)
    assert before == release.fingerprint(find(packed))
    (folder / "README").unlink()
    for path in found.files:
        content = path.read_bytes()
        path.write_bytes(content[:-2] + b"7\n")
        assert before != release.fingerprint(find(folder))
        path.write_bytes(content)
    assert before == release.fingerprint(find(folder))
    (folder / found.files[0].name).unlink()
    with pytest.raises(BatchError, match=f"cannot read .*{found.files[0].name}"):
        release.fingerprint(found)


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
    """Old releases are Latin-1 unless converted; a CSV is UTF-8 or wrong."""
    found = find(write(tmp_path, encoding=encoding))
    assert found.parameters["encoding"] == expected


def test_hidden_folders_and_those_of_a_mac_are_no_releases(tmp_path: Path) -> None:
    for name in ("ml-100k", ".download/ml-100k", ".hidden", "__MACOSX"):
        raw.tab(tmp_path / "raw" / name)
    assert find(tmp_path / "raw").files[0].parent == tmp_path / "raw/ml-100k"
    shutil.rmtree(tmp_path / "raw/ml-100k")
    assert "no MovieLens release" in failure(tmp_path / "raw")


def test_what_is_there_and_what_is_wanted_are_listed(tmp_path: Path) -> None:
    message = failure(tmp_path / "nowhere")
    assert f"{tmp_path}/nowhere does not exist" in message
    assert "ml-100k: u.data, u.item, u.user" in message
    assert f"no MovieLens release in {tmp_path}: found nothing" in failure(tmp_path)
    (tmp_path / "links.csv").write_text("x")
    (tmp_path / "old").mkdir()
    message = failure(tmp_path)
    assert "found links.csv, old/; wanted is" in message
    assert "ml-1m: ratings.dat, movies.dat, users.dat" in message
    assert "ml-csv: ratings.csv, movies.csv" in message
    for number in range(15):
        (tmp_path / f"{number:02}.txt").touch()
    assert "09.txt and 7 more" in failure(tmp_path)


def test_two_releases_are_ambiguous(tmp_path: Path) -> None:
    raw.csv(raw.tab(tmp_path / "one"))
    message = failure(tmp_path / "one")
    assert f"{tmp_path}/one is ambiguous: it holds movies.csv, ratings.csv" in message
    raw.tab(tmp_path / "two/ml-100k")
    raw.csv(tmp_path / "two/ml-25m")
    assert "ml-100k and ml-25m; name one of them" in failure(tmp_path / "two")


@every_format
def test_a_missing_or_empty_file_is_named(tmp_path: Path, name: str) -> None:
    for path in find(raw.WRITERS[name](tmp_path)).files:
        content = path.read_bytes()
        path.write_bytes(b"")
        assert f"{path} is empty" in failure(tmp_path)
        path.unlink()
        if path.name == "users.dat":
            assert find(tmp_path).name == "ml-10m"
        else:
            assert f"{tmp_path} lacks {path.name}: " in failure(tmp_path)
        path.write_bytes(content)


@pytest.mark.parametrize(
    "header",
    [
        "1,10,5,881250949",
        "movieId,userId,rating,timestamp",
        "userId,movieId,rating,timestamp,note",
        "userId;movieId;rating;timestamp",
    ],
)
def test_a_csv_without_its_header_is_refused(tmp_path: Path, header: str) -> None:
    path = raw.csv(tmp_path) / "ratings.csv"
    path.write_text(f"{header}\n1,10,5,881250949\n")
    message = failure(tmp_path)
    assert f"{path}, line 1: it begins with {header!r}" in message
    assert "not with the header 'userId,movieId,rating,timestamp'" in message
    path.write_text(f"\r{header}\n", newline="")
    assert f"{path}, line 1: " in failure(tmp_path)
    path.write_text(f"\n{header}\n")
    assert f"{path} is empty, or its first line is" in failure(tmp_path)


@every_format
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to(p)])
def test_folders_and_pipes_are_no_files(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    """A pipe is not waited for."""
    path = find(raw.WRITERS[name](tmp_path / "raw")).files[0]
    path.rename(tmp_path / "elsewhere")
    make(path)
    assert f"{tmp_path}/raw lacks {path.name}" in failure(tmp_path / "raw")
    os.mkfifo(tmp_path / "pipe")
    assert "is neither file nor folder" in failure(tmp_path / "pipe")


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    path = find(raw.tab(tmp_path / "raw")).files[0]
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert find(tmp_path / "raw").files[0].read_text().startswith("1\t10\t5\t")


def test_a_file_that_may_not_be_read_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = raw.tab(Path(name))
        folder.chmod(0o755)
        (folder / "u.item").chmod(0)
        user = os.geteuid()
        os.seteuid(user or 65534)  # root may read everything
        try:
            assert "cannot read " in (message := failure(folder))
            assert "u.item" in message
        finally:
            os.seteuid(user)
