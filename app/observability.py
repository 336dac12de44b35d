"""A request id, a log line and metrics for every request, and a logged 500 for every bug."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fastapi.routing import APIRoute
from opentelemetry import trace
from prometheus_client import Counter, Histogram
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.common.errors import Unavailable
from app.exception_handlers import respond
from app.schemas import ErrorBody
from app.telemetry.logging import request_id
from app.telemetry.prometheus import REQUEST_SECONDS, REQUESTS

logger = logging.getLogger("abacus")
request_logger = logging.getLogger("abacus.request")

_BUG = ErrorBody(type="server_error", code="error", detail="A server error occurred.", attr=None)
_STOPPING = Unavailable("The service is being restarted. Please try again.")
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_KEY: Final = "abacus.request"
_LONGEST_PATH: Final = 200
_UNFINISHED: Final = 499  # as proxies log it: the client went away before there was an answer
_REFUSAL: Final = 400
_SERVER_ERROR: Final = 500


@dataclass
class _Request:
    """What the layers find out about one request."""

    client: str | None
    route: str | None = None
    status: int = _UNFINISHED
    size: int = 0
    ended: float | None = None


class RequestLog:
    """Names each request, and writes one line about it and counts it when it is over.

    To be put outside everything that may answer. An id that a client or proxy sends in ``X-Request-ID`` is kept if it
    is a plain word. The line holds no query string, which may carry a key. There is none about ``quiet`` routes, and
    about what went well on ``busy`` ones only at the level of debugging: numbers tell more of millions of requests.
    """

    def __init__(self, app: ASGIApp, quiet: Set[str], busy: Set[str]) -> None:
        self._app = app
        self._quiet = quiet
        self._busy = busy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        name = _name(scope["headers"])
        client = scope.get("client")
        seen = scope[_KEY] = _Request(client=client[0] if client else None)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", name.encode())]}
            elif message["type"] == "http.response.body":
                seen.size += len(message.get("body", b""))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                seen.ended = time.perf_counter()

        token = request_id.set(name)
        try:
            await self._app(scope, receive, send_on)
        finally:
            if seen.route not in self._quiet:
                self._report(seen, scope, (seen.ended or time.perf_counter()) - started)
            request_id.reset(token)

    def _report(self, seen: _Request, scope: Scope, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = seen.route or "none"
        requests, request_seconds = _numbers(method, route, seen.status)
        requests.inc()
        request_seconds.observe(seconds)
        level = self._level(seen)
        if not request_logger.isEnabledFor(level):
            return
        milliseconds = round(seconds * 1000, 3)
        fields = {
            "method": method,
            "route": seen.route,
            "path": scope["path"][:_LONGEST_PATH],
            "status": seen.status,
            "milliseconds": milliseconds,
            "bytes": seen.size,
            "client": seen.client,
        }
        request_logger.log(level, "%s %s %d %s ms", method, route, seen.status, milliseconds, extra={"fields": fields})

    def _level(self, seen: _Request) -> int:
        if seen.status >= _SERVER_ERROR:
            return logging.WARNING
        return logging.DEBUG if seen.status < _REFUSAL and seen.route in self._busy else logging.INFO


class RequestContext:
    """Turns what nobody caught into the documented 500, and tells the layers outside what became of the request.

    The framework's own handler for unknown exceptions answers outside every middleware, without CORS headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        _hide_query_from_traces()

        async def send_on(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except asyncio.CancelledError:  # the server has waited long enough for this request, and stops
            if started:
                raise
            await respond(_STOPPING)(scope, receive, send_on)
        except Exception:
            logger.exception("request failed")
            if started:
                raise
            await JSONResponse(_BUG.model_dump(), status_code=500)(scope, receive, send_on)
        finally:
            self._tell(scope)

    def _tell(self, scope: Scope) -> None:
        seen: _Request = scope[_KEY]
        client, route = scope.get("client"), scope.get("route")
        seen.client = client[0] if client else None  # by now the one that trusted proxies tell of
        seen.route = route.path if isinstance(route, APIRoute) else None


def _hide_query_from_traces() -> None:
    """Take the query string out of the framework's span: it may carry a key."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attribute("url.query", "")
        span.set_attribute("abacus.request_id", request_id.get())


def _name(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id that a request brings, or a new one."""
    sent = next((value.decode("latin-1") for name, value in headers if name == b"x-request-id"), "")
    return sent if _ID.fullmatch(sent) else str(uuid.uuid4())


@lru_cache(maxsize=4096)
def _numbers(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return what counts requests of a kind, of which there are few."""
    return REQUESTS.labels(method, route, str(status)), REQUEST_SECONDS.labels(method, route)
