"""Computes on request, which precomputing replaces: features, model, sorting.

    python -m tests.benchmarks.on_request PORT RAW

Holds the tables of the warehouse and a model in memory. Each request builds the
features of one user and every unseen item, predicts and sorts with the batch's code.
"""

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import uvicorn
import xgboost
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from batch.features import tables
from batch.scoring import rank
from tests.benchmarks import frame

K = 10
ITEMS = "select item_id, title, genres, release_year from stg_items"


def create_app(
    connection: duckdb.DuckDBPyConnection,
    booster: xgboost.Booster,
    items: Mapping[int, Mapping[str, Any]],
) -> Starlette:
    turn = threading.Lock()  # a connection serves one at a time, with all its threads

    def recommend(request: Request) -> JSONResponse:
        user_id = int(request.path_params["user_id"])
        with turn:
            ((ranking,),) = rank.rank_users(connection, booster, [user_id], K)
        found = zip(ranking.item_ids.tolist(), ranking.scores.tolist(), strict=True)
        shown = [{**items[item_id], "score": score} for item_id, score in found]
        return JSONResponse({"user_id": user_id, "items": shown})

    return Starlette(routes=[Route("/recommend/{user_id}", recommend)])


def main() -> None:
    """Train, then serve until stopped."""
    port, raw = int(sys.argv[1]), Path(sys.argv[2])
    with frame.staged(raw) as (_, connection):
        booster = frame.trained(connection).booster
        tables.build(connection, n_cuts=0)
        app = create_app(connection, booster, _items(connection))
        uvicorn.run(app, port=port, access_log=False, log_level="warning")


def _items(connection: duckdb.DuckDBPyConnection) -> dict[int, dict[str, Any]]:
    names = ("item_id", "title", "genres", "year")
    rows = connection.execute(ITEMS).fetchall()
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


if __name__ == "__main__":
    main()
