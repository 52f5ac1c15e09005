"""Count a generation's keys in Redis before the generation becomes current."""

from collections.abc import Sequence

from batch.errors import BatchError
from batch.publishing import pipeline
from batch.publishing.connections import Client


def verify(
    client: Client,
    generation: str,
    user_ids: Sequence[int | str],
    n_items: int,
    item_lists: Sequence[str],
) -> None:
    """Check that Redis holds all keys of a generation; `item_lists` are those of items.

    Raises:
        BatchError: keys or items are missing.
    """
    own = client.keys.of(generation)
    key_forms = (own.user, own.because, own.history)
    keys = [key_of(user_id) for key_of in key_forms for user_id in user_ids]
    keys += [*item_lists, own.popular, own.about, own.meta]
    n_keys = pipeline.total(client.redis, "EXISTS", keys)
    n_described = client.redis.hlen(own.items)
    if (n_keys, n_described) != (len(keys), n_items):
        raise BatchError(
            f"{generation} is not whole: Redis holds {n_keys} of {len(keys)} keys like "
            f"{keys[0]} and {n_described} of {n_items} items; does maxmemory-policy "
            "evict, or did Redis restart?"
        )
