"""The evaluation protocols: which of a user's ratings are held out.

The split is by time and not at random: a recommender predicts the next items, and a
random hold-out would let a model learn from later ones.
"""

from dataclasses import dataclass

SPLIT = (
    "per-user time split: the last {} of each user's ratings by (timestamp, tie, "
    "item_id) held out, every item not in the rest ranked"
)


@dataclass(frozen=True)
class Protocol:
    """A way to split each user's ratings into a history and a hold-out.

    Attributes:
        name: value of `--protocol`.
        split: the same in words.
        n_cuts: of the cutoff before the hold-out; see `batch.features.tables.build`.
        n_next: of that cutoff too.
    """

    name: str
    split: str
    n_cuts: int
    n_next: int


FIFTH = Protocol("fifth", SPLIT.format("20 %"), n_cuts=1, n_next=0)
LAST = Protocol("last", SPLIT.format("one"), n_cuts=0, n_next=1)
PROTOCOLS = {protocol.name: protocol for protocol in (FIFTH, LAST)}
