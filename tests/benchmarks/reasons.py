"""How much the reasons of published lists say.

    python -m tests.benchmarks.reasons [--raw DIR_OR_ZIP] [--lists PARQUET] [--json]

Of the first 20 entries of each user's list: how many different items are named, how
often the most frequent one, how many of them the user liked, and which share of an
entry's kin score the one to three reasons carry, next to the most that any three could.
The kin score sums the entry's similarities to the user's items, older ones less. The
second row is of the same lists, as if there were no ratings. `--lists` is a file that
the batch wrote, else the newest.
"""

from pathlib import Path

import duckdb

from batch import warehouse
from batch.features import tables
from batch.publishing.explanations import RANKED_TABLE
from tests.benchmarks import frame

LISTS = Path("data/processed/recommendations")
N_SHOWN = 20
RANKED = """
    create or replace table ranked_items as
    select user_id, rank, item_id from read_parquet($path)
"""
MEASURED = """
    with kin as (
        select ranked.user_id, ranked.rank, history.item_id, history.is_liked,
            neighbours.similarity * history.slow_weight as term
        from ranked_items as ranked
        inner join int_item_neighbours as neighbours
            on ranked.item_id = neighbours.other_item_id
        inner join int_history as history
            on ranked.user_id = history.user_id
            and neighbours.item_id = history.item_id
        where ranked.rank <= $n_shown
    ), named as (
        select kin.*
        from explained
        inner join kin using (user_id, rank)
        where list_contains(string_split(because, ','), kin.item_id::varchar)
    ), users as (
        select user_id, count(*) as n, max(uses) as most
        from (
            select user_id, item_id, count(*) as uses from named group by all
        )
        group by user_id
    ), entries as (
        select user_id, rank, sum(term) as whole, list_sum(max(term, 3)) as top
        from kin
        group by user_id, rank
        having whole > 0
    ), carried as (
        select user_id, rank, sum(term) as part from named group by user_id, rank
    )
    select
        (select avg(n) from users) as distinct_reasons,
        (select avg(most) from users) as most_frequent,
        (select avg(is_liked::integer) from named) as liked_share,
        avg(coalesce(part, 0) / whole) as kin_share,
        avg(top / whole) as largest_share
    from entries
    left join carried using (user_id, rank)
"""


def main() -> None:
    """Print a table, and with `--json` one JSON line after it."""
    parser = frame.parser(__doc__)
    parser.add_argument("--lists", type=Path)
    arguments = parser.parse_args()
    lists = arguments.lists or max(LISTS.glob("*.parquet"))
    results = {}
    with frame.staged(arguments.raw) as (name, connection):
        for row in (name, "without ratings"):
            tables.build(connection, n_cuts=0, merges_films=True)
            connection.execute(RANKED, {"path": str(lists)})
            results[row] = measure(connection)
            connection.execute("update stg_ratings set rating = 5")
    names = "distinct", "most frequent", "liked", "share of kin", "of any three"
    frame.header(f"first {N_SHOWN}", *names)
    for row, found in results.items():
        frame.row(row, *found.values())
    frame.finish(arguments, results)


def measure(connection: duckdb.DuckDBPyConnection) -> dict[str, float]:
    """Explain the lists in RANKED_TABLE, and return means over users and entries."""
    assert warehouse.count(connection, RANKED_TABLE)
    query = warehouse.read("marts/explanations")
    connection.execute(f"create or replace table explained as {query}")
    found = connection.execute(MEASURED, {"n_shown": N_SHOWN})
    names = [column[0] for column in found.description or ()]
    (values,) = found.fetchall()
    return dict(zip(names, map(float, values), strict=True))


if __name__ == "__main__":
    main()
