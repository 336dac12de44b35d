"""Lets pages of any origin use the public addresses, as browsers demand it.

Public addresses take a token that every visitor of a page can read, and no cookie means anything to them, so any origin
may call. Old browser SDKs ask "with credentials", for which the answer has to name the origin itself.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OF_ORIGINS: Final = b"access-control-"
_METHODS: Final = "GET, POST, OPTIONS"
_EXPOSED: Final = b"Retry-After, X-Request-ID"
_SECONDS_TO_REMEMBER: Final = b"7200"


class PublicCORSMiddleware:
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
        opening = _opening(dict(scope["headers"]))

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [header for header in message.get("headers", ()) if not header[0].startswith(_OF_ORIGINS)]
                message = {**message, "headers": [*others, *opening]}
            await send(message)

        if scope["method"] == "OPTIONS":
            await JSONResponse({"status": 1}, headers={"Allow": _METHODS})(scope, receive, send_open)
            return
        await self._app(scope, receive, send_open)

    def _is_public(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return self._paths.fullmatch(path.removeprefix(scope.get("root_path", ""))) is not None


def _opening(requested: Mapping[bytes, bytes]) -> Sequence[tuple[bytes, bytes]]:
    """Return the headers that let the origin of a request read its answer."""
    origin = requested.get(b"origin")
    if origin is None:
        return [(b"vary", b"Origin")]
    allowed = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", _EXPOSED),
    ]
    if b"access-control-request-method" not in requested:
        return [*allowed, (b"vary", b"Origin")]
    return [
        *allowed,
        (b"access-control-allow-methods", _METHODS.encode()),
        (b"access-control-allow-headers", requested.get(b"access-control-request-headers", b"Content-Type")),
        (b"access-control-max-age", _SECONDS_TO_REMEMBER),
        (b"vary", b"Origin, Access-Control-Request-Headers"),
    ]


def public_paths(routers: Iterable[APIRouter]) -> re.Pattern[str]:
    """Return what matches the paths of the routers, with and without the slash at the end."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    patterns = {route.path_regex.pattern.removeprefix("^").removesuffix("$").removesuffix("/") for route in routes}
    # Several paths name their parameters alike, which one pattern may not.
    unnamed = sorted(re.sub(r"\(\?P<\w+>", "(?:", pattern) for pattern in patterns)
    return re.compile("|".join(f"(?:{pattern}/?)" for pattern in unnamed))
