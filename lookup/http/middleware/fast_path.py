"""The short way of the requests that there are most of: to a user's list.

What was answered before is sent again, without routing and without Redis' lists, and
`/recommend/{user_id}` is found without a look at the other routes.
"""

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lookup.http import errors
from lookup.http.cache import key_of
from lookup.http.errors import Problem
from lookup.http.routes import Routes
from lookup.store.store import CODES, Store

METHODS = frozenset({"GET", "HEAD"})
PREFIX = "/recommend/"


class ShortMiddleware:
    """Answers what it can, and passes the rest on."""

    def __init__(
        self, app: ASGIApp, store: Store, routes: Routes, recommend: Route
    ) -> None:
        self.app = app
        self._store = store
        self._routes = routes
        self._recommend = recommend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        app = self.app
        if scope["type"] == "http" and scope["method"] in METHODS:
            try:
                app = await self._answer(scope) or app
            except Problem as error:
                app = errors.of_problem(error)
            except tuple(CODES) as error:
                app = errors.of_store(error)
        await app(scope, receive, send)

    async def _answer(self, scope: Scope) -> ASGIApp | None:
        """Find or make an answer; None if the routes have to."""
        answer = self._store.cache.get(key_of(scope))
        if answer is not None and answer.generation is await self._store.generation():
            return answer
        path: str = scope["path"]
        user_id = path[len(PREFIX) :]
        if not path.startswith(PREFIX) or "/" in user_id or not user_id:
            return None
        # what the router would have done
        scope["route"] = self._recommend
        scope["path_params"] = {"user_id": user_id}
        return await self._routes.recommend(Request(scope))
