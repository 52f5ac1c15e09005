"""`forget`: remove all that is kept of a user."""

import shutil
from functools import partial

from batch import warehouse
from batch.commands import Result, resources
from batch.commands.evaluate import PAGE
from batch.errors import BatchError
from batch.publishing import generations, parquet, users
from batch.settings import Settings

NOTE = (
    "a later run from raw files that still hold the user brings them back: remove the "
    "user there, too"
)


def forget(settings: Settings, *, user: str) -> Result:
    """Remove all that is kept of a user; raw files are left as they are."""
    with (
        resources.open_writable_redis(settings) as (_url, client),
        generations.locked(client) as lock,
    ):
        folders = settings.processed, settings.recommendations
        # what interrupted batches left may name the user, too
        generations.remove_unheld(client, lock, generations.held(client), *folders)
        warehouse.remove_abandoned(settings.spill)
        shutil.rmtree(settings.unpacked, ignore_errors=True)
        user = users.name_of(client, user)
        n_keys = users.forget(client, lock, user)
        resources.save(settings, client)
        n_rows = forget_rows(settings, user)
    try:
        n_pages = forget_pages(settings, user)
    except BatchError as error:
        raise BatchError(
            f"{error}; {n_keys} keys and {n_rows} rows of user {user} are removed, "
            "pages may still show the user: run it again"
        ) from error
    counts = {"keys": n_keys, "rows": n_rows, "pages": n_pages}
    note = NOTE if any(counts.values()) else "nothing was kept of this user"
    return {"user_id": user, **counts, "note": note}


def forget_rows(settings: Settings, user: str) -> int:
    """Remove a user's rows from this installation's files; return how many."""
    lists = settings.recommendations.glob("*.parquet")
    prefix = settings.redis_prefix
    paths = [path for path in lists if parquet.is_of_installation(path, prefix)]
    paths += settings.processed.glob("*.parquet")
    return sum(parquet.remove_user(path, user) for path in paths)


def forget_pages(settings: Settings, user: str) -> int:
    """Remove a user from the pages, here and in MLflow; return how many showed them."""
    from batch.evaluation import report

    without_user, n_pages = partial(report.without_user, user=user), 0
    page = settings.processed / PAGE
    if page.exists():
        text = page.read_text(encoding="utf-8")
        if (edited := without_user(text)) != text:
            parquet.write_text(edited, page)
            n_pages += 1
    return n_pages + resources.open_registry(settings).edit_pages(without_user)
