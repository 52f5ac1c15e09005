"""Lists as the batch writes them, without a model."""

from collections.abc import Sequence

import numpy as np

from batch.publishing import connections, shared_keys
from batch.publishing.external_ids import ExternalIds, Ids
from batch.publishing.shared_keys import Item
from batch.publishing.writers import list_writer
from batch.scoring.ranking import Ranking
from lookup.shared import contract


def ids_of(rankings: Sequence[Ranking]) -> Ids:
    """Return the ids in rankings, which are the same outside."""
    item_ids = np.concatenate([[], *(ranking.item_ids for ranking in rankings)])
    users = ExternalIds.of(ranking.user_id for ranking in rankings)
    return Ids(users, ExternalIds.of(np.unique(item_ids.astype(np.int32)).tolist()))


def stage(
    client: connections.Client,
    generation: str,
    rankings: Sequence[Ranking],
    popular: Sequence[tuple[int, float]],
    items: Sequence[Item],
    ids: Ids | None = None,
) -> None:
    """Write users' lists, the popular one and the items of a generation."""
    of = ids or ids_of(rankings)
    key_of = client.keys.of(generation).user
    with list_writer(client, key_of, of.users, of.items) as lists:
        lists.write(rankings)
    key = client.keys.of(generation).popular
    client.redis.rpush(key, *contract.encode(popular))
    shared_keys.write_items(client, generation, items)
