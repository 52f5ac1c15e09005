"""Assembles the API: routes, middleware, errors."""

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from lookup.http import errors
from lookup.http.cache import ResponseCache
from lookup.http.middleware.api_key import HEADERS, ApiKeyMiddleware
from lookup.http.middleware.fast_path import FastPathMiddleware
from lookup.http.middleware.observe import ObserveMiddleware
from lookup.http.middleware.root_path import RootPathMiddleware
from lookup.http.page import Page
from lookup.http.recommend import RecommendRoutes
from lookup.http.routes import Routes
from lookup.settings import Settings
from lookup.shared.env import SettingError
from lookup.store.store import Store
from lookup.telemetry import counters, json_log
from lookup.telemetry.metrics import Metrics

TRUST_SECONDS = 0.02
"""How long a read of `recs:current` stays valid.

Short enough to notice a new generation or a dead Redis at once; long enough that
thousands of requests a second cause only a hundred reads.
"""
MEGABYTE = 1024 * 1024

PATHS: Mapping[str, Callable[[RecommendRoutes, Request], Awaitable[ASGIApp]]] = {
    "/recommend/{user_id}": RecommendRoutes.recommend,
    "/session": RecommendRoutes.session,
    "/recommend": RecommendRoutes.recommend_many,
    "/popular": Routes.popular,
    "/trending": Routes.trending,
    "/new": Routes.new,
    "/search": Routes.search,
    "/similar/{item_id}": Routes.similar,
    "/items/{item_id}": Routes.item,
    "/users/{user_id}": Routes.user,
    "/about": Routes.about,
    "/health": Routes.health,
    "/ready": Routes.ready,
    "/metrics": Routes.metrics,
    "/openapi.json": Routes.schema,
}

PAGE, STATIC = "/", "/static"


class IdConvertor(PathConvertor):
    """Takes the rest of the path, with line breaks too; the route checks the id."""

    regex = r"[\s\S]*"


register_url_convertor("id", IdConvertor())


class IdRoute(Route):
    """A route whose last part may be an id."""

    def __init__(self, path: str, endpoint: Callable[..., Any]) -> None:
        super().__init__(path.replace("}", ":id}"), endpoint)
        self.path = path  # as metrics and logs name it


def create_app(
    store: Store, settings: Settings, metrics: Metrics | None = None
) -> Starlette:
    """Return the API that answers from a store and closes it on shutdown."""
    metrics = metrics or new_metrics()
    cache = ResponseCache(settings.cache_mb * MEGABYTE)
    endpoints = RecommendRoutes(store, cache, settings, metrics)
    routes = [IdRoute(path, partial(route, endpoints)) for path, route in PATHS.items()]
    page = Page(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await store.close()

    app = Starlette(
        routes=[*routes, Route(PAGE, page.index), Mount(STATIC, page)],
        middleware=[
            *_middleware(settings, metrics),
            Middleware(FastPathMiddleware, store, cache, endpoints, *routes[:2]),
        ],
        exception_handlers=errors.HANDLERS,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # so that /popular/ gets a 404 in JSON
    return app


def new_metrics(folder: str | None = None) -> Metrics:
    """Return metrics for all routes; workers share them through a folder."""
    return Metrics([*PATHS, PAGE, STATIC], folder)


def from_environment() -> Starlette:
    """Return the API that the environment describes; uvicorn's workers call this.

    Raises SettingError if a setting is bad or REDIS_URL is not set.
    """
    settings = Settings.from_environ(os.environ)
    if settings.redis_url is None:
        raise SettingError("REDIS_URL is not set; `python -m lookup` does without it")
    json_log.configure(settings.api_key, requests=settings.log_requests)
    _collect_garbage_rarely()
    _end_with_parent()
    metrics = new_metrics(os.environ.get(counters.FOLDER))
    store = Store(
        settings.redis_url,
        settings.redis_prefix,
        trust_seconds=TRUST_SECONDS,
        on_error=metrics.redis_error,
    )
    return create_app(store, settings, metrics)


def _middleware(settings: Settings, metrics: Metrics) -> list[Middleware]:
    """Return the middleware from the outside in."""
    middleware = [Middleware(ObserveMiddleware, metrics)]
    if settings.root_path:
        middleware.insert(0, Middleware(RootPathMiddleware, settings.root_path))
    if settings.cors_origins:
        # before the check of the key: a browser's preflight request has none
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "HEAD"],
                allow_headers=[*HEADERS, "X-Request-ID", "If-None-Match"],
                expose_headers=["ETag", "Retry-After", "X-Request-ID"],
            )
        )
    if settings.api_key:
        middleware.append(Middleware(ApiKeyMiddleware, settings.api_key))
    return middleware


def _collect_garbage_rarely() -> None:
    """Collect cyclic garbage rarely: it took a tenth of the time and found nothing.

    Requests leave little of it, while each collection visits the whole cache.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _end_with_parent() -> None:
    """End this worker if its parent is killed; else it would keep the port forever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
