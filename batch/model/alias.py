"""Read the alias `prod` without importing MLflow.

The import takes two seconds, most of the time of a run that finds nothing changed.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from batch.settings import MODEL_NAME

PROD = "prod"

CHECKSUM = "booster_sha256"
"""The tag of a version with the sha256 of its served booster's file. Versions that
other tools registered have none."""

RUN_TAGS = ("release", "raw_fingerprint", "features_fingerprint", "rating_scale")
"""The tags of a run that say what its model was trained on."""

VERSION = f"""
    select
        v.version, v.run_id, v.source, v.creation_time,
        (
            select t.value from model_version_tags as t
            where t.name = v.name and t.version = v.version and t.key = '{CHECKSUM}'
        )
    from registered_model_aliases as a
    inner join model_versions as v on v.name = a.name and v.version = a.version
    where a.name = ? and a.alias = ?
"""  # noqa: S608
TAGS = "select key, value from tags where run_uuid = ?"


class UnreadableError(Exception):
    """Only MLflow can read the store: a server, or a database of unknown schema."""


@dataclass(frozen=True)
class Prod:
    """The version that `prod` names.

    Attributes:
        version: its number, which another model may get after a deletion.
        identity: the checksum of its booster, or else its run, files and time.
        tags: those RUN_TAGS that its run has.
    """

    version: str
    identity: str
    tags: Mapping[str, str]

    @classmethod
    def of(
        cls,
        version: str,
        checksum: str | None,
        origin: tuple[object, ...],
        tags: Mapping[str, str],
    ) -> Self:
        """Build it from what a store holds; `origin` is run, source and time."""
        known = {name: tags[name] for name in RUN_TAGS if name in tags}
        return cls(version, checksum or " ".join(map(str, origin)), known)


def read(tracking_uri: str, model_name: str = MODEL_NAME) -> Prod | None:
    """Return what `prod` names in a local store, None if there is no such alias.

    Raises:
        UnreadableError: only MLflow can answer.
    """
    scheme, _, path = tracking_uri.partition(":///")
    if scheme != "sqlite" or "?" in path:
        raise UnreadableError
    if not Path(path).exists():
        return None
    try:
        address = f"file:{quote(path)}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as database:
            rows = database.execute(VERSION, (model_name, PROD)).fetchall()
            tags = [database.execute(TAGS, row[1:2]).fetchall() for row in rows]
    except sqlite3.Error as error:
        raise UnreadableError from error
    if not rows:
        return None
    if len(rows) > 1:  # one in each of several workspaces
        raise UnreadableError
    [(version, *origin, checksum)] = rows
    return Prod.of(str(version), checksum, tuple(origin), dict(tags[0]))
