"""Calls the endpoints for SDKs directly, outside the framework's layers."""

import inspect
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http import exception_handlers
from app.http.routing import allowed_methods


class DirectDispatchMiddleware:
    """Answers the addresses that SDKs call all the time, which it looks up.

    The framework tries its routes one after the other, inside layers of its own, and solves dependencies even where an
    endpoint takes nothing but the request: together a third of what evaluating twenty flags takes. It keeps the routes
    for /docs, and while it traces requests it serves them too, so that traces name them.
    """

    def __init__(self, app: ASGIApp, routers: Sequence[APIRouter]) -> None:
        self._app = app
        allowed = allowed_methods(routers)
        self._routes = {
            (method, path): (route, (b"allow", allowed[route.path].encode()))
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute)
            and route.path in allowed
            and list(inspect.signature(route.endpoint).parameters) == ["request"]
            for method in route.methods or ()
            for path in (route.path, route.path.removesuffix("/"))
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        found = self._routes.get((scope.get("method", ""), path))
        if found is None or "fastapi.telemetry" in scope:
            await self._app(scope, receive, send)
            return
        route, allow = found
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except Exception as error:
            response = await exception_handlers.answer(request, error)
        response.raw_headers.append(allow)
        await response(scope, receive, send)
