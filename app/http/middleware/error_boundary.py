"""Turns exceptions that no handler caught into the documented 500."""

import asyncio
import logging

from fastapi import Request
from fastapi.routing import APIRoute
from opentelemetry import trace
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.common.body_budget import ArrivingBody
from app.common.errors import Unavailable
from app.http.exception_handlers import report_unavailable, respond
from app.http.middleware.request_log import RECORD_KEY, RequestRecord
from app.http.request_body import HELD_KEY
from app.http.schemas import ErrorBody
from app.telemetry.logging import request_id

logger = logging.getLogger("abacus")

_BUG = ErrorBody(type="server_error", code="error", detail="A server error occurred.", attr=None)
_STOPPING = Unavailable("The service is being restarted. Please try again.")
_FULL = Unavailable("The service has no memory for this request now. Please try again.")


class ServerErrorMiddleware:
    """Turns uncaught exceptions into the documented 500, and passes client and route on to the access log.

    The framework's own handler for unknown exceptions responds outside all middleware, without CORS headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        held: list[ArrivingBody] = []
        scope[HELD_KEY] = held
        _hide_query_from_traces()

        async def send_on(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except (asyncio.CancelledError, MemoryError) as error:
            if started:
                raise
            # A request is cancelled when the server stops and the time for running requests is over.
            refusal = _FULL if isinstance(error, MemoryError) else _STOPPING
            report_unavailable(Request(scope), refusal)
            await respond(refusal)(scope, receive, send_on)
        except Exception:
            logger.exception("request failed")
            if started:
                raise
            await JSONResponse(_BUG.model_dump(), status_code=500)(scope, receive, send_on)
        finally:
            for body in held:
                body.end()
            _complete_record(scope)


def _complete_record(scope: Scope) -> None:
    record: RequestRecord = scope[RECORD_KEY]
    client, route = scope.get("client"), scope.get("route")
    record.client = client[0] if client else None  # as forwarded by trusted proxies
    record.route = route.path if isinstance(route, APIRoute) else None


def _hide_query_from_traces() -> None:
    """Remove the query string from the framework's span: it may contain a key."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attribute("url.query", "")
        span.set_attribute("abacus.request_id", request_id.get())
