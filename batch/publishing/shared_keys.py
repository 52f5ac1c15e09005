"""The keys that users share: items, catalogue lists, similar, next, about and meta."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np

from batch import warehouse
from batch.evaluation.evaluation import by_ranker
from batch.features import item_models
from batch.features.candidates import evenly_spaced
from batch.publishing import generations
from batch.publishing.connections import Client
from batch.publishing.external_ids import ExternalIds, Ids
from batch.publishing.generations import Meta
from batch.publishing.pipeline import KEYS_PER_TRIP
from batch.publishing.writers import list_writer
from batch.scoring.ranking import Ranking
from lookup.shared import contract
from lookup.shared.contract import About, ExternalId, IdKind
from lookup.shared.keys import CATALOGUE

N_NEXT = 100
"""The length of a list of next items: sums of several, a session's, need no more."""

N_EXAMPLES = 100
"""The number of users that the page picks from."""

KIND_OF_DATA = r"""
    select
        (select min(rating) < max(rating) from stg_ratings),
        (
            select 2 * count(*) filter (where regexp_matches(title, '\(\d{4}\)\s*$'))
                > count(*)
            from stg_items
        )
"""
"""Whether ratings differ, and whether most titles end with a year, as films' do."""

ITEMS = """
    select
        item_id, film_id, is_eligible, coalesce(n_ratings, 0),
        item_key, title, genres, release_year
    from stg_items
    inner join films using (item_id)
    left join int_item_counts using (item_id)
    order by item_id
"""

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True)
class Item:
    """An item of the catalogue.

    Attributes:
        same_as: the item that stands for it in lists, None if it is itself.
        n_ratings: the number of its ratings, by which search orders items.
        is_eligible: whether lists and search may show it.
    """

    item_id: ExternalId
    title: str
    genres: Sequence[str]
    year: int | None
    same_as: ExternalId | None = None
    n_ratings: int = 0
    is_eligible: bool = True


def write(
    client: Client,
    generation: str,
    connection: Connection,
    about: About,
    meta: Meta,
    ids: Ids,
) -> list[str]:
    """Write all shared keys, the meta last; return the keys of lists."""
    write_items(client, generation, read_items(connection, ids.items))
    written = write_catalogue(client, generation, connection, meta.top_n, ids.items)
    keys = client.keys.of(generation)
    similar = read_similar(connection, meta.top_n)
    written += write_lists(client, keys.similar, similar, ids.items)
    written += write_lists(client, keys.next, read_next(connection), ids.items)
    write_about(client, generation, about)
    write_meta(client, generation, meta)
    return written


def write_items(client: Client, generation: str, items: Sequence[Item]) -> None:
    """Write `recs:{generation}:items`."""
    key = client.keys.of(generation).items
    for some in generations.batches(items, KEYS_PER_TRIP):
        fields: dict[Any, Any] = {}
        for item in some:
            text = {"title": item.title, "genres": [*item.genres], "year": item.year}
            text |= {"n_ratings": item.n_ratings}
            text |= {"same_as": item.same_as} if item.same_as is not None else {}
            text |= {} if item.is_eligible else {"is_eligible": False}
            fields[item.item_id] = json.dumps(text, ensure_ascii=False)
        client.redis.hset(key, mapping=fields)


def write_catalogue(
    client: Client,
    generation: str,
    connection: Connection,
    top_n: int,
    items: ExternalIds,
) -> list[str]:
    """Write `popular`, `trending` and `new`, of all and by genre; return the keys."""
    table = warehouse.fetch(connection, "marts/catalogue_lists", {"top_n": top_n})
    key_of = client.keys.of(generation).catalogue
    found: dict[str, list[tuple[int, float]]] = {key_of(kind): [] for kind in CATALOGUE}
    for row in table.to_pylist():  # the best first
        pairs = found.setdefault(key_of(row["kind"], row["genre"]), [])
        pairs.append((row["item_id"], row["score"]))
    lists = [
        Ranking(
            i,
            np.array([item_id for item_id, _ in pairs], np.int32),
            np.array([score for _, score in pairs], np.float32),
        )
        for i, pairs in enumerate(found.values())
    ]
    keys = ExternalIds(IdKind.TEXT, dict(enumerate(found)))
    with list_writer(client, str, keys, items) as writer:
        writer.write(lists)
    return list(found)


