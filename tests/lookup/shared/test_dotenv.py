"""Lines of a file `.env`."""

from pathlib import Path

import pytest

from lookup.shared import dotenv
from lookup.shared.env import SettingError, positive_integer


def read(folder: Path, text: str, **variables: str) -> dotenv.Environment:
    path = folder / ".env"
    path.write_text(text, encoding="utf-8")
    return dotenv.Environment(variables, path)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=5", "5"),
        ("NAME = 5  # five", "5"),
        ("  export NAME=5\t", "5"),
        ("NAME: 5", "5"),
        ("NAME=", ""),
        ("NAME= # nothing", ""),
        ("NAME=#5", "#5"),
        ("NAME=a#b c", "a#b c"),
        ("NAME=redis://:p=ss@host:1/0#x", "redis://:p=ss@host:1/0#x"),
        ("NAME='$a \\ \"b\" # c' # d", '$a \\ "b" # c'),
        ('NAME="it\'s # 5"', "it's # 5"),
        ("NAME=''", ""),
        ("NAME=C:\\x", "C:\\x"),
        ("NAME=größer", "größer"),
        ("# NAME=4\n\nNAME=5\r\n", "5"),
        ("NAME=4\nNAME=5\nNAME", "5"),
    ],
)
def test_lines_are_read(tmp_path: Path, line: str, value: str) -> None:
    found = read(tmp_path, f"\ufeffOTHER=$(x)\n{line}\n")
    assert found["NAME"] == value
    assert found.from_file == {"NAME": value}


@pytest.mark.parametrize(
    "value",
    [
        "$HOME",
        "a${b}",
        '"$a"',
        '"a\\n"',
        "'a",
        '"a',
        "'a'b",
        "'a'#b",
        "'a' b",
        '"a" "b"',
    ],
)
def test_a_value_that_compose_reads_otherwise_is_an_error_only_if_it_is_ours(
    tmp_path: Path, value: str
) -> None:
    found = read(tmp_path, f"FIRST=1\nNAME={value}\n")
    assert found["FIRST"] == "1"
    with pytest.raises(SettingError, match="NAME .*hidden.*single quotes") as caught:
        found["NAME"]
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({}, {"TOP_N", "LOOKUP_API_KEY_FILE"}),
        ({"TOP_N": ""}, {"LOOKUP_API_KEY_FILE"}),
        ({"LOOKUP_API_KEY": "x"}, {"TOP_N"}),
        ({"LOOKUP_API_KEY_FILE": "x", "TOP_N": "1"}, set()),
        # what Compose's Redis wants is not for the embedded one
        (
            {"REDIS_URL": "redis://x"},
            {"TOP_N", "LOOKUP_API_KEY_FILE", "REDIS_PASSWORD"},
        ),
    ],
)
def test_the_environment_wins(
    tmp_path: Path, variables: dict[str, str], names: set[str]
) -> None:
    """As a whole: of a secret and its file only the environment's is left."""
    text = "TOP_N=5\nLOOKUP_API_KEY_FILE=key\nREDIS_PASSWORD=secret\n"
    found = read(tmp_path, text, **variables)
    assert set(found) - set(variables) == names
    assert len(found) == len(set(found))
    for name, value in variables.items():
        assert found[name] == value


def test_errors_name_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(".env")

    def top_n() -> int:
        with dotenv.environment() as environ:
            return positive_integer("TOP_N", environ.get("TOP_N") or "100")

    assert top_n() == 100
    path.write_text("\nTOP_N=many\n")
    with pytest.raises(SettingError, match=r"^\.env, line 2: TOP_N='many': expected"):
        top_n()
    path.write_text("\nTOP_N='5\n")
    with pytest.raises(SettingError, match=r"^\.env, line 2: TOP_N \(hidden"):
        top_n()
    path.write_text("# secrets\nthe password\n")
    with pytest.raises(SettingError, match=r"^\.env, line 2: expected NAME=VALUE$"):
        top_n()
    path.write_bytes(b"TOP_N=\xff")
    with pytest.raises(SettingError, match=r"^\.env: expected a text file in UTF-8"):
        top_n()
    monkeypatch.setenv("TOP_N", "few")
    path.write_text("TOP_N=5\n")
    with pytest.raises(SettingError, match="^TOP_N='few'"):
        top_n()
    path.unlink()
    path.mkdir()  # such as a virtual environment
    monkeypatch.delenv("TOP_N")
    assert top_n() == 100
