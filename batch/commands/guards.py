"""The guards: a run that would replace good lists by doubtful ones ends.

Each returns what changed, with both sides and what to do; `enforce` ends the run.
"""

import logging
from collections.abc import Mapping, Sequence

from batch import warehouse
from batch.commands.inputs import Inputs
from batch.commands.resources import Connection
from batch.errors import BatchError
from batch.features import tables
from batch.ingest import release
from batch.model.alias import Prod

Served = tuple[str, Mapping[str, str]]
"""The generation that is served, and its meta."""

TRAIN = "train on these data with this SQL (python -m batch train --promote)"

log = logging.getLogger(__name__)


def enforce(changes: Sequence[str], *, is_accepted: bool) -> None:
    """End the run if something changed and was not accepted.

    Raises:
        BatchError: says what changed, and how to go on all the same.
    """
    if changes and not is_accepted:
        raise BatchError(
            f"{'; and '.join(changes)}; to go on all the same: --accept-changes"
        )
    for change in changes:
        log.warning("--accept-changes: %s", change)


def model_changes(inputs: Inputs, served: Served | None) -> list[str]:
    """Return why `prod` may not fit these raw files and this SQL.

    A version that names no release, as other tools register them, is taken to fit what
    is served; one that names no features, to fit the SQL.
    """
    return [
        *_other_release(inputs, served),
        *_other_features(inputs),
        *_other_scale(inputs),
    ]


def _other_release(inputs: Inputs, served: Served | None) -> list[str]:
    prod, name = inputs.prod, inputs.tags["release"]
    if prod is not None and "release" in prod.tags:
        if prod.tags.get("raw_fingerprint") == inputs.tags["raw_fingerprint"]:
            return []
        former = prod.tags["release"]
        origin = f"version {prod.version}, which is prod, was trained on"
    elif served is not None and "release" in served[1]:
        former, origin = served[1]["release"], f"{served[0]}, which is served, is from"
    else:
        return []
    if not release.is_other(name, former):
        return []
    return [
        f"the raw files are {name}, but {origin} {former}: name the files of {former} "
        f"(--raw or MOVIELENS_RAW), or {TRAIN}"
    ]


def is_same_release(inputs: Inputs, served: Served | None) -> bool:
    """Return whether what is served is of the release of the raw files.

    Else the same ids are other users and items.
    """
    name = inputs.tags["release"]
    return served is not None and not release.is_other(
        name, served[1].get("release", "")
    )


def _other_features(inputs: Inputs) -> list[str]:
    if inputs.prod is None or has_features_of(inputs.prod):
        return []
    former, digest = (
        tags["features_fingerprint"] for tags in (inputs.prod.tags, inputs.tags)
    )
    return [
        f"the SQL of the features ({digest[:8]}) is not that which version "
        f"{inputs.prod.version}, which is prod, was trained with ({former[:8]}): train "
        "with this SQL (python -m batch train, then promote --version N)"
    ]


def _other_scale(inputs: Inputs) -> list[str]:
    prod, scale = inputs.prod, inputs.tags["rating_scale"]
    if prod is None or prod.tags.get("rating_scale", scale) == scale:
        return []
    return [
        f"ratings are {scale} (RATING_SCALE, LIKED_FROM, DISLIKED_TO), but version "
        f"{prod.version}, which is prod, was trained with "
        f"{prod.tags['rating_scale']}: {TRAIN}"
    ]


def has_features_of(prod: Prod) -> bool:
    """Return whether the SQL gives the features that a version was trained with.

    A version of another tool does not say; it is taken to fit.
    """
    known = prod.tags.get("features_fingerprint")
    return known is None or known == tables.features_fingerprint()


def check_features(prod: Prod) -> None:
    """Check that a version can be measured with the features of this SQL.

    Raises:
        BatchError: it was trained with others.
    """
    if not has_features_of(prod):
        raise BatchError("it was trained with features of other SQL")


def nothing_to_recommend(connection: Connection) -> list[str]:
    """Return what is wrong if no list could hold an item."""
    if len(connection.table("films").filter("is_eligible")):
        return []
    n_items = len(connection.table("stg_items").filter("is_listed"))
    return [
        "no item may be recommended, so that all lists would be empty: "
        f"sql/marts/eligible_items.sql has none of {n_items:,} items"
    ]


def counts_of(connection: Connection) -> dict[str, int]:
    """Count the staging tables, as meta has it."""
    query = "select count(distinct user_id), count(*) from stg_ratings"
    ((n_users, n_ratings),) = connection.sql(query).fetchall()
    n_items = warehouse.count(connection, "stg_items")
    return {"n_users": n_users, "n_items": n_items, "n_ratings": n_ratings}


def shrinks(
    counts: Mapping[str, int], inputs: Inputs, served: Served | None, max_shrink: float
) -> list[str]:
    """Return which counts fell by more than `max_shrink` against what is served."""
    generation, meta = served or ("", {})
    fallen = []
    for name, n in counts.items():
        former = meta.get(name, "")  # a generation of an older version has fewer fields
        if former.isdecimal() and int(former) - n > max_shrink * int(former):
            share = 1 - n / int(former)
            kind = name.removeprefix("n_")
            fallen.append(f"{kind} fell from {int(former):,} to {n:,} (-{share:.0%})")
    if not fallen:
        return []
    release_name = meta.get("release", "?")
    version = meta.get("model_version") or "none"
    return [
        f"{', '.join(fallen)} from {generation}, which is served ({release_name}, "
        f"version {version}), to these raw files ({inputs.tags['release']}), by more "
        f"than MAX_SHRINK={max_shrink:g}: are the files complete?"
    ]
