"""Count a generation's keys in Redis before the generation becomes current."""

from collections import Counter
from collections.abc import Sequence

from batch.errors import BatchError
from batch.publishing import generations, pipeline
from batch.publishing.connections import Client
from lookup.shared.keys import USER_KINDS


def verify(
    client: Client,
    generation: str,
    user_ids: Sequence[int | str],
    n_items: int,
    lists: Sequence[str],
) -> None:
    """Check that Redis holds all keys of a generation; `lists` are those users share.

    Raises:
        BatchError: keys or items are missing.
    """
    own = client.keys.of(generation)
    key_forms = (own.user, own.because, own.history)
    keys = [key_of(user_id) for key_of in key_forms for user_id in user_ids]
    keys += [*lists, own.about, own.meta]
    n_keys = pipeline.total(client.redis, "EXISTS", keys)
    n_described = client.redis.hlen(own.items)
    if (n_keys, n_described) != (len(keys), n_items):
        raise BatchError(
            f"{generation} is not whole: Redis holds {n_keys} of {len(keys)} keys like "
            f"{keys[0]} and {n_described} of {n_items} items; does maxmemory-policy "
            "evict, or did Redis restart?"
        )


def verify_held(client: Client, generation: str) -> None:
    """Check that a generation that is held still has what its meta counts.

    Raises:
        BatchError: it is not held, or keys or items are missing.
    """
    meta, own = generations.meta_of(client, generation), client.keys.of(generation)
    found = Counter(
        {
            kind: len(keys)
            for kind, keys in generations.keys_of(client, generation).items()
        }
    )
    found["items"] = client.redis.hlen(own.items)
    lost = [key for key in (own.popular, own.about) if not client.redis.exists(key)]
    wanted = dict.fromkeys(USER_KINDS, int(meta["n_users"]))
    wanted["items"] = int(meta["n_items"])
    lacking = {kind: (found[kind], n) for kind, n in wanted.items() if found[kind] != n}
    if lacking or lost:
        counts = ", ".join(f"{n} of {of} {kind}" for kind, (n, of) in lacking.items())
        raise BatchError(
            f"{generation} is not whole: Redis holds {counts or 'no ' + lost[0]}; "
            "the served lists have not changed"
        )
