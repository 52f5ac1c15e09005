"""What a person is shown at the end: a result, or one line that says what failed."""

import sys
from collections.abc import Mapping

import duckdb

from batch import release
from batch.errors import BatchError
from lookup.embedded import EmbeddedRedisError
from lookup.settings import SettingError


def explain(error: Exception) -> str:
    """Put a failure into one line."""
    if isinstance(error, BatchError | SettingError | EmbeddedRedisError):
        return str(error)
    if isinstance(error, duckdb.Error):
        return release.explain(error)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"the system says: {error.strerror or error}{where}; --debug shows where"
    return f"unexpected {type(error).__name__}: {error}; --debug shows where"


def fail(message: str, code: int) -> int:
    """Tell what went wrong on one line; return the exit code."""
    print("error:", " ".join(message.split()), file=sys.stderr)
    return code


def readable(result: Mapping[str, object]) -> str:
    """Lay a result out for a person, one thing a line."""
    width = max(map(len, result))
    lines = []
    for name, value in result.items():
        if isinstance(value, Mapping):
            value = "  ".join(
                f"{key} {number:.4g}"
                if isinstance(number, float)
                else f"{key} {number}"
                for key, number in value.items()
            )
        elif isinstance(value, list):
            value = "  ".join(map(str, value))
        lines.append(f"{name:{width}}  {value}")
    return "\n".join(lines)
