"""What the lines of each raw file look like, field by field."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What a field may hold.

    Attributes:
        pattern: what the text of the field looks like, all of it.
        expected: the same for people.
        least: of a number, where it is one.
        most: of a number.
        is_set: whether it is names with | between, each of them once.
    """

    pattern: str
    expected: str
    least: float = 0
    most: float | None = None
    is_set: bool = False

    def excludes(self, text: str) -> bool:
        """Tell whether a text is none of this kind."""
        if not re.fullmatch(self.pattern, text, re.DOTALL):
            return True
        if self.is_set:
            names = text.split("|")
            return bool(text) and ("" in names or len(set(names)) < len(names))
        # a float has no limit of digits, and is exact for the bounds that we have
        return self.most is not None and not self.least <= float(text or 0) <= self.most


LARGEST_ID = 2**31 - 1
DIGITS = "[0-9]{1,20}"
ID = Kind(DIGITS, f"a whole number from 1 to {LARGEST_ID}", 1, LARGEST_ID)
STARS = Kind(r"[0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20}", "0.5 to 5", 0.5, 5)
TIME = Kind(DIGITS, "seconds since 1970, of eleven digits at most", 1, 99_999_999_999)
AGE = Kind("[0-9]{0,3}", "years, or nothing", 0, 150)
CODE = Kind("[0-9]{0,3}", "a code, or nothing", 0, 999)
FLAG = Kind("[01]", "0 or 1")
DATE = Kind("(.*[0-9]{4})?", "a date that ends with its year, or nothing")
NAME = Kind(r".*\S.*", "a text")
TEXT = Kind(".*", "a text")
NAMES = Kind(".*", "names with | between, each once, or nothing", is_set=True)


@dataclass(frozen=True)
class Form:
    """The lines of a file.

    Attributes:
        delimiter: what stands between the fields.
        columns: their names and kinds.
        header: the first line, where it names the columns.
        plain: nearly all lines, without their ends, for those who read millions.
    """

    delimiter: str
    columns: Mapping[str, Kind]
    header: str | None = None
    plain: bytes | None = None

    def fault(self, fields: Sequence[str]) -> str | None:
        """Say what is wrong with the fields of a line, if anything is."""
        if len(fields) != len(self.columns):
            return (
                f"{len(fields)} columns, expected {len(self.columns)} with "
                f"{self.delimiter!r} between"
            )
        for (name, kind), field in zip(self.columns.items(), fields, strict=True):
            if kind.excludes(field):
                return f"{name} is {field[:80]!r}, expected {kind.expected}"
        return None

    def fields(self, text: str) -> list[str] | str:
        """Part a line at its delimiters; or say why that cannot be done."""
        if self.delimiter == ",":
            return quoted(text)
        if self.delimiter == "::" and ":::" in text:
            return "three colons, of which any two could part the fields"
        return text.split(self.delimiter)


CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",]*))(,|$)')


def quoted(text: str) -> list[str] | str:
    """Part a line of a CSV, where a field that holds a comma or a quote is quoted."""
    fields, at = [], 0
    while True:
        cell = CELL.match(text, at)
        if cell is None:
            rest = text[at:]
            if rest.startswith('"') and not re.search('"(,|$)', rest[1:]):
                return "a quote that is not closed in its line"
            return "a quote in a field that is not quoted as a whole"
        inner = cell[1]
        fields.append(cell[2] if inner is None else inner.replace('""', '"'))
        at = cell.end()
        if not cell[3]:
            return fields


def plain(delimiter: bytes) -> bytes:
    """Describe ratings as GroupLens writes them."""
    number = rb"[1-9][0-9]{0,8}+"
    stars = rb"(?:0\.5|[1-4](?:\.[05])?+|5(?:\.0)?+)"
    return delimiter.join((number, number, stars, rb"[1-9][0-9]{0,10}+"))


RATING = {"user_id": ID, "item_id": ID, "rating": STARS, "rated_at": TIME}
ITEM = {"item_id": ID, "title": NAME, "genres": NAMES}
GENRES = (
    "unknown",
    "action",
    "adventure",
    "animation",
    "children",
    "comedy",
    "crime",
    "documentary",
    "drama",
    "fantasy",
    "film_noir",
    "horror",
    "musical",
    "mystery",
    "romance",
    "sci_fi",
    "thriller",
    "war",
    "western",
)

FORMS = {
    "u.data": Form("\t", RATING, plain=plain(b"\t")),
    "u.item": Form(
        "|",
        {
            "item_id": ID,
            "title": NAME,
            "released_on": DATE,
            "video_released_on": TEXT,
            "imdb_url": TEXT,
        }
        | dict.fromkeys(GENRES, FLAG),
    ),
    "u.user": Form(
        "|",
        {"user_id": ID, "age": AGE, "gender": TEXT, "occupation": TEXT, "zip": TEXT},
    ),
    "ratings.dat": Form("::", RATING, plain=plain(b"::")),
    "movies.dat": Form("::", ITEM),
    "users.dat": Form(
        "::",
        {"user_id": ID, "gender": TEXT, "age": AGE, "occupation": CODE, "zip": TEXT},
    ),
    "ratings.csv": Form(
        ",", RATING, "userId,movieId,rating,timestamp", plain=plain(b",")
    ),
    "movies.csv": Form(",", ITEM, "movieId,title,genres"),
}
"""By the name of the file."""
