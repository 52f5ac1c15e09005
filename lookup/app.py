"""The API as a whole."""

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from lookup.http import errors, page
from lookup.http.middleware.api_key import HEADER, KeyMiddleware
from lookup.http.middleware.cors import CrossOrigin
from lookup.http.middleware.fast_path import ShortMiddleware
from lookup.http.middleware.observe import ObserveMiddleware
from lookup.http.routes import Routes
from lookup.settings import Settings
from lookup.shared.env import SettingError
from lookup.store.store import CODES, Store
from lookup.telemetry import counters, json_log
from lookup.telemetry.metrics import Metrics

TRUST_SECONDS = 0.02
"""How long an answer may rest on what `recs:current` was.

Short enough that nobody sees a flip, or Redis' end, late; long enough that of thousands
of requests a second a hundred ask.
"""

PATHS: Mapping[str, Callable[[Routes, Request], Awaitable[ASGIApp]]] = {
    "/recommend/{user_id}": Routes.recommend,
    "/popular": Routes.popular,
    "/similar/{item_id}": Routes.similar,
    "/items/{item_id}": Routes.item,
    "/users/{user_id}": Routes.user,
    "/about": Routes.about,
    "/health": Routes.health,
    "/ready": Routes.ready,
    "/metrics": Routes.metrics,
    "/openapi.json": Routes.schema,
}

PAGE: Mapping[str, Callable[[Request], Awaitable[ASGIApp]]] = {
    "/": page.index,
    "/static/{name}": page.file,
}


def create_app(
    store: Store, settings: Settings, metrics: Metrics | None = None
) -> Starlette:
    """Make the API that answers from a store, which it closes at its end."""
    metrics = metrics or new_metrics()
    answers = Routes(store, settings, metrics)
    routes = [
        Route(path, endpoint.__get__(answers)) for path, endpoint in PATHS.items()
    ]
    routes += [Route(path, endpoint) for path, endpoint in PAGE.items()]
    short = Middleware(ShortMiddleware, store, answers, routes[0])

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await store.close()

    app = Starlette(
        routes=routes,
        middleware=[*_middleware(settings, metrics), short],
        exception_handlers={
            errors.Problem: errors.on_problem,
            HTTPException: errors.on_http,
            Exception: errors.on_bug,
            **dict.fromkeys(CODES, errors.on_store),
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # /popular/ is unknown, in the form of errors
    app.state.store = store
    app.state.settings = settings
    app.state.metrics = metrics
    return app


def new_metrics(folder: str | None = None) -> Metrics:
    """Begin to count requests of our routes."""
    return Metrics([*PATHS, *PAGE], folder)


def from_environment() -> Starlette:
    """Make the API that the environment asks for; uvicorn's workers call this.

    Raises SettingError if a setting is bad or REDIS_URL is not set.
    """
    settings = Settings.from_environ(os.environ)
    if settings.redis_url is None:
        raise SettingError("REDIS_URL is not set; `python -m lookup` does without it")
    json_log.configure(settings.api_key, requests=settings.log_requests)
    _collect_seldom()
    _end_with_parent()
    metrics = new_metrics(os.environ.get(counters.FOLDER))
    store = Store(
        settings.redis_url,
        cache_bytes=settings.cache_mb * 1024 * 1024,
        trust_seconds=TRUST_SECONDS,
        on_error=metrics.redis_error,
    )
    return create_app(store, settings, metrics)


def _middleware(settings: Settings, metrics: Metrics) -> list[Middleware]:
    """Say what a request passes on its way, in this order."""
    passed = [Middleware(ObserveMiddleware, metrics)]
    if settings.cors_origins:
        # before the key, which browsers do not send with what they ask beforehand
        passed.append(
            Middleware(
                CrossOrigin,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "HEAD"],
                allow_headers=[HEADER, "X-Request-ID", "If-None-Match"],
                expose_headers=["ETag", "Retry-After", "X-Request-ID"],
            )
        )
    if settings.api_key:
        passed.append(Middleware(KeyMiddleware, settings.api_key))
    return passed


def _collect_seldom() -> None:
    """Look for cyclic garbage seldom: a tenth of the time went into finding none.

    Requests leave little of it, while each look passes all that the cache holds.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _end_with_parent() -> None:
    """End a worker whose parent was killed: it would keep the port for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
