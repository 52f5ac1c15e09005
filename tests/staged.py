"""Lists as the batch writes them, without a model."""

from collections.abc import Sequence

from batch.publishing import connections, shared_keys
from batch.publishing.shared_keys import Item
from batch.publishing.writers import list_writer
from batch.scoring.ranking import Ranking


def stage(
    client: connections.Client,
    generation: str,
    rankings: Sequence[Ranking],
    popular: Sequence[tuple[int, float]],
    items: Sequence[Item],
) -> None:
    """Write users' lists, the popular one and the items of a generation."""
    with list_writer(client, client.keys.of(generation).user) as lists:
        lists.write(rankings)
    shared_keys.write_popular(client, generation, popular)
    shared_keys.write_items(client, generation, items)
