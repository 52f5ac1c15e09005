"""The command line."""

import pytest

from batch import cli


def test_without_a_command_it_is_run() -> None:
    for words in ([], ["--json", "--raw", "x"]):
        cli.batch.make_context("batch", given := list(words))
        assert given == ["run", *words]


@pytest.mark.parametrize(
    "words",
    [
        ["rnu"],
        ["run", "--frce"],
        ["run", "--for"],
        ["run", "extra"],
        ["run", "--scheduler", "localhost"],
        ["promote"],
        ["promote", "--version", "first"],
        ["promote", "--version", "0"],
        ["train", "--force"],
        ["run", "--top-n", "many"],
        ["run", "--top-n", "0"],
        ["status", "--scorer", "fast"],
        ["block"],
        ["forget"],
    ],
)
def test_wrong_usage_exits_with_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert "python -m batch" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["run", "--help"]])
def test_help_exits_with_0(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 0
    assert "Usage: python -m batch" in capsys.readouterr().out


@pytest.mark.parametrize("name", cli.batch.commands)
def test_every_command_takes_the_common_options(name: str) -> None:
    options = ["--raw", "x.zip", "--top-n", "5", "--scorer", "xgboost", "--json"]
    own = {"promote": ["--version", "1"], "block": ["50"], "unblock": ["50"]}
    own |= {"forget": ["42"], "serve": ["g"], "compare": ["g", "h"]}
    context = cli.batch.commands[name].make_context(
        name, [*options, "--quiet", "--debug", *own.get(name, [])]
    )
    assert (context.params["raw"], context.params["top_n"]) == ("x.zip", "5")
