"""Generations that are being made, in parts, by several, over time.

The first who scores a part of a generation writes the generation's name into
`recs:pending`, under a digest of all that decides its lists. Others with the same
digest join it, and who comes after an interruption goes on with the parts that are
missing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from batch.errors import BatchError, LockHeld
from batch.publishing.connections import Client
from batch.publishing.part import Part
from lookup.shared import contract


@dataclass(frozen=True)
class Pending:
    """A generation of which parts are missing.

    Attributes:
        generation: its name.
        n: how many parts it has.
    """

    generation: str
    n: int

    @property
    def parts(self) -> list[Part]:
        """All of its parts."""
        return [Part(number, self.n) for number in range(1, self.n + 1)]


def read(client: Client) -> dict[str, Pending]:
    """Return the generations that are being made: digest → generation."""
    found = cast("dict[str, str]", client.hgetall(contract.PENDING))
    split = {digest: value.rpartition(" ") for digest, value in found.items()}
    return {digest: Pending(name, int(n)) for digest, (name, _, n) in split.items()}


def register(client: Client, digest: str, wanted: Pending) -> Pending:
    """Begin a generation in parts, or join the one that was begun with this digest."""
    client.hsetnx(contract.PENDING, digest, f"{wanted.generation} {wanted.n}")
    return read(client)[digest]


def forget(client: Client, digests: Sequence[str]) -> None:
    """Give up generations that are being made; the next sweep removes their keys."""
    if digests:
        client.hdel(contract.PENDING, *digests)


def forget_published(client: Client, generations: Collection[str]) -> None:
    """Forget what is no longer being made, since it is among the generations held."""
    found = read(client).items()
    forget(client, [digest for digest, made in found if made.generation in generations])


def is_being_scored(client: Client, made: Pending) -> bool:
    """Tell whether somebody holds the lock of one of its parts."""
    keys = (contract.part_lock_key(made.generation, p.number) for p in made.parts)
    return any(client.exists(key) for key in keys)


def done(client: Client, made: Pending) -> Mapping[int, int]:
    """Return the parts that are written: number → entries of its lists."""
    key = contract.parts_key(made.generation)
    found = cast("dict[str, str]", client.hgetall(key))
    return {int(number): int(n) for number, n in found.items()}


def record(client: Client, made: Pending, part: Part, n_entries: int) -> None:
    """Note that a part is written.

    Raises:
        BatchError: the generation was given up meanwhile.
    """
    check(client, made)
    client.hset(contract.parts_key(made.generation), str(part.number), str(n_entries))


def check(client: Client, made: Pending) -> None:
    """Make sure that a generation is still being made.

    Raises:
        BatchError: it is not.
    """
    if made not in read(client).values():
        raise BatchError(
            f"another batch has finished {made.generation}, or given it up, since this "
            "one began: nothing that is served has changed; were raw files, model or "
            "settings changed?"
        )


def clear_way(client: Client, digest: str, n: int | None = None) -> bool:
    """Give up what was begun of other inputs, or in other parts, and never finished.

    Args:
        client: of the Redis.
        digest: of the inputs that lists are to be made of now.
        n: in how many parts; any will do where none is given.

    Returns:
        Whether there was something to give up.

    Raises:
        LockHeld: somebody is at it.
    """
    others = {
        found: made
        for found, made in read(client).items()
        if found != digest or n not in (None, made.n)
    }
    for made in others.values():
        if is_being_scored(client, made):
            raise LockHeld(
                f"another batch is scoring {made.generation} in {made.n} parts, from "
                "other inputs; wait for it"
            )
    forget(client, list(others))
    return bool(others)
