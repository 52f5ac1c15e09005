"""Removes the path below which a proxy serves the API, where one is set."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPathMiddleware:
    """Makes requests look the same whether the proxy strips the path or not."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app = app
        self._root = root_path
        self._raw_root = root_path.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, without the root path."""
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{self._root}/"):
            scope = {
                **scope,
                "path": scope["path"][len(self._root) :] or "/",
                "raw_path": scope["raw_path"].removeprefix(self._raw_root) or b"/",
            }
        await self.app(scope, receive, send)
