"""Measure the served generation by what came after it, before the next replaces it."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from batch.commands.resources import Connection
from batch.errors import BatchError
from batch.evaluation import forerunner
from batch.evaluation.forerunner import Served
from batch.evaluation.metrics import K
from batch.publishing import stored_lists
from batch.publishing.connections import Client
from lookup.shared import contract
from lookup.shared.contract import Forerunner

if TYPE_CHECKING:
    from batch.model.registry import Registry

log = logging.getLogger(__name__)


def measure(
    connection: Connection,
    client: Client,
    served: tuple[str, Mapping[str, str]] | None,
) -> Forerunner | None:
    """Measure the served generation; None if nothing came after it.

    Args:
        connection: holds the staging tables, with what came after.
        client: the Redis that holds the lists.
        served: the generation and its meta, of the same release.
    """
    generation, meta = served or ("", {})
    since = int(meta.get("newest_rated_at") or 0)  # older versions did not note it
    done = forerunner.later(connection, since) if since else {}
    if not done:
        return None
    keys = client.keys.of(generation)
    hidden = stored_lists.hidden_items(client, generation)
    lists = stored_lists.read(client, [keys.popular, *map(keys.user, done)], K, hidden)
    popular, source = next(lists) or [], meta.get("source", "personal")
    shown = {
        user: Served(popular, "popular") if items is None else Served(items, source)
        for user, items in zip(done, lists, strict=True)
    }
    version, n_items = meta.get("model_version", ""), int(meta.get("n_items") or 0)
    found = forerunner.measure(generation, version, since, done, shown, n_items)
    figures = found.figures["all"].items()
    words = ", ".join(f"{name} {value:.4g}" for name, value in figures)
    log.info("%s, served until now, by what came after: %s", generation, words)
    return found


def text(
    measured: Forerunner | None, served: tuple[str, Mapping[str, str]] | None
) -> str:
    """Return what the next generation's meta says of its forerunner.

    Where nothing came after the served generation, that is what it says of its own.
    """
    if measured is not None:
        return contract.encode_forerunner(measured)
    return served[1].get("forerunner", "") if served else ""


def log_run(registry: "Registry", found: Forerunner) -> None:
    """Log the figures to MLflow as a run of their own; a failure is only logged."""
    try:
        registry.log_forerunner(found)
    except BatchError as error:
        log.warning("%s", error)
