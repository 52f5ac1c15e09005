"""`compare`: how the lists of two generations differ."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from batch.commands import Result, resources
from batch.evaluation.metrics import K, mean
from batch.evaluation.overlap import overlap, rank_biased_overlap
from batch.publishing import generations, stored_lists
from batch.publishing.connections import Client
from batch.settings import Settings

N_CHANGED = 10
"""How many users, of those whose lists differ most, are named."""


@dataclass
class Side:
    """One of the two generations; `places` counts the items among the first ten."""

    generation: str
    model_version: str
    n_items: int
    top_n: int
    users: Sequence[str]
    hidden: frozenset[str]
    popular: frozenset[str]
    places: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> Result:
        """Return the JSON form.

        Popularity is the share of places that the generation's popular list fills.
        """
        n_popular = sum(n for item, n in self.places.items() if item in self.popular)
        return {
            "generation": self.generation,
            "model_version": self.model_version,
            "n_users": len(self.users),
            "coverage_at_10": len(self.places) / max(1, self.n_items),
            "popular_share_at_10": n_popular / max(1, self.places.total()),
        }


def compare(settings: Settings, *, first: str, second: str) -> Result:
    """Compare the lists of two generations that are held, as the lookup shows them."""
    with resources.open_redis(settings) as (_url, client):
        sides = [open_side(client, name) for name in (first, second)]
        users = sorted({*sides[0].users} & {*sides[1].users})
        top_n = min(side.top_n for side in sides)
        streams = [
            stored_lists.read(
                client,
                [client.keys.of(side.generation).user(user) for user in users],
                top_n,
                side.hidden,
            )
            for side in sides
        ]
        alike: dict[str, dict[str, float]] = {}
        for user, one, other in zip(users, *streams, strict=True):
            both = one or [], other or []
            for side, items in zip(sides, both, strict=True):
                side.places.update(items[:K])
            alike[user] = {
                "overlap_at_10": overlap(*both),
                "rank_biased_overlap": rank_biased_overlap(*both),
            }
    names = ("overlap_at_10", "rank_biased_overlap")
    changed = nsmallest(N_CHANGED, alike, key=lambda user: tuple(alike[user].values()))
    return {
        "n_users": len(users),
        **{name: mean(values[name] for values in alike.values()) for name in names},
        "unchanged_share": mean(
            float(one[names[1]] > 1 - 1e-9) for one in alike.values()
        ),
        "first": sides[0].as_dict(),
        "second": sides[1].as_dict(),
        "changed_most": {user: alike[user] for user in changed},
    }


def open_side(client: Client, generation: str) -> Side:
    """Read what is the same for all users of a generation.

    Raises:
        BatchError: it is not held; names those that are.
    """
    meta = generations.meta_of(client, generation)
    hidden = stored_lists.hidden_items(client, generation)
    (popular,) = stored_lists.read(
        client, [client.keys.of(generation).popular], int(meta["top_n"]), hidden
    )
    return Side(
        generation=generation,
        model_version=meta.get("model_version", ""),
        n_items=int(meta["n_items"]),
        top_n=int(meta["top_n"]),
        users=stored_lists.users(client, generation),
        hidden=hidden,
        popular=frozenset(popular or ()),
    )
