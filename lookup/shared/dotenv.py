"""Settings from lines of a file `.env`. Standard library only.

Docker Compose reads the same file. A value means what it means to Compose, or is an
error; names that are not asked for are Compose's, and their values are not looked at.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lookup.shared.env import SettingError

FILE = Path(".env")
LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:[=:](.*))?")
VALUE = re.compile(
    r"""\s*?(?:'([^']*)'|"([^"\\$]*)"|((?![\s'"])[^$]*?|))(?:\s+\#.*)?"""
)


class Environment(Mapping[str, str]):
    """The environment's variables, and those of a file's lines that it lacks.

    A value is parsed when it is asked for; `from_file` has those that were.

    Raises SettingError if a line cannot be read.
    """

    def __init__(self, variables: Mapping[str, str], path: Path) -> None:
        self.from_file: dict[str, str] = {}
        self._variables = dict(variables)
        self._path = path
        self._lines = {
            name: line
            for name, line in _read(path).items()
            if {name, f"{name}_FILE", name.removesuffix("_FILE")}.isdisjoint(variables)
        }
        if {"REDIS_URL", "REDIS_URL_FILE"}.isdisjoint(self):
            for name in ("REDIS_PASSWORD", "REDIS_PASSWORD_FILE"):
                self._lines.pop(name, None)  # of the Redis that Compose starts

    def __getitem__(self, name: str) -> str:
        """Return a variable's value."""
        if name in self._variables:
            return self._variables[name]
        _, text = self._lines[name]
        match = VALUE.fullmatch(text)
        if match is None:
            raise SettingError(
                f"{name} (hidden, since it may be a secret): expected a value in one "
                "line, in single quotes if it has $, \\ or quotes"
            )
        self.from_file[name] = next(text for text in match.groups() if text is not None)
        return self.from_file[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter({**self._variables, **self._lines})

    def __len__(self) -> int:
        """Return the number of names."""
        return len({**self._variables, **self._lines})

    def place(self, name: str) -> str | None:
        """Return the file and the line of a name, None if it is not from the file."""
        line = self._lines.get(name)
        return line and f"{self._path}, line {line[0]}"


@contextmanager
def environment(path: Path = FILE) -> Iterator[Environment]:
    """Give the environment over a file's lines; errors about a line say which it is."""
    found = Environment(os.environ, path)
    try:
        yield found
    except SettingError as error:
        place = found.place(re.split(r"\W", str(error), maxsplit=1)[0])
        if place is None:
            raise
        raise SettingError(f"{place}: {error}") from error


def _read(path: Path) -> dict[str, tuple[int, str]]:
    """Return the number and the value's text of each name; a repeated one's last."""
    if not path.is_file():  # .env is also a common name of virtual environments
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise SettingError(f"{path}: expected a text file in UTF-8") from error
    lines = {}
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = LINE.fullmatch(stripped)
        if match is None:
            raise SettingError(f"{path}, line {number}: expected NAME=VALUE")
        if match[2] is not None:  # a name alone is the shell's
            lines[match[1]] = number, match[2]
    return lines
