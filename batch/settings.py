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

ML_100K_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
KEEP_GENERATIONS = 3
STORES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
MLFLOW_CREDENTIALS = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
"""MLflow reads these itself, and from the environment only."""


@dataclass(frozen=True)
class Settings:
    """A command's settings; paths are relative to the working directory."""

    raw: Path
    url: str
    redis_url: str | None
    tracking_uri: str
    top_n: int
    redis_prefix: str = PREFIX
    keep_generations: int = KEEP_GENERATIONS
    scorer: str = "compiled"
    scheduler: str | None = None
    data: Path = Path("data")

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
        return cls(
            raw=Path(raw or environ.get("MOVIELENS_RAW") or "data/raw"),
            url=download_url(environ.get("MOVIELENS_URL") or ML_100K_URL),
            redis_url=redis_address(environ),
            tracking_uri=tracking_uri(
                secret(environ, "MLFLOW_TRACKING_URI") or "sqlite:///mlruns/mlflow.db"
            ),
            top_n=positive_integer("TOP_N", top_n or environ.get("TOP_N") or "100"),
            redis_prefix=redis_prefix(environ),
            keep_generations=keep_generations(
                environ.get("KEEP_GENERATIONS") or str(KEEP_GENERATIONS)
            ),
            scorer=scorer,
            scheduler=scheduler,
        )

    @property
    def redis_folder(self) -> Path:
        """The folder of the embedded Redis."""
        return self.data / "redis"

    @property
    def processed(self) -> Path:
        """The folder of features and pages."""
        return self.data / "processed"

    @property
    def recommendations(self) -> Path:
        """The folder of the generations' lists."""
        return self.processed / "recommendations"


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


def mlflow_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Return MLflow's credentials, read from variables or from the files they name.

    Raises:
        SettingError: a credential's file cannot be used.
    """
    found = {name: secret(environ, name) for name in MLFLOW_CREDENTIALS}
    return {name: value for name, value in found.items() if value}


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


def download_url(text: str) -> str:
    """Check that a URL is http(s) and holds no credentials; return it.

    Raises:
        SettingError: it is not, or holds some.
    """
    try:
        parts = urlsplit(text)
        is_usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and "@" not in parts.netloc
            and not re.search(r"\s", text)
        )
    except ValueError:
        is_usable = False
    if not is_usable:
        raise SettingError(
            f"MOVIELENS_URL is {without_password(text)!r}, expected the http(s) "
            "address of a .zip, without user and password"
        )
    return text