def write_lists(
    client: Client,
    key_of: Callable[[str], str],
    lists: Iterable[Ranking],
    items: ExternalIds,
) -> list[str]:
    """Write lists of items, whose ids are in `user_id`; return their keys."""
    rankings = list(lists)
    with list_writer(client, key_of, items, items) as writer:
        writer.write(rankings)
    return [key_of(items.keys[ranking.user_id]) for ranking in rankings]


def write_about(client: Client, generation: str, about: About) -> None:
    """Write `recs:{generation}:about`."""
    client.redis.set(client.keys.of(generation).about, contract.encode_about(about))


def write_meta(client: Client, generation: str, meta: Meta) -> None:
    """Write `recs:{generation}:meta`, which completes the generation."""
    fields: dict[Any, Any] = asdict(meta)
    client.redis.hset(client.keys.of(generation).meta, mapping=fields)


def read_items(connection: Connection, ids: ExternalIds) -> list[Item]:
    """Return all items."""
    rows = connection.sql(ITEMS).fetchall()
    return [
        Item(
            key,
            title,
            genres,
            year,
            same_as=None if film_id == item_id else ids.external(film_id),
            n_ratings=n_ratings,
            is_eligible=is_eligible,
        )
        for item_id, film_id, is_eligible, n_ratings, key, title, genres, year in rows
    ]


def read_similar(connection: Connection, top_n: int) -> Iterator[Ranking]:
    """Yield the items most similar to each item, whose id is in `user_id`."""
    table = warehouse.fetch(connection, "marts/similar_items", {"top_n": top_n})
    item_ids = table["item_id"].to_numpy()
    owners, starts = np.unique(item_ids, return_index=True)
    ends = np.searchsorted(item_ids, owners, side="right")
    others = table["other_item_id"].to_numpy()
    scores = table["score"].to_numpy().astype(np.float32)
    for item_id, start, end in zip(owners.tolist(), starts, ends, strict=True):
        yield Ranking(item_id, others[start:end], scores[start:end])


def read_next(connection: Connection) -> Iterator[Ranking]:
    """Yield the eligible films that most often follow each item.

    They are the largest positive weights of the linear model of the next items. Items
    that it does not cover, or that nothing follows, have no list.
    """
    from batch.features import transitions  # with numba, which takes half a second

    item_ids, weights = transitions.solve(connection)
    films = connection.table("films").order("item_id").to_arrow_table()
    rows = np.searchsorted(films["item_id"].to_numpy(), item_ids)
    film_ids = films["film_id"].to_numpy()[rows]
    is_eligible = films["is_eligible"].to_numpy(zero_copy_only=False)[rows]
    for item_id, film_id, row in zip(item_ids.tolist(), film_ids, weights, strict=True):
        follows = is_eligible & (item_ids != film_id)
        scores = (np.where(follows, row, 0) * item_models.UNIT).astype(np.float32)
        best = np.argsort(-scores, kind="stable")[:N_NEXT]
        # what rounds to nothing says nothing
        best = best[scores[best] >= 10.0**-contract.DECIMALS]
        if len(best):
            yield Ranking(item_id, item_ids[best], scores[best])


def read_about(
    connection: Connection,
    user_ids: Sequence[int],
    protocol: str | None,
    metrics: Mapping[str, float],
    users: ExternalIds,
) -> About:
    """Describe a generation as a whole; `metrics` have the flat names of MLflow."""
    query = "select distinct unnest(genres) as genre from stg_items order by genre"
    genres = [genre for (genre,) in connection.sql(query).fetchall()]
    ((has_ratings, has_films),) = connection.sql(KIND_OF_DATA).fetchall()
    return About(
        n_users=len(user_ids),
        n_items=warehouse.count(connection, "stg_items"),
        genres=genres,
        examples=[users.external(i) for i in evenly_spaced(user_ids, N_EXAMPLES)],
        protocol=protocol,
        metrics=by_ranker(metrics),
        has_ratings=bool(has_ratings),
        has_films=bool(has_films),
    )
