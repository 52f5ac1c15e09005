"""The log: a JSON object a line, on stderr."""

import json
import logging
from datetime import UTC, datetime

FIELDS = (
    "request_id",
    "method",
    "path",
    "route",
    "status",
    "milliseconds",
    "client",
)
"""What a line tells beside its message, where it is known."""


class JsonFormatter(logging.Formatter):
    """Writes a record as one line, and never what it has to hide."""

    def __init__(self, hidden: str | None = None) -> None:
        super().__init__()
        self._hidden = hidden

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in FIELDS if hasattr(record, name)},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps({k: self._shown(v) for k, v in line.items()})

    def _shown(self, value: object) -> object:
        if self._hidden is None or not isinstance(value, str):
            return value
        return value.replace(self._hidden, "…")


def configure(hidden: str | None, *, requests: bool) -> None:
    """Send all logs to stderr.

    Args:
        hidden: what no line may show.
        requests: whether each request is logged, or only those that failed.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(hidden))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("lookup").setLevel(logging.INFO)
    level = logging.INFO if requests else logging.WARNING
    logging.getLogger("lookup.requests").setLevel(level)
    # of what is no HTTP it would write a line each time, whoever sends how much
    uvicorn = logging.WARNING if requests else logging.ERROR
    logging.getLogger("uvicorn.error").setLevel(uvicorn)
