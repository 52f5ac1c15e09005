"""`compare`: how the lists of two generations differ."""

from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import nsmallest

from batch.commands import Result, resources
from batch.evaluation.metrics import K, mean
from batch.evaluation.overlap import overlap, rank_biased_overlap
from batch.publishing import generations, stored_lists
from batch.publishing.connections import Client
from batch.settings import Settings

N_CHANGED = 10
"""How many users, of those whose lists differ most, are named."""
UNCHANGED = 1 - 1e-9
"""The rank-biased overlap of equal lists, less what floats lose."""


def compare(settings: Settings, *, first: str, second: str) -> Result:
    """Compare the lists of two generations that are held, as the lookup shows them."""
    names = {"first": first, "second": second}
    with resources.open_redis(settings) as (_url, client):
        metas = {
            side: generations.meta_of(client, name) for side, name in names.items()
        }
        known = {side: stored_lists.users(client, name) for side, name in names.items()}
        users = sorted({*known["first"]} & {*known["second"]})
        top_n = min(int(meta["top_n"]) for meta in metas.values())
        streams = [read(client, name, users, top_n) for name in names.values()]
        popular = [{*(next(stream) or ())} for stream in streams]
        places: list[Counter[str]] = [Counter(), Counter()]
        alike: dict[str, dict[str, float]] = {}
        for user, *lists in zip(users, *streams, strict=True):
            one, other = (items or [] for items in lists)
            places[0].update(one[:K])
            places[1].update(other[:K])
            alike[user] = {
                "overlap_at_10": overlap(one, other),
                "rank_biased_overlap": rank_biased_overlap(one, other),
            }
    changed = nsmallest(N_CHANGED, alike, key=lambda user: tuple(alike[user].values()))
    measures = ("overlap_at_10", "rank_biased_overlap")
    return {
        "n_users": len(users),
        **{name: mean(values[name] for values in alike.values()) for name in measures},
        "unchanged_share": mean(v[measures[1]] > UNCHANGED for v in alike.values()),
        **{
            side: {
                "generation": names[side],
                "model_version": metas[side].get("model_version", ""),
                "n_users": len(known[side]),
                "coverage_at_10": len(n_places) / max(1, int(metas[side]["n_items"])),
                "popular_share_at_10": sum(n_places[item] for item in liked)
                / max(1, n_places.total()),
            }
            for side, n_places, liked in zip(names, places, popular, strict=True)
        },
        "changed_most": {user: alike[user] for user in changed},
    }


def read(
    client: Client, generation: str, users: Sequence[str], n: int
) -> Iterator[list[str] | None]:
    """Yield the popular list of a generation, then those of users, as shown."""
    keys = client.keys.of(generation)
    hidden = stored_lists.hidden_items(client, generation)
    names = [keys.popular, *map(keys.user, users)]
    return stored_lists.read(client, names, n, hidden)
