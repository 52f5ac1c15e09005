"""Count a generation's keys in Redis before the generation becomes current."""

from collections.abc import Sequence

from batch.errors import BatchError
from batch.publishing import pipeline
from batch.publishing.connections import Client
from lookup.shared import contract

USER_KEYS = (contract.user_key, contract.because_key, contract.history_key)


def verify(
    client: Client,
    generation: str,
    user_ids: Sequence[int],
    n_items: int,
    similar: Sequence[int],
) -> None:
    """Check that Redis holds all keys of a generation; `similar` are item_ids.

    Raises:
        BatchError: keys or items are missing.
    """
    keys = [key_of(generation, user_id) for key_of in USER_KEYS for user_id in user_ids]
    keys += [contract.similar_key(generation, item_id) for item_id in similar]
    keys += [contract.popular_key(generation), contract.about_key(generation)]
    keys += [contract.meta_key(generation)]
    n_keys = pipeline.total(client, "EXISTS", keys)
    n_described = client.hlen(contract.items_key(generation))
    if (n_keys, n_described) != (len(keys), n_items):
        raise BatchError(
            f"{generation} is not whole: Redis holds {n_keys} of {len(keys)} keys like "
            f"{keys[0]} and {n_described} of {n_items} items; does maxmemory-policy "
            "evict, or did Redis restart?"
        )
