"""Methods of paths, responses for other methods, and content negotiation."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from fastapi import APIRouter, Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute

from app.common.errors import MethodNotAllowed, NotAcceptable, NotFound

_JSON = "application/json"
_ACCEPTED = frozenset({_JSON, "application/*", "*/*"})
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def path_as_sent(request: Request) -> str:
    path: str = request.scope.get("path_sent", request.scope["path"])
    return path


class AnswersFiles:
    """A mark of routes that answer in formats other than JSON too, by their media types."""

    def __init__(self, media_types: Mapping[str, str]) -> None:
        self.media_types = media_types

    async def __call__(self) -> None:
        """Do nothing: a mark is a dependency so that routes can carry it."""


def _files_of(request: Request) -> Mapping[str, str]:
    route = request.scope.get("route")
    dependencies = route.dependencies if isinstance(route, APIRoute) else ()
    marks = (one.dependency for one in dependencies if isinstance(one.dependency, AnswersFiles))
    return next((mark.media_types for mark in marks), {})


def negotiate(request: Request) -> None:
    """Refuse a client that does not accept what the route answers; before authentication, as the 2022 API does.

    Raises
    ------
    NotFound
        ``?format=`` names a format that the route does not answer in: all answer in JSON, if only with errors.
    NotAcceptable
        ``Accept`` excludes all formats of the route.
    """
    others = _files_of(request)
    if request.query_params.get("format", "json") not in {"json", *others}:
        raise NotFound
    accept = request.headers.get("accept", "*/*")
    media_types = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if media_types.isdisjoint({*_ACCEPTED, *others.values()}):
        raise NotAcceptable


def allowed_methods(routers: Iterable[APIRouter]) -> dict[str, str]:
    """Return the value of ``Allow`` for each path."""
    return {path: ", ".join(_with_general(methods)) for path, methods in _declared_methods(routers).items()}


def _declared_methods(routers: Iterable[APIRouter]) -> Mapping[str, set[str]]:
    declared: dict[str, set[str]] = defaultdict(set)
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and not _refuses(route):
                declared[route.path] |= route.methods or set()
    return declared


def is_general(route: APIRoute) -> bool:
    """Whether the route only handles the methods that its path does not declare."""
    return route.endpoint is _describe_or_refuse


def _refuses(route: APIRoute) -> bool:
    """Whether the route exists only to refuse."""
    return is_general(route) or route.status_code == MethodNotAllowed.status


def _with_general(methods: set[str]) -> list[str]:
    allowed = [method for method in _METHODS if method in methods]
    return [*allowed, *(["HEAD"] if "GET" in methods else []), "OPTIONS"]


def answer_other_methods(router: APIRouter, guard: Depends, *, shared: Collection[str] = ()) -> None:
    """Answer OPTIONS, and undeclared methods of the router's paths with 405, once ``guard`` authenticated the caller.

    Call it after all routes are declared. Otherwise an unauthenticated caller could learn which paths exist from 405
    versus 404. ``shared`` are paths below the router's that another router does it for.
    """
    for path, methods in _declared_methods([router]).items():
        if path.removeprefix(router.prefix) in shared:
            continue
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
