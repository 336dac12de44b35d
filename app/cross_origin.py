"""Lets pages of any origin use the public addresses, as browsers demand it.

Public addresses take a token that every visitor of a page can read, and no cookie means anything to them, so any origin
may call. Old browser SDKs ask "with credentials", for which the answer has to name the origin itself.
"""

import re
from collections.abc import Iterable
from typing import Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS: Final = "GET, POST, OPTIONS"
_EXPOSED: Final = "Retry-After, X-Request-ID"
_SECONDS_TO_REMEMBER: Final = "7200"


class PublicOrigins:
    """Answers preflights of public addresses by itself, and opens every other answer of theirs, refusals and bugs too.

    To be put outside everything that may answer.
    """

    def __init__(self, app: ASGIApp, paths: re.Pattern[str]) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_public(scope):
            await self._app(scope, receive, send)
            return
        requested = Headers(scope=scope)

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                _open(MutableHeaders(scope=message), requested)
            await send(message)

        if scope["method"] == "OPTIONS":
            await JSONResponse({"status": 1}, headers={"Allow": _METHODS})(scope, receive, send_open)
            return
        await self._app(scope, receive, send_open)

    def _is_public(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return self._paths.fullmatch(path.removeprefix(scope.get("root_path", ""))) is not None


def _open(headers: MutableHeaders, requested: Headers) -> None:
    headers.add_vary_header("Origin")
    origin = requested.get("origin")
    if origin is None:
        return
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Allow-Credentials"] = "true"
    headers["Access-Control-Expose-Headers"] = _EXPOSED
    if "access-control-request-method" in requested:
        headers["Access-Control-Allow-Methods"] = _METHODS
        headers["Access-Control-Allow-Headers"] = requested.get("access-control-request-headers", "Content-Type")
        headers["Access-Control-Max-Age"] = _SECONDS_TO_REMEMBER
        headers.add_vary_header("Access-Control-Request-Headers")


def public_paths(routers: Iterable[APIRouter]) -> re.Pattern[str]:
    """Return what matches the paths of the routers, with and without the slash at the end."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    patterns = {route.path_regex.pattern.removeprefix("^").removesuffix("$").removesuffix("/") for route in routes}
    # Several paths name their parameters alike, which one pattern may not.
    unnamed = sorted(re.sub(r"\(\?P<\w+>", "(?:", pattern) for pattern in patterns)
    return re.compile("|".join(f"(?:{pattern}/?)" for pattern in unnamed))
