"""CORS for the public endpoints, which pages of any origin may call.

Public endpoints take a token that every visitor of a page can read, and they ignore cookies, so any origin may call.
Old browser SDKs send requests with credentials, for which the response has to name the origin itself.
"""

import re
from collections.abc import Iterable
from typing import Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.public_cors import METHODS, public_cors_headers

_CORS_HEADER_PREFIX: Final = b"access-control-"


class PublicCORSMiddleware:
    """Answers preflights of public paths, and adds CORS headers to all of their responses, including errors.

    It has to be outside everything that may respond.
    """

    def __init__(self, app: ASGIApp, paths: re.Pattern[str]) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._is_public(scope):
            await self._app(scope, receive, send)
            return
        cors_headers = public_cors_headers(dict(scope["headers"]))

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [
                    header for header in message.get("headers", ()) if not header[0].startswith(_CORS_HEADER_PREFIX)
                ]
                message = {**message, "headers": [*others, *cors_headers]}
            await send(message)

        if scope["method"] == "OPTIONS":
            await JSONResponse({"status": 1}, headers={"Allow": METHODS})(scope, receive, send_open)
            return
        await self._app(scope, receive, send_open)

    def _is_public(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return self._paths.fullmatch(path.removeprefix(scope.get("root_path", ""))) is not None


def public_paths(routers: Iterable[APIRouter]) -> re.Pattern[str]:
    """Return a pattern of the routers' paths, with and without a trailing slash."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    patterns = {route.path_regex.pattern.removeprefix("^").removesuffix("$").removesuffix("/") for route in routes}
    # One pattern must not contain the same group name twice.
    unnamed = sorted(re.sub(r"\(\?P<\w+>", "(?:", pattern) for pattern in patterns)
    return re.compile("|".join(f"(?:{pattern}/?)" for pattern in unnamed))
