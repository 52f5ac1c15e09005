"""The batch's settings, read once from the environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lookup.shared.env import (
    SettingError,
    positive_integer,
    redis_address,
    redis_prefix,
    secret,
    without_password,
)
from lookup.shared.keys import PREFIX

MODEL_NAME = "MovieLensXGB"
"""The name of the registered model, unless MODEL_NAME says otherwise."""

ML_100K_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
KEEP_GENERATIONS = 3
STORES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
MLFLOW_CREDENTIALS = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
"""MLflow reads these itself, and from the environment only."""

LEAST_DUCKDB_MEMORY = 32 * 2**20
MOST_DUCKDB_THREADS = 1024


@dataclass(frozen=True)
class RatingScale:
    """What the ratings of the raw files mean.

    Attributes:
        lowest: the lowest rating of the files.
        highest: the highest, which counts as five stars.
        liked_from: in stars; an item with this rating or more was liked.
        disliked_to: in stars; an item with this rating or less was disliked.
    """

    lowest: float = 0.5
    highest: float = 5.0
    liked_from: float = 4.0
    disliked_to: float = 2.0

    def __str__(self) -> str:
        return (
            f"{self.lowest:g}-{self.highest:g}, liked from {self.liked_from:g}, "
            f"disliked to {self.disliked_to:g} stars"
        )

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "RatingScale":
        """Read RATING_SCALE, LIKED_FROM and DISLIKED_TO."""
        text = environ.get("RATING_SCALE") or "0.5-5"
        match = re.fullmatch(rf"({NUMBER})-({NUMBER})", text)
        if not match or not float(match[1]) < float(match[2]):
            raise SettingError(
                f"RATING_SCALE={text!r}: expected the lowest and the highest rating, "
                "such as 0.5-5 or 0-10"
            )
        scale = cls(
            float(match[1]),
            float(match[2]),
            stars("LIKED_FROM", environ.get("LIKED_FROM") or "4"),
            stars("DISLIKED_TO", environ.get("DISLIKED_TO") or "2"),
        )
        if scale.disliked_to >= scale.liked_from:
            raise SettingError(
                f"DISLIKED_TO={scale.disliked_to:g}: expected less than "
                f"LIKED_FROM={scale.liked_from:g}"
            )
        return scale


NUMBER = "[0-9]{1,9}(?:[.][0-9]{1,9})?"
DEFAULT_SCALE = RatingScale()


@dataclass(frozen=True)
class Settings:
    """A command's settings; paths are relative to the working directory."""

    raw: Path
    url: str
    redis_url: str | None
    tracking_uri: str
    top_n: int
    is_raw_named: bool = False
    max_shrink: float = 0.2
    redis_prefix: str = PREFIX
    keep_generations: int = KEEP_GENERATIONS
    scorer: str = "compiled"
    scheduler: str | None = None
    scale: RatingScale = DEFAULT_SCALE
    staging: str | None = None
    model_name: str = MODEL_NAME
    data: Path = Path("data")
    duckdb_memory: int | None = None
    duckdb_threads: int | None = None

    @classmethod
    def read(
        cls,
        environ: Mapping[str, str],
        raw: str | None = None,
        top_n: str | None = None,
        scorer: str = "compiled",
        scheduler: str | None = None,
    ) -> "Settings":
        """Read the environment; the arguments, which come from flags, override it.

        Raises:
            SettingError: names the variable, its value and what was expected.
        """
        named = raw or environ.get("MOVIELENS_RAW")
        return cls(
            raw=Path(named or "data/raw"),
            is_raw_named=bool(named),
            url=download_url(environ.get("MOVIELENS_URL") or ML_100K_URL),
            redis_url=redis_address(environ),
            tracking_uri=tracking_uri(
                secret(environ, "MLFLOW_TRACKING_URI") or "sqlite:///mlruns/mlflow.db"
            ),
            top_n=positive_integer("TOP_N", top_n or environ.get("TOP_N") or "100"),
            max_shrink=share("MAX_SHRINK", environ.get("MAX_SHRINK") or "0.2"),
            redis_prefix=redis_prefix(environ),
            keep_generations=keep_generations(
                environ.get("KEEP_GENERATIONS") or str(KEEP_GENERATIONS)
            ),
            scorer=scorer,
            scheduler=scheduler,
            scale=RatingScale.read(environ),
            staging=environ.get("STAGING") or None,
            model_name=model_name(environ.get("MODEL_NAME") or MODEL_NAME),
            duckdb_memory=duckdb_memory(environ.get("DUCKDB_MEMORY")),
            duckdb_threads=duckdb_threads(environ.get("DUCKDB_THREADS")),
        )

    @property
    def redis_folder(self) -> Path:
        """The folder of the embedded Redis."""
        return self.data / "redis"

    @property
    def unpacked(self) -> Path:
        """The folder into which zips of raw files are unpacked."""
        return self.data / "unpacked"

    @property
    def processed(self) -> Path:
        """The folder of features and pages."""
        return self.data / "processed"

    @property
    def spill(self) -> Path:
        """The folder into which DuckDB puts what does not fit into memory."""
        return self.processed / "spill"

    @property
    def recommendations(self) -> Path:
        """The folder of the generations' lists."""
        return self.processed / "recommendations"


