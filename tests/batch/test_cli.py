"""The command line."""

import pytest

from batch import cli


def test_without_a_command_it_is_run() -> None:
    assert cli.parse([]).command == "run"
    parsed = cli.parse(["--json", "--raw", "x"])
    assert (parsed.command, parsed.json, parsed.raw) == ("run", True, "x")
    assert not parsed.force


@pytest.mark.parametrize("command", [c for c in cli.COMMANDS if c != "promote"])
def test_every_command_takes_the_common_arguments(command: str) -> None:
    words = [command, "--raw", "x.zip", "--json", "--quiet", "--debug"]
    parsed = cli.parse(words)
    assert (parsed.command, parsed.raw, parsed.json) == (command, "x.zip", True)


@pytest.mark.parametrize(
    "words",
    [
        ["rnu"],
        ["run", "--frce"],
        ["run", "extra"],
        ["promote"],
        ["promote", "--version", "first"],
        ["promote", "--version", "0"],
        ["train", "--force"],
        ["run", "--top-n", "many"],
        ["run", "--top-n", "0"],
    ],
)
def test_wrong_usage_exits_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.parse(words)
    assert stopped.value.code == 2


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["run", "--help"]])
def test_help_exits_with_0(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.parse(words)
    assert stopped.value.code == 0
    assert "usage: python -m batch" in capsys.readouterr().out
