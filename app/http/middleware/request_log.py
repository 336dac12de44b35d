"""A request id, a log line and metrics for every request."""

import logging
import re
import time
import uuid
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.telemetry.logging import request_id
from app.telemetry.prometheus import REQUEST_SECONDS, REQUESTS

request_logger = logging.getLogger("abacus.request")

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
RECORD_KEY: Final = "abacus.request"
_LONGEST_PATH: Final = 200
_UNFINISHED: Final = 499  # as proxies log it: the client went away before there was an answer
_REFUSAL: Final = 400
_SERVER_ERROR: Final = 500


@dataclass
class RequestRecord:
    """What the layers find out about one request."""

    client: str | None
    route: str | None = None
    status: int = _UNFINISHED
    size: int = 0
    ended: float | None = None


class AccessLogMiddleware:
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
        seen = scope[RECORD_KEY] = RequestRecord(client=client[0] if client else None)

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

    def _report(self, seen: RequestRecord, scope: Scope, seconds: float) -> None:
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

    def _level(self, seen: RequestRecord) -> int:
        if seen.status >= _SERVER_ERROR:
            return logging.WARNING
        return logging.DEBUG if seen.status < _REFUSAL and seen.route in self._busy else logging.INFO


def _name(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id that a request brings, or a new one."""
    sent = next((value.decode("latin-1") for name, value in headers if name == b"x-request-id"), "")
    return sent if _ID.fullmatch(sent) else str(uuid.uuid4())


@lru_cache(maxsize=4096)
def _numbers(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return what counts requests of a kind, of which there are few."""
    return REQUESTS.labels(method, route, str(status)), REQUEST_SECONDS.labels(method, route)
