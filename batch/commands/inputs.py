"""The inputs of a generation; a run is skipped while they stay the same."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

from batch.commands import resources
from batch.commands.resources import Connection
from batch.errors import BatchError
from batch.features import tables
from batch.ingest import load, release
from batch.ingest.release import Release
from batch.model.alias import Prod
from batch.publishing.generations import Meta
from batch.settings import RatingScale, Settings


@dataclass(frozen=True)
class Inputs:
    """The inputs that determine a generation's lists.

    Attributes:
        prod: the version that scores; None while no version is `prod`.
        tags: the release and the digests of raw files and SQL, as MLflow's tags.
        top_n: the length of the lists.
    """

    prod: Prod | None
    tags: Mapping[str, str]
    top_n: int

    @classmethod
    def of(cls, raw: Release, settings: Settings, db: Connection | None) -> Self:
        """Digest the raw data, and resolve the alias `prod`."""
        tags = tags_of(raw, db, settings.scale)
        return cls(resources.prod(settings), tags, settings.top_n)

    def with_prod(self, prod: Prod | None) -> Self:
        """Return the same inputs with a model that has just become `prod`."""
        if prod is None:
            raise BatchError("prod was removed meanwhile: run again")
        return replace(self, prod=prod)

    @property
    def version(self) -> str:
        """The number of the version that scores, empty while none is `prod`."""
        return self.prod.version if self.prod else ""

    @property
    def fingerprint(self) -> str:
        """A digest of raw files, SQL, model and settings."""
        parts = (
            self.tags["raw_fingerprint"],
            self.tags["sql_fingerprint"],
            self.tags["rating_scale"],
            f"top_n={self.top_n}",
            # not its number: after a deletion, another model has it
            f"model={self.prod and self.prod.identity}",
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def made(self, meta: Mapping[str, str]) -> bool:
        """Return whether a generation with this meta was made from these inputs.

        A meta without one of the fields never matches, so its generation is replaced.
        """
        is_complete = meta.keys() >= {field.name for field in fields(Meta)}
        return is_complete and meta["fingerprint"] == self.fingerprint


def tags_of(raw: Release, db: Connection | None, scale: RatingScale) -> dict[str, str]:
    """Return the tags that identify the data behind a model or a generation."""
    return {
        "release": raw.name,
        "raw_fingerprint": raw_fingerprint(raw, db),
        "sql_fingerprint": tables.fingerprint(),
        "features_fingerprint": tables.features_fingerprint(),
        "rating_scale": str(scale),
    }


def raw_fingerprint(raw: Release, db: Connection | None) -> str:
    """Digest the raw files or, where queries give the data, the staging tables."""
    if raw.is_queried and db is not None:
        return load.digest(db)
    return release.fingerprint(raw)
