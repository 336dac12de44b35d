"""Trailing slashes, HEAD and Allow for all routes."""

from collections.abc import Mapping

from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class TrailingSlashMiddleware:
    """Makes the slash at the end optional, answers HEAD as GET without the body, and names the methods of a path.

    Routes are declared with a slash and also match without it, without a redirect: SDKs post to both forms, and beacons
    do not follow redirects. The path as sent is kept in ``scope["path_sent"]``.
    """

    def __init__(self, app: ASGIApp, declared_without: frozenset[str], methods: Mapping[str, str]) -> None:
        self._app = app
        self._declared_without = declared_without
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        inner = {
            **scope,
            "path": self._declared(scope),
            "path_sent": scope["path"],
            "method": "GET" if is_head else scope["method"],
        }

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = inner.get("route")
                allowed = self._methods.get(route.path) if isinstance(route, APIRoute) else None
                if allowed is not None:
                    MutableHeaders(scope=message)["Allow"] = allowed
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(inner, receive, send_on)
        finally:
            scope["route"] = inner.get("route")  # for outer middleware, which logs it

    def _declared(self, scope: Scope) -> str:
        path: str = scope["path"]
        is_declared = path.endswith("/") or path.removeprefix(scope.get("root_path", "")) in self._declared_without
        return path if is_declared else f"{path}/"
