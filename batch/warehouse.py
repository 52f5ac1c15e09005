"""The DuckDB connection and the SQL models, in the order in which they build."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow as pa

from batch.errors import BatchError
from batch.machine import limits

SQL = Path(__file__).resolve().parent.parent / "sql"

STAGING = ("stg_ratings", "stg_items", "stg_users")
"""Built first, in this order; the only models that read raw files."""

LAYOUTS = ("tab", "dat", "csv", "ratings_only", "keyed", "lines")
"""The folders of `sql/staging` that read raw files; others are named by STAGING."""

MODELS = (
    "intermediate/int_ratings",
    "intermediate/int_cutoffs",
    "intermediate/int_history",
    "intermediate/int_future",
    "intermediate/int_cooccurrence_users",
    "intermediate/int_item_counts",
    "intermediate/int_cooccurrence_ratings",
    "intermediate/int_voters",
    "intermediate/int_modelled_items",
    "intermediate/int_item_pairs",
    "intermediate/int_item_neighbours",
    "intermediate/int_item_sequences",
    "intermediate/int_user_genres",
    "intermediate/int_item_audiences",
    "intermediate/int_item_weeks",
    "marts/eligible_items",
    "marts/films",
    "marts/item_features",
    "marts/user_features",
)
"""Built from the staging tables in this order, for one cutoff at a time."""

IN_PARTS = ("intermediate/int_item_pairs",)
RATINGS_PER_PART = 50_000
"""The model joins each user's ratings with themselves. In small parts, whose groups fit
into the processor's cache, that takes a third of the time and bounded memory."""

SCAFFOLDING = ("intermediate/int_cooccurrence_ratings", *IN_PARTS)
"""Large tables that only other models read."""

ON_DEMAND = (
    "marts/candidate_pairs",
    "marts/scorer_items",
    "marts/scorer_sequences",
    "marts/scorer_users",
    "marts/scorer_histories",
    "marts/scorer_genres",
    "marts/rated_in_order",
    "marts/pair_features",
    "marts/catalogue_lists",
    "marts/popular_rankings",
    "marts/similar_items",
    "marts/user_highlights",
    "marts/explanations",
    "marts/baseline_lists",
    "marts/data_profile",
)
"""Run when a stage asks for them, with parameters of their own."""

Parameters = Mapping[str, object]

LEAST_MEMORY, MOST_MEMORY = 512 * 2**20, 1536 * 2**20
"""Bounds of the bytes that DuckDB uses before it spills, if no setting says how many.
Item models, training pairs and XGBoost need as much on top of it."""

MEMORY_PER_THREAD = 256 * 2**20
"""Bytes that a thread needs for the parts of joins and sums that cannot spill."""

LIMITS: Mapping[str, int] = {
    "n_cooccurrences": 1_000_000_000,
    "n_compared": 4_000,
    "n_votes": 1_000_000,
}
"""Bound the time and memory of a cutoff: how many pairs of ratings co-occurrences are
counted from, how many of the most rated items count, and how many ratings vote in the
state kernels. ml-1m stays below all."""

OWN = "process-"
"""The prefix of the folders that processes spill into."""


