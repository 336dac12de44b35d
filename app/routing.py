"""How addresses behave: the slash at the end is optional, and who is asking comes before the method."""

from collections import defaultdict
from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import MethodNotAllowed

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class OptionalSlash:
    """Routes are declared with a slash at the end and found without it too; never a redirect.

    SDKs post to both forms, and beacons do not follow redirects. The path as sent stays in ``scope["path_sent"]``.
    """

    def __init__(self, app: ASGIApp, declared_without: frozenset[str]) -> None:
        self._app = app
        self._declared_without = declared_without

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            scope["path_sent"] = path
            if not path.endswith("/") and path.removeprefix(scope.get("root_path", "")) not in self._declared_without:
                scope["path"] = f"{path}/"
        await self._app(scope, receive, send)


def path_as_sent(request: Request) -> str:
    path: str = request.scope.get("path_sent", request.scope["path"])
    return path


def refuse_other_methods(router: APIRouter, guard: Depends) -> None:
    """Answer 405 for the methods that a path of the router lacks, once ``guard`` has let the caller in.

    Call it when all routes are declared. Left to the framework, a stranger would learn which addresses exist
    before he is asked for a key, and ``Allow`` would name the methods of the first route only.
    """
    methods: dict[str, set[str]] = defaultdict(set)
    for route in router.routes:
        if isinstance(route, APIRoute):
            methods[route.path.removeprefix(router.prefix)] |= route.methods or set()
    for path, allowed in methods.items():
        others = [method for method in _METHODS if method not in allowed]
        router.add_api_route(
            path,
            _refusal([method for method in _METHODS if method in allowed]),
            methods=others,
            dependencies=[guard],
            include_in_schema=False,
        )


def _refusal(allowed: list[str]) -> Callable[[Request], None]:
    def refuse_method(request: Request) -> None:
        raise MethodNotAllowed(request.method, allowed)

    return refuse_method
