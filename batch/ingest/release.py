"""One MovieLens release in a folder or a zip, recognised by its files."""

import codecs
import glob
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batch.errors import BatchError
from batch.ingest import archive
from batch.ingest.forms import FORMS


@dataclass(frozen=True)
class Format:
    """The files by which a release is known, and the staging folder that reads them."""

    name: str
    layout: str
    encoding: str
    ratings: str
    items: str
    users: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Name the files that the release needs."""
        return tuple(filter(None, (self.ratings, self.items, self.users)))


FORMATS = (
    Format("ml-100k", "tab", "latin-1", "u.data", "u.item", "u.user"),
    Format("ml-1m", "dat", "latin-1", "ratings.dat", "movies.dat", "users.dat"),
    Format("ml-10m", "dat", "utf-8", "ratings.dat", "movies.dat"),
    Format("ml-csv", "csv", "utf-8", "ratings.csv", "movies.csv"),
)

KNOWN = frozenset(name for form in FORMATS for name in form.names)


@dataclass(frozen=True)
class Release:
    """A release that was found: how to read it, and the files that make it up."""

    name: str
    layout: str
    parameters: Mapping[str, object]
    tables: Mapping[str, Path]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, by name."""
        return tuple(sorted(self.tables.values()))

    @property
    def encodings(self) -> dict[str, str]:
        """The encoding of the table whose file need not be UTF-8."""
        return {"stg_items": str(self.parameters["encoding"])}


def find(path: Path, unpacked: Path) -> Release:
    """Recognise the release in the folder or zip `path`.

    A zip is unpacked once, into a folder of `unpacked` named for its content.

    Raises:
        BatchError: with what was found at `path` and what each release needs.
    """
    try:
        if path.is_dir():
            return locate(path)
        if path.is_file():
            return locate(archive.unpacked_once(path, unpacked), shown=path)
    except OSError as error:
        raise BatchError(f"cannot read {path}: {error}") from error
    found = "is no folder and no file" if path.exists() else "does not exist"
    raise BatchError(f"{path} {found}; {wanted()}")


def locate(folder: Path, shown: Path | None = None) -> Release:
    """Recognise the release in a folder or in the one of its sub-folders that has one.

    Raises:
        BatchError: it has none, several, or an incomplete one; `shown` is what
            the message calls the folder.
    """
    home = home_of(folder, shown or folder)
    form = format_of(home)
    for name in form.names:
        check_file(home / name)
    tables = {"stg_ratings": home / form.ratings, "stg_items": home / form.items}
    if form.users:
        tables["stg_users"] = home / form.users
    return Release(form.name, form.layout, parameters_of(form, home), tables)


def fingerprint(release: Release) -> str:
    """Hash the names and contents of the files that make up a release.

    Raises:
        BatchError: a file cannot be read.
    """
    total = hashlib.sha256()
    for path in release.files:
        try:
            total.update(f"{path.name} {archive.digest(path)}\n".encode())
        except OSError as error:
            raise BatchError(f"cannot read {path}: {error}") from error
    return total.hexdigest()


def home_of(folder: Path, shown: Path) -> Path:
    """Find the folder that holds the files: `folder`, or one directly below it."""
    below = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    homes = [
        home
        for home in (folder, *below)
        if not is_hidden(home, folder) and KNOWN & names_in(home)
    ]
    if not homes:
        raise BatchError(
            f"no MovieLens release in {shown}: found {listed(folder)}; {wanted()}"
        )
    if len(homes) > 1 and homes[0] != folder:
        found = " and ".join(home.name for home in homes)
        raise BatchError(f"several releases in {shown}: {found}; name one of them")
    return homes[0]


def is_hidden(path: Path, folder: Path) -> bool:
    """Tell what is no data: unfinished downloads and what macOS adds to its zips."""
    return path != folder and (path.name.startswith(".") or path.name == "__MACOSX")


def format_of(home: Path) -> Format:
    """Match the files of a folder with the formats."""
    names = names_in(home)
    near = [form for form in FORMATS if names & set(form.names)]
    if len({form.layout for form in near}) > 1:
        found = ", ".join(sorted(names & KNOWN))
        raise BatchError(f"{home} is ambiguous: it holds {found}; keep one release")
    for form in near:
        if names >= set(form.names):
            return form
    missing = [name for name in near[-1].names if name not in names]
    odd = [name for name in missing if (home / name).exists()]
    raise BatchError(
        f"{home} lacks {' and '.join(missing)}: {near[-1].name} needs "
        f"{', '.join(near[-1].names)}"
        + f" ({' and '.join(odd)} is there, but is no file)"
        * bool(odd)
    )


def check_file(path: Path) -> None:
    """See that a file holds something, and that a CSV has the columns we read."""
    with path.open("rb") as file:
        first = file.readline(1000)
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BatchError(f"{path}, line 1: it is UTF-16; save the file as UTF-8")
    # a CR at another place than the end makes DuckDB see other lines
    first = first.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").removesuffix(b"\r")
    if not first.strip():
        raise BatchError(f"{path} is empty, or its first line is")
    expected = FORMS[path.name].header
    if expected and first != expected.encode():
        raise BatchError(
            f"{path}, line 1: it begins with {first[:80].decode('utf-8', 'replace')!r},"
            f" not with the header {expected!r}"
        )


def parameters_of(form: Format, home: Path) -> dict[str, object]:
    """Give the parameters of the staging models."""
    # DuckDB takes a path for a pattern: "ratings [1]" would match "ratings 1"
    parameters: dict[str, object] = {
        "ratings_path": glob.escape(str(home / form.ratings)),
        "items_path": glob.escape(str(home / form.items)),
        "encoding": encoding_of(form, home / form.items),
    }
    if form.users:
        parameters["users_path"] = glob.escape(str(home / form.users))
    return parameters


def encoding_of(form: Format, items: Path) -> str:
    """Choose the format's encoding, or UTF-8 where an old file was saved anew in it."""
    if form.encoding == "latin-1" and is_utf8(items):
        return "utf-8"
    return form.encoding


def is_utf8(path: Path) -> bool:
    """Tell whether a file is UTF-8, however large it is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        try:
            while block := file.read(2**20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def names_in(folder: Path) -> set[str]:
    """Name the files of a folder."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def listed(folder: Path) -> str:
    """Say what a folder holds, at most ten names of it."""
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
    rest = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + rest or "nothing"


def wanted() -> str:
    """Say what would be recognised."""
    known = "; ".join(f"{f.name}: {', '.join(f.names)}" for f in FORMATS)
    return f"wanted is a folder or a zip with the files of one release ({known})"
