"""CORS: which pages may call which endpoints.

Public endpoints take a token that every visitor of a page can read, and they ignore cookies, so any origin may call.
Old browser SDKs send requests with credentials, for which the response has to name the origin itself.

Private endpoints take a key that the page has to know, and they ignore cookies too: what a page reads with a key, any
other program could. So pages of any origin may read, unless the settings say otherwise, and those of the origins in the
settings may also write. Nothing is allowed with credentials.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.common.errors import PermissionDenied
from app.http.exception_handlers import respond
from app.http.public_cors import METHODS, SECONDS_TO_REMEMBER, public_cors_headers
from app.http.unserved_addresses import is_for_rest_api

_CORS_HEADER_PREFIX: Final = b"access-control-"


ANY_ORIGIN: Final = "*"
_READS: Final = ("GET", "HEAD")
_WRITES: Final = ("POST", "PUT", "PATCH", "DELETE")
_SENT: Final = (
    "Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Traceparent, Tracestate, "
    "X-Requested-With"
)
_PRIVATE_EXPOSED: Final = b"ETag, Idempotent-Replayed, Retry-After, Warning, X-Request-ID"


class PrivateCORSMiddleware:
    """Answers preflights of the private API, and adds CORS headers to its responses, including errors.

    Parameters
    ----------
    origins
        Origins whose pages may call, and ``*`` for all others, which may only read.
    resources
        The names below ``/api/`` that the service has. SDKs that ask for another one without a key are answered like
        callers of the public API.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str], resources: frozenset[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"]) if scope["type"] == "http" and self._is_private(scope) else {}
        origin = headers.get(b"origin")
        if origin is None or not self._origins:
            await self._app(scope, receive, send)
            return
        wanted = headers.get(b"access-control-request-method") if scope["method"] == "OPTIONS" else None
        if wanted is not None:
            await self._answer_preflight(origin, wanted.decode("latin-1"))(scope, receive, send)
            return
        allowed = self._allowed_origin(origin, scope["method"])
        added = [(b"vary", b"Origin")]
        if allowed is not None:
            added += [(b"access-control-allow-origin", allowed), (b"access-control-expose-headers", _PRIVATE_EXPOSED)]

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, send_on)

    def _answer_preflight(self, origin: bytes, method: str) -> Response:
        allowed = self._allowed_origin(origin, method)
        if allowed is None:
            refusal = PermissionDenied("Pages of this origin may not send this: see ABACUS_CORS_ALLOWED_ORIGINS.")
            return respond(refusal, {"Vary": "Origin"})
        headers = {
            "Access-Control-Allow-Origin": allowed.decode("latin-1"),
            "Access-Control-Allow-Methods": ", ".join(_READS if allowed == ANY_ORIGIN.encode() else _READS + _WRITES),
            "Access-Control-Allow-Headers": _SENT,
            "Access-Control-Max-Age": SECONDS_TO_REMEMBER.decode(),
            "Vary": "Origin",
        }
        return Response(status_code=204, headers=headers)

    def _allowed_origin(self, origin: bytes, method: str) -> bytes | None:
        """Return the origin to allow for a method; None where the page may not call."""
        if origin.decode("latin-1") in self._origins and method in {*_READS, *_WRITES}:
            return origin
        return ANY_ORIGIN.encode() if ANY_ORIGIN in self._origins and method in _READS else None

    def _is_private(self, scope: Scope) -> bool:
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        if path == "/openapi.json":
            return True
        return path.startswith("/api/") and is_for_rest_api(path, Headers(scope=scope), self._resources)


class PublicCORSMiddleware:
    """Answers preflights of public paths, and adds CORS headers to all of their responses, including errors.

    It has to be outside everything that may respond. The paths take GET and POST, but for ``posted``, which take POST.
    """

    def __init__(self, app: ASGIApp, paths: re.Pattern[str], posted: re.Pattern[str]) -> None:
        self._app = app
        self._paths = paths
        self._posted = posted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._paths.fullmatch(_path_of(scope)) is None:
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
            allowed = METHODS if self._posted.fullmatch(_path_of(scope)) is None else "POST, OPTIONS"
            await JSONResponse({"status": 1}, headers={"Allow": allowed})(scope, receive, send_open)
            return
        await self._app(scope, receive, send_open)


def _path_of(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def public_paths(routers: Iterable[APIRouter]) -> re.Pattern[str]:
    """Return a pattern of the routers' paths, with and without a trailing slash."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    patterns = {route.path_regex.pattern.removeprefix("^").removesuffix("$").removesuffix("/") for route in routes}
    # One pattern must not contain the same group name twice.
    unnamed = sorted(re.sub(r"\(\?P<\w+>", "(?:", pattern) for pattern in patterns)
    return re.compile("|".join(f"(?:{pattern}/?)" for pattern in unnamed))
