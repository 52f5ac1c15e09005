"""What went wrong in MLflow, in a few words, and what to do about it."""

import errno
import re
from collections.abc import Iterator
from typing import NamedTuple

from batch.model.model_file import UnfitError

FULL = "the disk is full: make room there, then do it again"
ANOTHER = (
    "let prod name another version (python -m batch promote --version N) or train a "
    "new one (python -m batch train)"
)
SERVER = "is MLFLOW_TRACKING_URI right and the server up?"


class Known(NamedTuple):
    """A pattern in what libraries say, what we say, and what to do; None: as it is."""

    pattern: str
    said: str | None
    told: str


KNOWN = (
    Known(r"No space left|disk is full|quota exceeded|File too large", None, FULL),
    Known(
        r"database is locked",
        "its database is locked",
        "another process holds it: try again when that is done",
    ),
    Known(
        r"readonly database|Permission denied|Read-only file system|not permitted"
        r"|unable to open database",
        None,
        "may this user read and write there?",
    ),
    Known(
        r"file is not a database|disk image is malformed|no such table",
        None,
        "restore it from a copy, or move it away: the next run trains a model anew",
    ),
    Known(
        r"out-of-date database schema|Can't locate revision",
        "its database is of another version of MLflow",
        "take the MLflow that wrote it, or copy it and run: mlflow db upgrade "
        "sqlite:///…",
    ),
    Known(r"Connection refused", "connection refused", SERVER),
    Known(r"Failed to resolve|Name or service not known", "no such host", SERVER),
    Known(
        r"[Tt]imed out",
        "no answer in time",
        f"{SERVER} MLFLOW_HTTP_REQUEST_TIMEOUT is how many seconds it has",
    ),
    Known(r"too many (\d+) error responses", r"the server answered \1", SERVER),
    Known(r"Exceeded \d+ redirects", "the server redirects without end", SERVER),
    Known(
        r"Connection aborted|RemoteDisconnected|Connection reset|Connection broken"
        r"|IncompleteRead",
        "the connection broke",
        SERVER,
    ),
    Known(
        "outside the artifact directory",
        "one of its files is a link to elsewhere",
        ANOTHER,
    ),
    Known(r"No such artifact|No such file|not found", None, ANOTHER),
)


def explain(error: BaseException) -> str:
    """Say what went wrong and what to do about it, in one line."""
    chain = list(causes(error))
    if any(isinstance(cause, UnfitError) for cause in chain):
        return f"{shown(error)}; {ANOTHER}"
    if any(is_full(cause) for cause in chain):
        return f"{shown(error)}; {FULL}"
    said = "\n".join(map(str, chain))
    for known in KNOWN:
        match = re.search(known.pattern, said)
        if match:
            reason = match.expand(known.said) if known.said else shown(error)
            return f"{reason}; {known.told}"
    return f"{shown(error)}; {SERVER}"


def shown(error: BaseException) -> str:
    """Leave SQL, markup, and what fills pages, out of an error's text."""
    text = re.split(r"\[SQL: |\(Background on this error", str(error))[0]
    text = re.sub(r"\(raised as a result of .*?\)\s", " ", text)
    text = re.sub(r"<(style|script)\b.*?(</\1>|$)", " ", text, flags=re.DOTALL)
    text = " ".join(re.sub(r"<[!/a-zA-Z][^>]*>", " ", text).split())
    return text[:400].rstrip(" .;") or type(error).__name__


def is_full(error: BaseException) -> bool:
    """Tell whether a disk had no room, or this process may write no more."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, OSError) and error.errno in full


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error, and those that it came of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
