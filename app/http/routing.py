"""Which methods a path has, how others are answered, and which formats are served."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

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
