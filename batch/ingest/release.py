"""Recognise the MovieLens release or own data in a folder or zip by its files."""

import codecs
import glob
import hashlib
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batch import warehouse
from batch.errors import BatchError
from batch.ingest import own_data, release_zip
from batch.ingest.validate import LINE_FORMATS

log = logging.getLogger(__name__)


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
CSV_NAME = re.compile(r"ml-(?:csv|latest(?:-small)?|[2-9][0-9]m|[1-9][0-9]{2,}m)")
"""The names of the CSV family, whose files alone do not say which release they are."""

FORMATS = (
    Format("ml-100k", "tab", "latin-1", "u.data", "u.item", "u.user"),
    Format("ml-1m", "dat", "latin-1", "ratings.dat", "movies.dat", "users.dat"),
    Format("ml-10m", "dat", "utf-8", "ratings.dat", "movies.dat"),
    Format(CSV, "csv", "utf-8", "ratings.csv", "movies.csv"),
)

OWN_DATA = "own data"
OWN_TABLES = {"stg_ratings": "interactions", "stg_items": "items", "stg_users": "users"}
ENDS = (".csv", ".parquet", "")
"""The ends of the names of own data's files; without one, a folder of Parquet files."""

OWN_NAMES = frozenset(name + end for name in OWN_TABLES.values() for end in ENDS)
FILE_NAMES = OWN_NAMES | {name for form in FORMATS for name in form.names}

WANTED = "wanted is a folder or a zip with the files of one release (" + (
    "; ".join(f"{form.name}: {', '.join(form.names)}" for form in FORMATS)
    + "; your own data: interactions.csv or .parquet, or a folder interactions of "
    "Parquet files)"
)


@dataclass(frozen=True)
class Release:
    """A release that was found.

    Attributes:
        name: such as `ml-100k`, `own data`, or the name of a folder of `sql/staging`.
        layout: the folder of `sql/staging` that reads it.
        parameters: those of the staging models.
        tables: staging table → its file, folder of files, or query.
    """

    name: str
    layout: str
    parameters: Mapping[str, object]
    tables: Mapping[str, Path]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, sorted by name."""
        paths = self.tables.values()
        return tuple(sorted(part for path in paths for part in own_data.parts(path)))

    @property
    def is_queried(self) -> bool:
        """Whether the data are what queries return, and not these files."""
        return self.tables["stg_ratings"].suffix == ".sql"

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
    if names_in(home) & OWN_NAMES:
        return locate_own(home)
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
    both = (name, other)
    is_unknown = CSV in both and all(map(CSV_NAME.fullmatch, both))
    return name != other and not is_unknown


def locate_own(home: Path) -> Release:
    """Recognise the tables of own data in a folder."""
    names = names_in(home) & FILE_NAMES
    tables = {
        table: home / (name + end)
        for table, name in OWN_TABLES.items()
        for end in ENDS
        if name + end in names
    }
    if len(names) > len(tables):  # a table in two forms, or files of MovieLens
        raise ambiguous(home, names)
    if "stg_ratings" not in tables:
        raise BatchError(f"{home} lacks interactions.csv or .parquet; {WANTED}")
    return Release(OWN_DATA, own_data.LAYOUT, {}, tables)


def staged(name: str) -> Release:
    """Return the source that the folder `sql/staging/{name}` reads.

    Raises:
        BatchError: there is no such folder, or it lacks a query.
    """
    folder = warehouse.SQL / "staging" / name
    tables = {
        table: path
        for table in (*warehouse.STAGING, "connect")
        if (path := folder / f"{table}.sql").is_file()
    }
    is_ours = name in warehouse.LAYOUTS or not re.fullmatch(r"\w[\w-]*", name)
    if is_ours or not folder.is_dir():
        raise BatchError(
            f"STAGING={name!r}: expected the name of a folder of your own below "
            f"{folder.parent}"
        )
    needed = ("stg_ratings", "stg_items")
    missing = [f"{table}.sql" for table in needed if table not in tables]
    if missing:
        raise BatchError(f"STAGING={name!r}: {folder} lacks {' and '.join(missing)}")
    return Release(name, own_data.LAYOUT, {}, tables)


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
        raise ambiguous(home, names & FILE_NAMES)
    for form in near:
        if names >= set(form.names) and has_own_users(form, home):
            return form
    missing = " and ".join(name for name in near[-1].names if name not in names)
    raise BatchError(
        f"{home} lacks {missing}: {near[-1].name} needs "
        f"{', '.join(near[-1].names)}, each a file"
    )


def ambiguous(home: Path, names: set[str]) -> BatchError:
    """Return the error about files that do not belong to one release."""
    found = ", ".join(sorted(names))
    return BatchError(f"{home} is ambiguous: it holds {found}; keep one release")


def has_own_users(form: Format, home: Path) -> bool:
    """Return whether a users file is MovieLens', if the format has one; else log it.

    Other data sets in MovieLens' form have other columns in `users.dat`.
    """
    if form.users != "users.dat":
        return True
    with (home / form.users).open("rb") as file:
        first = file.readline(1000)
    n_columns, expected = first.count(b"::") + 1, len(LINE_FORMATS[form.users].columns)
    if n_columns == expected or not first.strip():
        return True
    log.warning(
        "%s is ignored: it has %d columns, MovieLens' has %d",
        home / form.users,
        n_columns,
        expected,
    )
    return False


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
    """Return the names of a folder's files, and of folders that are tables."""
    return {path.name for path in folder.iterdir() if path.is_file()} | {
        path.name
        for path in map(folder.joinpath, OWN_TABLES.values())
        # a folder of parts, and not a release in a folder of that name
        if path.is_dir()
        and own_data.parts(path)
        and not (path / "interactions.parquet").exists()
    }


def listed(folder: Path) -> str:
    """Format the names of a folder's entries, at most ten of them."""
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
    rest = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + rest or "nothing"
