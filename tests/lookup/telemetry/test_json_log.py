"""Lines of the log."""

import json
import logging
import sys

import pytest

from lookup.telemetry import json_log
from lookup.telemetry.json_log import JsonFormatter


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("lookup.x", logging.INFO, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


def test_a_line_is_json() -> None:
    line = JsonFormatter().format(record("é %s", 1, status=200, other="x"))
    shown = json.loads(line)
    assert shown.pop("time").endswith("+00:00")
    assert shown == {
        "level": "info",
        "logger": "lookup.x",
        "message": "é 1",
        "status": 200,
    }


def test_a_traceback_stays_on_the_line() -> None:
    try:
        json.loads("a\nb")
    except ValueError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert "JSONDecodeError" in json.loads(line)["traceback"]


@pytest.mark.parametrize("key", ["secret", 'a"b', "clé", "{"])
def test_the_key_is_never_shown(key: str) -> None:
    made = record("got %s", key, path=f"/x/{key}")
    shown = json.loads(JsonFormatter(key).format(made))
    assert key not in shown["message"] + shown["path"]
    assert shown["path"] == "/x/…"


@pytest.mark.parametrize("requests", [False, True])
def test_configure(requests: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Events and failures are always logged, other requests only if configured."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        json_log.configure("secret", requests=requests)
        logging.getLogger("lookup.store.store").info("event")
        logging.getLogger("lookup.requests").info("request")
        logging.getLogger("lookup.requests").warning("failure secret")
        logging.getLogger("other").info("noise")
    finally:
        root.handlers[:], root.level = handlers, level
        for name in ("lookup", "lookup.requests"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    expected = ["event", *(["request"] if requests else []), "failure …"]
    assert [line["message"] for line in lines] == expected
