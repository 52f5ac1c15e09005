"""The inputs of a generation; a run is skipped while they stay the same."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from batch import warehouse
from batch.commands import resources
from batch.commands.resources import Connection
from batch.features import tables
from batch.ingest import release
from batch.ingest.release import Release
from batch.settings import Settings
from lookup.shared.env import without_password


@dataclass(frozen=True)
class Inputs:
    """The inputs that determine a generation's lists.

    Attributes:
        model_version: the version that scores; None while no version is `prod`.
        fingerprint: a digest of raw files, SQL and settings.
        tags: the release and the digests of raw files and SQL, as MLflow's tags.
    """

    model_version: str | None
    fingerprint: str
    tags: Mapping[str, str]

    @classmethod
    def of(cls, raw: Release, settings: Settings, db: Connection | None) -> Self:
        """Digest the raw data, and resolve the alias `prod`."""
        tags = tags_of(raw, db)
        parts = (
            f"{settings.scale!r}",
            tags["raw_fingerprint"],
            tags["sql_fingerprint"],
            f"top_n={settings.top_n}",
            # each store has its own version 1; a change of password makes no difference
            f"store={without_password(settings.tracking_uri)}",
        )
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
        return cls(resources.prod_version(settings), digest, tags)

    def with_version(self, version: str) -> Self:
        """Return the same inputs with another version of the model."""
        return replace(self, model_version=version)

    def made(self, meta: Mapping[str, str]) -> bool:
        """Return whether a generation with this meta was made from these inputs.

        A meta without one of the fields never matches, so its generation is replaced.
        """
        return (meta.get("model_version"), meta.get("fingerprint")) == (
            self.model_version,
            self.fingerprint,
        )


def tags_of(raw: Release, db: Connection | None) -> dict[str, str]:
    """Return the tags that identify the data behind a model or a generation."""
    return {
        "release": raw.name,
        "raw_fingerprint": raw_fingerprint(raw, db),
        "sql_fingerprint": tables.fingerprint(),
    }


def raw_fingerprint(raw: Release, db: Connection | None) -> str:
    """Digest the raw files or, where queries give the data, the staging tables."""
    if raw.is_queried and db is not None:
        return warehouse.digest(db)
    return release.fingerprint(raw)