def stars(name: str, text: str) -> float:
    """Read a number on the scale of 0.5 to 5 stars; 0 and below 0.5 mean none."""
    if not re.fullmatch(NUMBER, text) or float(text) > 5:
        raise SettingError(f"{name}={text!r}: expected a number from 0 to 5")
    return float(text)


def keep_generations(text: str) -> int:
    """Read how many generations are held: 2 at least, since `rollback` needs one.

    Raises:
        SettingError: it is less, or no integer.
    """
    if not re.fullmatch("[0-9]{1,6}", text) or int(text) < 2:
        raise SettingError(
            f"KEEP_GENERATIONS={text!r}: expected an integer of at least 2, the served "
            "one and the one before"
        )
    return int(text)


def model_name(text: str) -> str:
    """Check the name of a registered model, which MLflow puts into addresses.

    Raises:
        SettingError: it has other characters than we allow.
    """
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}", text):
        raise SettingError(
            f"MODEL_NAME={text!r}: expected up to 100 letters, digits, spaces, "
            "`.`, `_` and `-`, a letter or digit first"
        )
    return text


def mlflow_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Return MLflow's credentials, read from variables or from the files they name.

    Raises:
        SettingError: a credential's file cannot be used.
    """
    found = {name: secret(environ, name) for name in MLFLOW_CREDENTIALS}
    return {name: value for name, value in found.items() if value}


def share(name: str, text: str) -> float:
    """Read a number from 0 to 1.

    Raises:
        SettingError: it is something else.
    """
    if not re.fullmatch(r"0|1|[01]?\.[0-9]{1,9}", text) or float(text) > 1:
        raise SettingError(f"{name}={text!r}: expected a number from 0 to 1")
    return float(text)


def tracking_uri(text: str) -> str:
    """Check that a URI names a store in which MLflow can register models; return it.

    Raises:
        SettingError: it does not, as with MLflow's plain file store.
    """
    # such as postgresql+psycopg2://…, or just databricks
    scheme = text.partition(":")[0].partition("+")[0]
    if scheme not in STORES:
        raise SettingError(
            f"MLFLOW_TRACKING_URI={without_password(text)!r}: expected the address of "
            "a server or of a database such as sqlite:///mlruns/mlflow.db"
        )
    return text


def is_web_address(text: str) -> bool:
    """Return whether a URL is http(s), whole, and holds no credentials."""
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and "@" not in parts.netloc
            and text.isprintable()
            and " " not in text
        )
    except ValueError:
        return False


def download_url(text: str) -> str:
    """Check that a URL is http(s) and holds no credentials; return it.

    Raises:
        SettingError: it is not, or holds some.
    """
    if not is_web_address(text):
        raise SettingError(
            f"MOVIELENS_URL is {without_password(text)!r}, expected the http(s) "
            "address of a .zip, without user and password"
        )
    return text


def duckdb_memory(text: str | None) -> int | None:
    """Read a size such as `1GB` or `900MiB` in bytes; None stands for the default.

    Raises:
        SettingError: it is none, or is too small for any query.
    """
    if not text:
        return None
    size = re.fullmatch(
        r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?([MGT])(i?)B", text, re.IGNORECASE
    )
    if size:
        base = 1024 if size[3] else 1000
        n_bytes = int(float(size[1]) * base ** (2 + "MGT".index(size[2].upper())))
    if not size or n_bytes < LEAST_DUCKDB_MEMORY:
        raise SettingError(
            f"DUCKDB_MEMORY={text!r}: expected a size such as 1GB or 900MiB, "
            "at least 32MiB"
        )
    return n_bytes


def duckdb_threads(text: str | None) -> int | None:
    """Read a number of threads; None stands for the default.

    Raises:
        SettingError: it is none, or more than DuckDB can start.
    """
    threads = positive_integer("DUCKDB_THREADS", text) if text else None
    if threads is not None and threads > MOST_DUCKDB_THREADS:
        raise SettingError(
            f"DUCKDB_THREADS={text!r}: expected at most {MOST_DUCKDB_THREADS}"
        )
    return threads
