"""Raw files, line by line: each is held against its form before DuckDB reads it.

DuckDB is lenient where we must not be: it takes 1.5 for the item 2, 0x10 for 16, and
says nothing of lines that it skips. What is plain is looked at by one expression, ten
million lines a second; only what is not is taken apart.
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from batch.errors import BatchError
from batch.ingest.forms import FORMS, Form

BLOCK = 2**22
LONGEST = 2**16
"""Bytes of a line; MovieLens' own stay below a thousandth of a block."""

BLANK = "blank lines were skipped"
UNENDED = "the last line has no end: taken as it is, though the file may be cut off"

WINDOWS = re.compile(rb"[\x80-\x9f]")


class Lines:
    """Reads one file to its end, and counts.

    Attributes:
        n: of lines that hold something, the header not counted.
        repairs: what was mended → how often.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        self.path = path
        self.form = FORMS[path.name]
        self.n = 0
        self.repairs = Counter[str]()
        self._number = 0
        self._encoding = encoding
        self._seen: dict[str, int] = {}
        self._end = b"\n"
        self._plain: re.Pattern[bytes] | None = None

    def read(self) -> "Lines":
        """Look at every line.

        Raises:
            BatchError: with the first that is not as it should be, or there is none.
        """
        try:
            with self.path.open("rb") as file:
                self._read_blocks(file)
        except OSError as error:
            raise BatchError(f"cannot read {self.path}: {error.strerror}") from error
        if not self.n:
            raise BatchError(f"{self.path}, line {self._number}: nothing follows it")
        return self

    def _read_blocks(self, file: BinaryIO) -> None:
        self._begin(file)
        rest = b""
        while block := file.read(BLOCK):
            block = rest + block
            cut = block.rfind(b"\n") + 1
            self._take(block[:cut])
            rest = block[cut:]
            if len(rest) > LONGEST:
                self._refuse(rest)
        if rest:
            self._take_line(rest)
            self.repairs[UNENDED] += 1

    def _begin(self, file: BinaryIO) -> None:
        """Learn from the first line how lines end, and pass what is no line of ours."""
        head = file.readline(LONGEST + 1)
        if head.endswith(b"\r\n"):
            self._end = b"\r\n"
        if self.form.plain:
            self._plain = re.compile(b"(?:%b%b)*+" % (self.form.plain, self._end))
        if self.form.header is not None:
            self._number += 1
        else:
            is_marked = head.startswith(codecs.BOM_UTF8)
            file.seek(len(codecs.BOM_UTF8) if is_marked else 0)

    def _take(self, block: bytes) -> None:
        """Look at whole lines."""
        at = 0
        while at < len(block):
            if self._plain and (found := self._plain.match(block, at)):
                n = block.count(b"\n", at, found.end())
                self.n, self._number, at = self.n + n, self._number + n, found.end()
            if at < len(block):
                end = block.index(b"\n", at) + 1
                self._take_line(block[at:end])
                at = end

    def _take_line(self, line: bytes) -> None:
        """Look at a line that is not plain."""
        self._number += 1
        content = line.removesuffix(self._end)
        if not content:
            self.repairs[BLANK] += 1
            return
        fault = self._fault(content)
        if fault:
            self._number -= 1
            self._refuse(line, fault)
        self.n += 1

    def _fault(self, content: bytes) -> str | None:
        """Say what is wrong with a line, its end taken off."""
        return (
            too_long(content)
            or badly_ended(content)
            or self._misread(content)
            or self._judge(content.decode(self._encoding))
        )

    def _misread(self, content: bytes) -> str | None:
        """Say how a line's encoding is not the file's."""
        if content.isascii():
            return None
        encoding = encoding_of(content)
        if encoding == "latin-1" and self._encoding == "utf-8":
            return "bytes that are not UTF-8"
        if encoding == "latin-1" and WINDOWS.search(content):
            return "bytes that are neither UTF-8 nor Latin-1; save the file as UTF-8"
        self._seen.setdefault(encoding, self._number)
        if len(self._seen) > 1:
            (one, first), (other, _) = self._seen.items()
            return f"{other}, where line {first} is {one}; save the file as UTF-8"
        return None

    def _judge(self, text: str) -> str | None:
        """Say what is wrong with the fields of a line."""
        fields = self.form.fields(text)
        return fields if isinstance(fields, str) else self.form.fault(fields)

    def _refuse(self, line: bytes, fault: str | None = None) -> None:
        """Name the line after those that were looked at."""
        shown = line.rstrip(b"\r\n")[:200].decode(self._encoding, "replace")
        raise BatchError(
            f"{self.path}, line {self._number + 1}: {fault or too_long(line)}, "
            f"in {shown!r}"
        )


def too_long(content: bytes) -> str | None:
    """Say that a line is none that we read."""
    if len(content) <= LONGEST:
        return None
    return badly_ended(content) or f"longer than {LONGEST} bytes"


def badly_ended(content: bytes) -> str | None:
    """Say what in a line makes programs differ about where it ends."""
    if b"\0" in content:
        return "a NUL byte: the file is damaged, or not UTF-8"
    if content.endswith(b"\r") and b"\r" not in content[:-1]:
        return "it ends with CR LF, lines before it with LF"
    if b"\n" in content[-1:]:
        return "it ends with LF, lines before it with CR LF"
    if b"\r" in content:
        return "a CR within: lines end with LF or CR LF"
    return None


def encoding_of(content: bytes) -> str:
    """Tell a line of UTF-8 from one of an older encoding."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def number_of(path: Path, nth: int) -> int:
    """Find the number of a line by how many that hold something come before it."""
    with path.open("rb") as file:
        for number, _ in filled(file, FORMS[path.name]):
            if nth == 0:
                return number
            nth -= 1
    return 0


def filled(file: BinaryIO, form: Form) -> Iterator[tuple[int, bytes]]:
    """Give the lines that hold something, numbered, without the header."""
    for number, line in enumerate(file, start=1):
        if line.strip(b"\r\n") and not (form.header and number == 1):
            yield number, line
