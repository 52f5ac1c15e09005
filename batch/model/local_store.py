"""The MLflow store of a single machine: one SQLite file, artifacts next to it."""

import fcntl
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow


def database_path(tracking_uri: str) -> Path | None:
    """Return the database of a local store, None if the store is a server."""
    if not tracking_uri.startswith("sqlite:///"):
        return None
    return Path(tracking_uri.removeprefix("sqlite:///").partition("?")[0])


def create(database: Path) -> None:
    """Create a local store, unless it exists.

    MLflow creates its tables in some seventy steps and cannot open a store whose
    creation was interrupted. So this function fills a draft and renames it.
    """
    folder = database.parent
    folder.mkdir(parents=True, exist_ok=True)
    if exists(database):
        return
    draft = folder / f".{database.name}.new"
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # released when the process ends
    try:
        shutil.rmtree(draft, ignore_errors=True)  # left by a killed process
        if exists(database):  # created while waiting for the lock
            return
        draft.mkdir()
        mlflow.MlflowClient(f"sqlite:///{draft / 'made'}").search_experiments()
        # rename a copy, because MLflow keeps the original open
        with closing(sqlite3.connect(draft / "made")) as made:
            made.execute("vacuum into ?", (str(draft / "whole"),))
        with (draft / "whole").open("rb+") as file:
            os.fsync(file.fileno())
        (draft / "whole").replace(database)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)


def exists(database: Path) -> bool:
    """Return whether the store exists; opening a missing one leaves an empty file."""
    return database.exists() and database.stat().st_size > 0


def check(database: Path) -> None:
    """Raise `sqlite3.Error` if a database cannot be opened.

    MLflow would retry for 100 seconds.
    """
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("select count(*) from sqlite_master").fetchone()
