"""What went wrong in MLflow, in a few words, and what to do about it."""

import errno
import re
from collections.abc import Iterator

from batch.booster import UnfitError

FULL = "the disk is full: make room there, then do it again"
ANOTHER = (
    "let prod name another version (python -m batch promote --version N) or train a "
    "new one (python -m batch train)"
)
SERVER = "is MLFLOW_TRACKING_URI right and the server up?"

REMEDIES = (
    (r"No space left on device|disk is full|Disk quota exceeded", FULL),
    (r"database is locked", "another process holds it: try again when that is done"),
    (
        r"readonly database|Permission denied|Read-only file system|unable to open "
        r"database|Operation not permitted",
        "may this user read and write there?",
    ),
    (
        r"file is not a database|disk image is malformed|no such table",
        "restore it from a copy, or move it away: the next run trains a model anew",
    ),
    (
        r"out-of-date database schema",
        "copy the database, then: mlflow db upgrade MLFLOW_TRACKING_URI",
    ),
    (
        r"Can't locate revision",
        "a newer MLflow wrote it: upgrade MLflow here, or name another store",
    ),
    (r"[Aa]rtifact|No such file|not found|UnfitError", ANOTHER),
)
"""What a cause says, and what we say to it."""


def reason(error: BaseException) -> str:
    """Say what went wrong, without SQL, markup and what fills pages."""
    text = re.split(r"\[SQL: |\(Background on this error", str(error))[0]
    text = re.sub(r"<(style|script)\b.*?(</\1>|$)", " ", text, flags=re.DOTALL)
    text = " ".join(re.sub(r"<[!/a-zA-Z][^>]*>", " ", text).split())
    return text[:300].rstrip(" .;") or type(error).__name__


def remedy(error: BaseException) -> str:
    """Say what to do about it."""
    for cause in causes(error):
        if isinstance(cause, UnfitError):
            return ANOTHER
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EFBIG):
            return FULL
    said = "\n".join(map(str, causes(error)))
    for pattern, told in REMEDIES:
        if re.search(pattern, said):
            return told
    return SERVER


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error, and those that it came of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
