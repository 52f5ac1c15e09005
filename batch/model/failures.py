"""Explain failures of MLflow: one line with the reason and what to do."""

import re
from collections.abc import Iterator

from batch.model.model_file import UnfitError

FREE_SPACE = "the disk is full: make room there and try again"
WAIT = "another process holds it: try again when that has finished"
MIGRATE = "install that one, or copy it and run: mlflow db upgrade sqlite:///…"
CHECK_SERVER = "is MLFLOW_TRACKING_URI right and the server up?"
PROMOTE = (
    "promote another version (python -m batch promote --version N) or train a new one "
    "(python -m batch train)"
)
UNREACHABLE = (
    r"Connection (?:refused|aborted|reset|broken)|RemoteDisconnected|IncompleteRead"
    r"|Failed to resolve|Name or service not known|[Tt]imed out|Exceeded \d+ redirects"
    r"|too many \d+ error responses|error code \d+|not in a valid JSON format"
)
FAILURES = (
    ("No space left|disk is full|quota exceeded|File too large", "", FREE_SPACE),
    ("database is locked", "its database is locked", WAIT),
    (
        "out-of-date database schema|Can't locate revision",
        "its database is of another version of MLflow",
        MIGRATE,
    ),
    (UNREACHABLE, r"no MLflow server answers there (\g<0>)", CHECK_SERVER),
    ("No such (?:artifact|file)|not found|outside the artifact dir", "", PROMOTE),
)
"""Patterns of messages, the reason to show ("": the message itself), and the remedy."""


def explain(error: BaseException) -> str:
    """Return the reason for an error, and what to do if that is known."""
    chain = list(causes(error))
    reason = one_line(error)
    if any(isinstance(cause, UnfitError) for cause in chain):
        return f"{reason}; {PROMOTE}"
    messages = "\n".join(map(str, chain))
    for pattern, replacement, remedy in FAILURES:
        match = re.search(pattern, messages)
        if match:
            return f"{match.expand(replacement) or reason}; {remedy}"
    return reason


def one_line(error: BaseException) -> str:
    """Return an error's message on one line, without SQL or a server's response."""
    text = re.split(r"\[SQL: | Response body:", str(error))[0]
    return " ".join(text.split())[:400].rstrip(" .;") or type(error).__name__


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
