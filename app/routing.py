"""How addresses behave, whatever stands behind them."""

import inspect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from fastapi import APIRouter, Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import exception_handlers
from app.common.errors import MethodNotAllowed, NotAcceptable, NotFound

_JSON = "application/json"
_ACCEPTED = frozenset({_JSON, "application/*", "*/*"})
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Addresses:
    """Makes the slash at the end optional, answers HEAD as GET without the body, and names the methods of a path.

    Routes are declared with a slash and found without it too, never by a redirect: SDKs post to both forms, and beacons
    do not follow redirects. The path as it was sent stays in ``scope["path_sent"]``.
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
            scope["route"] = inner.get("route")  # for the layers outside, which log it

    def _declared(self, scope: Scope) -> str:
        path: str = scope["path"]
        is_declared = path.endswith("/") or path.removeprefix(scope.get("root_path", "")) in self._declared_without
        return path if is_declared else f"{path}/"


class DirectRoutes:
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


def path_as_sent(request: Request) -> str:
    path: str = request.scope.get("path_sent", request.scope["path"])
    return path


def negotiate(request: Request) -> None:
    """Refuse a client that takes no JSON. It comes before the question who is asking.

    Raises
    ------
    NotFound
        ``?format=`` names another format.
    NotAcceptable
        ``Accept`` leaves JSON out.
    """
    if request.query_params.get("format", "json") != "json":
        raise NotFound
    accept = request.headers.get("accept", "*/*")
    media_types = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if not media_types & _ACCEPTED:
        raise NotAcceptable


def allowed_methods(routers: Iterable[APIRouter]) -> dict[str, str]:
    """Return what ``Allow`` says of each path."""
    return {path: ", ".join(_with_general(methods)) for path, methods in _declared_methods(routers).items()}


def _declared_methods(routers: Iterable[APIRouter]) -> Mapping[str, set[str]]:
    declared: dict[str, set[str]] = defaultdict(set)
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and not _refuses(route):
                declared[route.path] |= route.methods or set()
    return declared


def is_general(route: APIRoute) -> bool:
    """Whether the route only answers the methods that its path has no other for."""
    return route.endpoint is _describe_or_refuse


def _refuses(route: APIRoute) -> bool:
    """Whether the route is there only to say no."""
    return is_general(route) or route.status_code == MethodNotAllowed.status


def _with_general(methods: set[str]) -> list[str]:
    allowed = [method for method in _METHODS if method in methods]
    return [*allowed, *(["HEAD"] if "GET" in methods else []), "OPTIONS"]


def answer_other_methods(router: APIRouter, guard: Depends) -> None:
    """Answer OPTIONS, and 405 for the methods that a path of the router lacks, once ``guard`` let the caller in.

    Call it when all routes are declared. Left to the framework, a stranger would learn which addresses exist
    before he is asked for a key.
    """
    for path, methods in _declared_methods([router]).items():
        router.add_api_route(
            path.removeprefix(router.prefix),
            _describe_or_refuse,
            methods=[*(method for method in _METHODS if method not in methods), "OPTIONS"],
            dependencies=[guard],
            include_in_schema=False,
        )


async def _describe_or_refuse(request: Request) -> Response:
    if request.method != "OPTIONS":
        raise MethodNotAllowed(request.method)
    return Response(status_code=204)  # the answer is in Allow
