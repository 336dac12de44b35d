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
_UNFINISHED: Final = 499  # as nginx logs it: the client disconnected before a response
_REFUSAL: Final = 400
_SERVER_ERROR: Final = 500


@dataclass
class RequestRecord:
    """What the log line of a request says, collected by several middlewares."""

    client: str | None
    route: str | None = None
    status: int = _UNFINISHED
    size: int = 0
    ended: float | None = None


class AccessLogMiddleware:
    """Gives each request an id, and logs and counts it when it ends.

    It has to be outside everything that may respond. An ``X-Request-ID`` of a client or proxy is kept if it is a plain
    word. The line does not contain the query string, which may contain a key. Requests of ``quiet`` routes are not
    logged, and successful ones of ``busy`` routes only at level ``debug``, because there are millions of them.
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
        identifier = _request_id(scope["headers"])
        client = scope.get("client")
        record = scope[RECORD_KEY] = RequestRecord(client=client[0] if client else None)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", identifier.encode())]}
            elif message["type"] == "http.response.body":
                record.size += len(message.get("body", b""))
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                record.ended = time.perf_counter()

        token = request_id.set(identifier)
        try:
            await self._app(scope, receive, send_on)
        finally:
            if record.route not in self._quiet:
                self._report(record, scope, (record.ended or time.perf_counter()) - started)
            request_id.reset(token)

    def _report(self, record: RequestRecord, scope: Scope, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = record.route or "none"
        requests, request_seconds = _metrics(method, route, record.status)
        requests.inc()
        request_seconds.observe(seconds)
        level = self._level(record)
        if not request_logger.isEnabledFor(level):
            return
        milliseconds = round(seconds * 1000, 3)
        fields = {
            "method": method,
            "route": record.route,
            "path": scope["path"][:_LONGEST_PATH],
            "status": record.status,
            "milliseconds": milliseconds,
            "bytes": record.size,
            "client": record.client,
        }
        request_logger.log(
            level, "%s %s %d %s ms", method, route, record.status, milliseconds, extra={"fields": fields}
        )

    def _level(self, record: RequestRecord) -> int:
        if record.status >= _SERVER_ERROR:
            return logging.WARNING
        return logging.DEBUG if record.status < _REFUSAL and record.route in self._busy else logging.INFO


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id in the headers of a request, or a new one."""
    sent = next((value.decode("latin-1") for name, value in headers if name == b"x-request-id"), "")
    return sent if _ID.fullmatch(sent) else str(uuid.uuid4())


@lru_cache(maxsize=4096)
def _metrics(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return the metrics for requests of one kind, of which there are few."""
    return REQUESTS.labels(method, route, str(status)), REQUEST_SECONDS.labels(method, route)
