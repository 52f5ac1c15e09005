"""How far a long step is."""

import io
import logging
import sys

import pytest

from batch.progress import Progress


class Terminal(io.StringIO):
    """A stderr that says it is one."""

    def isatty(self) -> bool:
        return True


def test_plain_log_lines_where_there_is_no_terminal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="batch")
    passed = list(Progress("scoring", "users").counted(iter(["ab", "c"]), 3))
    assert passed == ["ab", "c"]
    assert caplog.messages == ["scoring: 3 of 3 users"]


def test_a_bar_on_a_terminal(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="batch")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    Progress("scoring", "users").show(1682, 1682)
    assert terminal.getvalue() == f"\rscoring {'█' * 30} 1,682 of 1,682 users\n"
    assert caplog.messages == []

    caplog.set_level(logging.WARNING, logger="batch")  # --quiet
    Progress("scoring", "users").show(1, 1)
    assert terminal.getvalue().count("\n") == 1
