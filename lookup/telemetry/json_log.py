"""The log: one JSON object per line, on stderr."""

import json
import logging
from datetime import UTC, datetime

FIELDS = ("request_id", "method", "path", "route", "status", "milliseconds", "client")
"""Attributes of a log record that are added to its line."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line, and masks a secret such as the API key."""

    def __init__(self, hidden: str | None = None) -> None:
        super().__init__()
        self._hidden = hidden

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in FIELDS if hasattr(record, name)},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps({k: self._hide(v) for k, v in line.items()})

    def _hide(self, value: object) -> object:
        if self._hidden is None or not isinstance(value, str):
            return value
        return value.replace(self._hidden, "…")


def configure(hidden: str | None, *, requests: bool) -> None:
    """Send all logs to stderr.

    Args:
        hidden: a text that is replaced in every line.
        requests: log every request, not only failed ones.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(hidden))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("lookup").setLevel(logging.INFO)
    level = logging.INFO if requests else logging.WARNING
    logging.getLogger("lookup.requests").setLevel(level)
    # uvicorn warns of every malformed request, however many a client sends
    uvicorn = logging.WARNING if requests else logging.ERROR
    logging.getLogger("uvicorn.error").setLevel(uvicorn)
