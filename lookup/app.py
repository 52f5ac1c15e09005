"""The routes."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from lookup import contract, problem, query
from lookup.generation import Entry, Generation
from lookup.key import KeyMiddleware
from lookup.query import Query
from lookup.settings import SettingError, Settings
from lookup.store import Store


def create_app(store: Store, settings: Settings) -> Starlette:
    """Make the API that answers from a store, which it closes at its end."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await store.close()

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/ready", ready),
            Route("/recommend/{user_id}", recommend),
            Route("/popular", popular),
        ],
        middleware=_middleware(settings),
        exception_handlers={
            problem.Problem: problem.on_problem,
            HTTPException: problem.on_http,
            Exception: problem.on_bug,
            **dict.fromkeys(problem.CODES, problem.on_store),
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # /popular/ is unknown, in the form of errors
    app.state.store = store
    app.state.settings = settings
    return app


def from_environment() -> Starlette:
    """Make the API that the environment asks for; uvicorn's workers call this.

    Raises SettingError if a setting is bad or REDIS_URL is not set.
    """
    settings = Settings.from_environ(os.environ)
    if settings.redis_url is None:
        raise SettingError("REDIS_URL is not set; `python -m lookup` does without it")
    _end_with_parent()
    return create_app(Store(settings.redis_url), settings)


async def health(_: Request) -> JSONResponse:
    """Answer while the process lives, Redis or not."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> JSONResponse:
    """Say which generation is served, or why there is none."""
    generation = await _store(request).generation()
    return JSONResponse({"status": "ready", **_origin(generation)})


async def recommend(request: Request) -> JSONResponse:
    """Give a user's list, or the popular one for a user who is not known."""
    user_id = query.positive_integer("user_id", request.path_params["user_id"])
    wanted = _query(request, (*query.PAGE, "fallback"))
    generation, entries = await _store(request).entries(
        partial(_user_key, user_id=user_id), _length(wanted, request)
    )
    size = _page(wanted, generation, request)
    if entries is None and not wanted.fallback:
        message = f"user {user_id} is not in generation {generation.name}"
        raise problem.Problem(404, "unknown_user", message)
    source = "personal" if entries is not None else "popular"
    chosen = generation.popular if entries is None else entries
    answer = _answer(generation, chosen, wanted, size, source)
    return JSONResponse({"user_id": user_id, **answer})


async def popular(request: Request) -> JSONResponse:
    """Give the list that is the same for everybody."""
    wanted = _query(request, query.PAGE)
    generation = await _store(request).generation()
    size = _page(wanted, generation, request)
    return JSONResponse(
        _answer(generation, generation.popular, wanted, size, "popular")
    )


def _answer(
    generation: Generation,
    entries: Sequence[Entry],
    wanted: Query,
    size: int,
    source: str,
) -> dict[str, Any]:
    """Cut the wanted part out of a list and put it into the form of the contract."""
    if wanted.filters:
        entries = [entry for entry in entries if _passes(entry, generation, wanted)]
    page = entries[wanted.offset : wanted.offset + size]
    items = [
        {"rank": rank, "item_id": item_id, **generation.item(item_id), "score": score}
        for rank, (item_id, score) in enumerate(page, start=wanted.offset + 1)
    ]
    return {"k": size, **_origin(generation), "source": source, "items": items}


def _passes(entry: Entry, generation: Generation, wanted: Query) -> bool:
    """Tell whether an entry is not excluded and of one of the genres, if any."""
    if entry.item_id in wanted.exclude:
        return False
    genres = generation.item(entry.item_id)["genres"] if wanted.genres else ()
    return not wanted.genres or any(g.casefold() in wanted.genres for g in genres)


def _origin(generation: Generation) -> dict[str, str]:
    return {
        "generation": generation.name,
        "model_version": generation.model_version,
        "scored_at": generation.scored_at,
    }


def _query(request: Request, known: Sequence[str]) -> Query:
    return query.parse(request.query_params, known, _store(request).top_n)


def _length(wanted: Query, request: Request) -> int | None:
    """Say how much of a list has to be read: None for all of it.

    Always from its start: an empty answer then means that there is no such list.
    """
    k = wanted.k or _settings(request).k_default
    return None if wanted.filters else wanted.offset + k


def _page(wanted: Query, generation: Generation, request: Request) -> int:
    return wanted.page(generation.top_n, _settings(request).k_default)


def _user_key(generation: str, user_id: int) -> str:
    return contract.user_key(generation, user_id)


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _middleware(settings: Settings) -> list[Middleware]:
    return [Middleware(KeyMiddleware, settings.api_key)] if settings.api_key else []


def _end_with_parent() -> None:
    """End a worker whose parent was killed: it would keep the port for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
