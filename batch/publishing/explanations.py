"""What Redis holds beside users' lists: why, what they rated, and what is like an item.

Of users it is written as their lists pass, of items once a generation.
"""

from collections.abc import Generator, Iterable, Sequence

import duckdb

from batch.errors import BatchError
from batch.publishing import (
    connections,
    encoding,
    generations,
    histories,
    reasons,
    similar,
)
from batch.publishing.connections import Client
from batch.scoring.ranking import Ranking
from lookup.shared import contract

USERS_PER_QUERY = 1000

Connection = duckdb.DuckDBPyConnection


def written(
    connection: Connection,
    client: Client,
    generation: str,
    rankings: Iterable[Ranking],
) -> Generator[Ranking, None, None]:
    """Pass rankings on and write, for each one's user, what stands beside the list.

    Args:
        connection: holds the tables of the moment.
        client: of the Redis.
        generation: to write under.
        rankings: of any users of the moment.

    Raises:
        BatchError: when there were reasons of that generation.
    """
    # whoever ranks may be in the middle of a query on the other connection
    with connection.cursor() as own, connections.Stream(client) as stream:
        for some in generations.batches(rankings, USERS_PER_QUERY):
            commands = _commands(own, generation, some)
            stream.send(list(commands), list(commands.values()))
            yield from some  # Redis stores meanwhile
            _check(generation, some, stream.receive())


def write_similar(
    connection: Connection, client: Client, generation: str, top_n: int
) -> list[int]:
    """Write the list of each item that is like others; return these items."""
    lists = list(similar.read(connection, top_n))
    generations.write_lists(client, generation, lists, contract.similar_key)
    return [one.user_id for one in lists]


def check(
    client: Client,
    generation: str,
    user_ids: Sequence[int],
    item_ids: Sequence[int],
) -> None:
    """Count what was written, before it is served.

    Args:
        client: of the Redis.
        generation: which is complete.
        user_ids: all users.
        item_ids: all items that are like others.

    Raises:
        BatchError: when Redis holds less.
    """
    kinds = (contract.because_key, contract.history_key)
    keys = [key_of(generation, user_id) for key_of in kinds for user_id in user_ids]
    keys += [contract.similar_key(generation, item_id) for item_id in item_ids]
    keys += [contract.about_key(generation), contract.meta_key(generation)]
    n_kept = connections.total(client, "EXISTS", keys)
    if n_kept != len(keys):
        raise BatchError(
            f"{generation} is not whole: Redis holds {n_kept} of {len(keys)} keys like "
            f"{keys[0]}; {generations.LOSSES}"
        )


def _commands(
    connection: Connection, generation: str, rankings: Sequence[Ranking]
) -> dict[str, bytes]:
    """Write the commands for some users by key, those for the reasons first."""
    user_ids = [ranking.user_id for ranking in rankings]
    why = reasons.read(connection, rankings)
    rated = histories.read(connection, user_ids)
    commands: dict[str, bytes] = {}
    for user_id in user_ids:
        key = contract.because_key(generation, user_id)
        commands[key] = _command("RPUSH", key, *(why[user_id] or [contract.NO_ITEMS]))
    for user_id in user_ids:
        key = contract.history_key(generation, user_id)
        commands[key] = _command("SET", key, contract.encode_history(rated[user_id]))
    return commands


def _command(*parts: str) -> bytes:
    return encoding.command(*(part.encode() for part in parts))


def _check(
    generation: str, rankings: Sequence[Ranking], answers: Sequence[int]
) -> None:
    """See that each list of reasons is as long as the list beside it."""
    lengths = [max(1, len(ranking.item_ids)) for ranking in rankings]
    if answers[: len(lengths)] != lengths:
        raise BatchError(f"{generation} is not new: some of its reasons were there")
