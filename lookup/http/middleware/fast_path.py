"""Answers most requests before the router: cached responses, users and sessions.

A cached response needs no routing and no lists from Redis; the lists of users and of
sessions need no search through the other routes.
"""

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lookup.http import errors
from lookup.http.cache import ResponseCache, cache_key
from lookup.http.errors import ApiError
from lookup.http.recommend import RecommendRoutes
from lookup.store.errors import StoreError
from lookup.store.store import Store

METHODS = frozenset({"GET", "HEAD"})
PREFIX = "/recommend/"


class FastPathMiddleware:
    """Answers what it can, and passes other requests on to the router."""

    def __init__(
        self,
        app: ASGIApp,
        store: Store,
        cache: ResponseCache,
        routes: RecommendRoutes,
        recommend: Route,
        session: Route,
    ) -> None:
        self.app = app
        self._store = store
        self._cache = cache
        self._routes = routes
        self._recommend = recommend
        self._session = session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        app = self.app
        if scope["type"] == "http" and scope["method"] in METHODS:
            try:
                app = await self._response(scope) or app
            except (ApiError, StoreError) as error:
                app = errors.from_exception(error)
        await app(scope, receive, send)

    async def _response(self, scope: Scope) -> ASGIApp | None:
        """Return a response, or None if the router must answer."""
        cached = self._cache.get(cache_key(scope))
        if cached is not None and cached.generation is await self._store.generation():
            return cached
        path: str = scope["path"]
        if path == self._session.path:
            scope["route"] = self._session
            return await self._routes.session(Request(scope))
        user_id = path[len(PREFIX) :]
        if not path.startswith(PREFIX) or not user_id:
            return None
        # what the router would set
        scope["route"] = self._recommend
        scope["path_params"] = {"user_id": user_id}
        return await self._routes.recommend(Request(scope))
