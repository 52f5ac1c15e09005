"""Generations as the batch writes them, whole at once."""

from collections.abc import Iterable, Iterator, Sequence

from batch.publishing import connections, generations
from batch.publishing.generations import Item
from batch.scoring.ranking import Ranking


def stage(
    client: connections.Client,
    generation: str,
    rankings: Iterable[Ranking],
    popular: Sequence[tuple[int, float]],
    items: Iterable[Item],
) -> int:
    """Write lists and what they share; return how many users have one."""
    user_ids: list[int] = []

    def noted() -> Iterator[Ranking]:
        for ranking in rankings:
            user_ids.append(ranking.user_id)
            yield ranking

    written = generations.write_lists(client, generation, noted())
    described = list(items)
    generations.complete(client, generation, popular, described)
    generations.check(client, generation, user_ids, written.n_entries, len(described))
    return written.n_users
