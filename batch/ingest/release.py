"""Recognise the MovieLens release in a folder or a zip by its files."""

import codecs
import glob
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batch.errors import BatchError
from batch.ingest import release_zip
from batch.ingest.validate import LINE_FORMATS


@dataclass(frozen=True)
class Format:
    """A release's files, and the folder of `sql/staging` (`layout`) that reads them."""

    name: str
    layout: str
    encoding: str
    ratings: str
    items: str
    users: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the files that the release needs."""
        return tuple(filter(None, (self.ratings, self.items, self.users)))


CSV = "ml-csv"
CSV_NAME = re.compile(r"ml-(?:latest(?:-small)?|[2-9][0-9]m|[1-9][0-9]{2,}m)")
"""The names of the CSV family, whose files alone do not say which release they are."""

FORMATS = (
    Format("ml-100k", "tab", "latin-1", "u.data", "u.item", "u.user"),
    Format("ml-1m", "dat", "latin-1", "ratings.dat", "movies.dat", "users.dat"),
    Format("ml-10m", "dat", "utf-8", "ratings.dat", "movies.dat"),
    Format(CSV, "csv", "utf-8", "ratings.csv", "movies.csv"),
)

FILE_NAMES = frozenset(name for form in FORMATS for name in form.names)

WANTED = "wanted is a folder or a zip with the files of one release (" + (
    "; ".join(f"{form.name}: {', '.join(form.names)}" for form in FORMATS) + ")"
)


@dataclass(frozen=True)
class Release:
    """A release that was found, and the parameters of the staging models."""

    name: str
    layout: str
    parameters: Mapping[str, object]
    tables: Mapping[str, Path]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, sorted by name."""
        return tuple(sorted(self.tables.values()))

    def encoding_of(self, table: str) -> str:
        """Return the encoding of a table's file; only items need not be UTF-8."""
        return str(self.parameters["encoding"]) if table == "stg_items" else "utf-8"


def find(path: Path, unpacked: Path) -> Release:
    """Recognise the release in the folder or zip `path`.

    A zip is extracted once, into a folder of `unpacked` named for its content.

    Raises:
        BatchError: with what was found at `path` and what each release needs.
    """
    try:
        if path.is_dir():
            return locate(path)
        if path.is_file():
            extracted = release_zip.extract_once(path, unpacked, FILE_NAMES)
            return locate(extracted, shown=path)
    except OSError as error:
        raise BatchError(f"cannot read {path}: {error}") from error
    found = "is neither file nor folder" if path.exists() else "does not exist"
    raise BatchError(f"{path} {found}; {WANTED}")


def locate(folder: Path, shown: Path | None = None) -> Release:
    """Recognise the release in a folder or in one of its sub-folders.

    Errors name `shown` instead: a user knows the zip, not the extracted folder.
    """
    home = home_of(folder, shown or folder)
    form = format_of(home)
    for name in form.names:
        check_file(home / name)
    tables = {"stg_ratings": home / form.ratings, "stg_items": home / form.items}
    if form.users:
        tables["stg_users"] = home / form.users
    # DuckDB treats a path as a pattern: "ratings [1]" would match "ratings 1"
    parameters = {
        table.replace("stg_", "") + "_path": glob.escape(str(path))
        for table, path in tables.items()
    }
    parameters["encoding"] = encoding_of(form, home / form.items)
    name = csv_name(home, shown or folder) if form.name == CSV else form.name
    return Release(name, form.layout, parameters, tables)


def csv_name(home: Path, shown: Path) -> str:
    """Return which release of the CSV family a folder holds, CSV if nothing says so.

    GroupLens' README begins "This dataset (ml-25m) describes"; without it the folder's
    name counts, or that of the folder or zip that the user named.
    """
    with suppress(OSError):
        text = (home / "README.txt").read_bytes()[:4000].decode("utf-8", "replace")
        for name in re.findall(r"\((ml-[a-z0-9-]+)\)", text):
            if CSV_NAME.fullmatch(name):
                return str(name)
    for name in (home.resolve().name.lower(), shown.resolve().stem.lower()):
        if CSV_NAME.fullmatch(name):
            return name
    return CSV


def is_other(name: str, other: str) -> bool:
    """Return whether two names are of different releases; CSV may be any of its family.

    So a folder that was renamed is not another release.
    """
    is_unknown = CSV in (name, other) and all(
        one == CSV or CSV_NAME.fullmatch(one) for one in (name, other)
    )
    return name != other and not is_unknown


def fingerprint(release: Release) -> str:
    """Hash the names and contents of the files that make up a release.

    Raises:
        BatchError: a file cannot be read.
    """
    try:
        lines = [f"{path.name} {release_zip.digest(path)}\n" for path in release.files]
    except OSError as error:
        raise BatchError(f"cannot read {error.filename}: {error}") from error
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def home_of(folder: Path, shown: Path) -> Path:
    """Find the folder that holds the files: `folder`, or one directly below it."""
    if FILE_NAMES & names_in(folder):
        return folder
    # hidden folders are unfinished downloads; macOS adds __MACOSX to a zip
    homes = [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir()
        and not path.name.startswith((".", "__MACOSX"))
        and FILE_NAMES & names_in(path)
    ]
    if not homes:
        raise BatchError(
            f"no MovieLens release in {shown}: found {listed(folder)}; {WANTED}"
        )
    if len(homes) > 1:
        found = " and ".join(home.name for home in homes)
        raise BatchError(f"several releases in {shown}: {found}; name one of them")
    return homes[0]


def format_of(home: Path) -> Format:
    """Return the format whose files a folder holds."""
    names = names_in(home)
    near = [form for form in FORMATS if names & set(form.names)]
    if len({form.layout for form in near}) > 1:
        found = ", ".join(sorted(names & FILE_NAMES))
        raise BatchError(f"{home} is ambiguous: it holds {found}; keep one release")
    for form in near:
        if names >= set(form.names):
            return form
    missing = " and ".join(name for name in near[-1].names if name not in names)
    raise BatchError(
        f"{home} lacks {missing}: {near[-1].name} needs "
        f"{', '.join(near[-1].names)}, each a file"
    )


def check_file(path: Path) -> None:
    """Check that a file is not empty, and that a CSV has the expected header."""
    with path.open("rb") as file:
        first = file.readline(1000)
    # only at the end: a CR elsewhere makes DuckDB split lines differently
    first = first.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").removesuffix(b"\r")
    if not first.strip():
        raise BatchError(f"{path} is empty, or its first line is")
    expected = LINE_FORMATS[path.name].header
    if expected and first != expected.encode():
        raise BatchError(
            f"{path}, line 1: it begins with {first[:80].decode('utf-8', 'replace')!r},"
            f" not with the header {expected!r}"
        )


def encoding_of(form: Format, items: Path) -> str:
    """Return the format's encoding, or UTF-8 if an old file was converted to it."""
    try:
        items.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return form.encoding
    return "utf-8"


def names_in(folder: Path) -> set[str]:
    """Return the names of the files in a folder."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def listed(folder: Path) -> str:
    """Format the names of a folder's entries, at most ten of them."""
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
    rest = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + rest or "nothing"