@contextmanager
def connect(
    spill: Path, memory: int | None = None, threads: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory database; no table depends on its memory and threads.

    Args:
        spill: spills go into a folder of the connection's own in this one.
        memory: bytes to use before that; by default a quarter of what there is.
        threads: by default one for each core, if there is memory for them.
    """
    if memory is None:
        memory = min(MOST_MEMORY, max(LEAST_MEMORY, limits.memory() // 4))
    if threads is None:
        threads = max(1, min(limits.cores(), memory // MEMORY_PER_THREAD))
    with own_folder(spill) as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": str(folder),
            "memory_limit": f"{memory // 2**10}KiB",
            "threads": threads,
        }
        with duckdb.connect(config=config) as connection:
            yield connection


@contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in `parent` for a block, and remove those of killed processes.

    A folder is locked while its process lives, also one of another container.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    with locked(parent):
        folder = Path(tempfile.mkdtemp(prefix=OWN, dir=parent))
        lock = ExitStack()
        lock.enter_context(locked(folder))
    with lock:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Remove what killed processes spilled into `parent`, if it exists."""
    if not parent.is_dir():
        return
    with locked(parent):
        for file in parent.glob("duckdb_temp_*"):  # of versions before own folders
            file.unlink(missing_ok=True)
        for left in parent.glob(f"{OWN}*"):
            with suppress(OSError), locked(left, fcntl.LOCK_NB):
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def locked(folder: Path, how: int = 0) -> Iterator[None]:
    """Lock a folder for a block; the lock ends with the process.

    Raises:
        BlockingIOError: another process holds it, and `how` is LOCK_NB.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(handle)


def read(model: str) -> str:
    """Return the SQL of a model, such as `marts/similar_items`."""
    return text_of(SQL / f"{model}.sql")


def text_of(file: Path) -> str:
    """Return the SQL in a file.

    Raises:
        BatchError: it is no UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BatchError(f"{file}, byte {error.start}: expected UTF-8") from error


@contextmanager
def running(model: str) -> Iterator[str]:
    """Yield the SQL of a model, and add its file to DuckDB's errors about it."""
    try:
        yield read(model)
    except duckdb.Error as error:
        error.add_note(f"sql/{model}.sql")
        raise


def build(
    connection: duckdb.DuckDBPyConnection, model: str, parameters: Parameters
) -> None:
    """Run a model and store its rows in the table of the same name."""
    name = model.rpartition("/")[2]
    with running(model) as query:
        connection.execute(
            f"create or replace table {name} as {query}", used(query, parameters)
        )


def build_in_parts(
    connection: duckdb.DuckDBPyConnection, model: str, parameters: Parameters
) -> None:
    """Build a model in parts of RATINGS_PER_PART co-occurrence ratings."""
    n_parts = 1 + count(connection, "int_cooccurrence_ratings") // RATINGS_PER_PART
    name, query = model.rpartition("/")[2], read(model)
    for part in range(n_parts):
        values = {**parameters, "n_parts": n_parts, "part": part}
        if part == 0:
            build(connection, model, values)
        else:
            connection.execute(f"insert into {name} {query}", used(query, values))


def drop(connection: duckdb.DuckDBPyConnection, *models: str) -> None:
    """Drop the tables of models, if they exist."""
    for model in models:
        name = model.rpartition("/")[2]
        connection.execute(f"drop table if exists {name}")


def fetch(
    connection: duckdb.DuckDBPyConnection, model: str, parameters: Parameters
) -> pa.Table:
    """Run a model and return its rows."""
    with running(model) as query:
        relation = connection.sql(query, params=used(query, parameters))
        return relation.to_arrow_table()


def build_staging(
    connection: duckdb.DuckDBPyConnection, layout: str, parameters: Parameters
) -> None:
    """Read raw files into the staging tables with the SQL for their layout."""
    # without a users file the users are those in stg_ratings
    users = layout if "users_path" in parameters else "ratings_only"
    for name in STAGING:
        folder = users if name == "stg_users" else layout
        build(connection, f"staging/{folder}/{name}", parameters)


def build_models(
    connection: duckdb.DuckDBPyConnection,
    n_cuts: int,
    n_next: int,
    liked_from: float,
    disliked_to: float,
    merges_films: bool,
    short_share: float = 0,
) -> None:
    """Build MODELS as of a cutoff; see `batch.features.tables.build`."""
    parameters: dict[str, object] = {**LIMITS, "n_cuts": n_cuts, "n_next": n_next}
    parameters |= {"liked_from": liked_from, "disliked_to": disliked_to}
    parameters |= {"merges_films": merges_films, "short_share": short_share}
    drop(connection, *MODELS)  # the tables of two cutoffs need twice the memory
    for model in MODELS:
        if model in IN_PARTS:
            build_in_parts(connection, model, parameters)
        else:
            build(connection, model, parameters)


def count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """Return the number of rows of a table."""
    return len(connection.table(table))


def user_ids(connection: duckdb.DuckDBPyConnection) -> list[int]:
    """Return the users who have a history at the cutoff, in ascending order."""
    query = "select user_id from int_cutoffs order by user_id"
    return [user_id for (user_id,) in connection.sql(query).fetchall()]


def users_with_future(connection: duckdb.DuckDBPyConnection) -> list[int]:
    """Return those of `user_ids` who have rated something after the cutoff."""
    users = connection.table("int_cutoffs").filter("n_with_future > n_history")
    rows = users.order("user_id").select("user_id").fetchall()
    return [user_id for (user_id,) in rows]


def used(query: str, parameters: Parameters) -> dict[str, object]:
    """Return the parameters that a query names; DuckDB refuses too many and too few."""
    named = {name for sign, name in pairwise(tokens(query)) if sign == "$"}
    return {name: parameters[name] for name in sorted(named & parameters.keys())}


def tokens(query: str) -> list[str]:
    """Return the tokens of a query: no comments, and no white space around them."""
    text = query.encode()  # DuckDB counts bytes
    found = [*duckdb.tokenize(query), (len(text), duckdb.token_type.comment)]
    return [
        text[start:end].decode().strip()
        for (start, kind), (end, _) in pairwise(found)
        if kind != duckdb.token_type.comment
    ]


def normalized(query: str) -> str:
    """Return a query without comments, and with one form of white space."""
    # a space where a token may end, and none where another DuckDB may split operators
    spaced = (t + " " * (t[-1].isalnum() or t[-1] in "_'\"") for t in tokens(query))
    return "".join(spaced)


DISK_FULL = re.compile(
    r"max_temp_directory_size|No space left on device|File too large"
)
"""Parts of DuckDB's messages when it has no room left to spill."""


def is_full(error: duckdb.Error) -> bool:
    """Return whether DuckDB has run out of memory or of room to spill."""
    is_out = isinstance(error, duckdb.OutOfMemoryException)
    return is_out or bool(DISK_FULL.search(str(error)))


def explain(error: duckdb.Error) -> str:
    """Return the first line of an error of DuckDB."""
    return " ".join(str(error).partition("\n")[0].split())


@contextmanager
def spilling(spill: Path) -> Iterator[None]:
    """Turn DuckDB's errors about a full disk or memory into advice.

    Raises:
        BatchError: names the full folder, or the settings of the memory.
    """
    try:
        yield
    except duckdb.Error as error:
        if not is_full(error):
            raise
        advice = (
            f"no room in {spill}, where DuckDB puts data that does not fit into "
            "memory: free some space there"
            if DISK_FULL.search(str(error))
            else "these raw files need more memory than DuckDB may use: raise "
            "DUCKDB_MEMORY or lower DUCKDB_THREADS"
        )
        raise BatchError(f"{advice} ({explain(error)})") from error
