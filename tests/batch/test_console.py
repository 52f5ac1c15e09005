"""Results and errors as a person sees them."""

import errno
import re

import duckdb
import pytest

from batch import console
from batch.errors import BatchError
from lookup.shared.env import SettingError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (BatchError("what, where"), "what, where"),
        (SettingError("TOP_N is 'x'"), "TOP_N is 'x'"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/d/x"),
            r"No space.*\(/d/x\)",
        ),
        (duckdb.IOException("IO Error: disk full"), "disk full"),
        (KeyError("surprise"), "unexpected KeyError.*surprise.*--debug"),
    ],
)
def test_a_failure_is_one_line(error: Exception, line: str) -> None:
    assert re.search(line, console.explain(error))


def test_fail_keeps_to_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.fail("one\n  two\nthree", 75) == 75
    captured = capsys.readouterr()
    assert captured.err == "error: one two three\n"
    assert captured.out == ""


def test_what_is_alike_is_a_table() -> None:
    """Wherever it stands: `prod` comes long after the model."""
    result = {
        "version": "2",
        "model": {"ndcg": 0.26355, "coverage": 0.5},
        "item_knn": {"ndcg": 0.2, "coverage": 0.25},
        "intervals": {"model": {"ndcg": [0.25, 0.2779]}, "lead": {"ndcg": [-0.1, 0.1]}},
        "prod": {"ndcg": 0.1, "coverage": 1.0},
        "seconds": {"train": 1.5, "total": 2.0},
        "nothing": {},
        "held": ["a", "b"],
    }
    assert console.readable(result).splitlines() == [
        "version    2",
        "           ndcg    coverage",
        "model      0.2636  0.5",
        "item_knn   0.2     0.25",
        "prod       0.1     1",
        "intervals  ndcg",
        "model      0.25 to 0.2779",
        "lead       -0.1 to 0.1",
        "seconds    train 1.5  total 2",
        "nothing    ",
        "held       a  b",
    ]
