"""Dispatch of requests from SDKs without the framework's router."""

import inspect
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http import exception_handlers
from app.http.routing import allowed_methods


class DirectDispatchMiddleware:
    """Calls the endpoints of SDKs directly, by a lookup of method and path.

    The framework tries its routes one after another, inside layers of its own, and resolves dependencies even of an
    endpoint that takes only the request: together a third of the time to evaluate twenty flags. The routes stay in the
    framework for /docs, and while requests are traced it serves them, so that traces name them.
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
