"""A request id for every request, and a logged 500 for every bug."""

import asyncio
import logging
import uuid

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Unavailable
from app.exception_handlers import respond
from app.schemas import ErrorBody

logger = logging.getLogger("abacus")

_BUG = ErrorBody(type="server_error", code="error", detail="A server error occurred.", attr=None)
_STOPPING = Unavailable("The service is being restarted. Please try again.")


class RequestContext:
    """Names each request, and turns what nobody caught into the documented 500.

    The framework's own handler for unknown exceptions answers outside every middleware, without CORS headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except asyncio.CancelledError:  # the server has waited long enough for this request, and stops
            if started:
                raise
            await respond(_STOPPING)(scope, receive, send_named)
        except Exception:
            # The path only: query strings may hold keys.
            logger.exception("request %s failed: %s %s", request_id, scope["method"], scope["path"])
            if started:
                raise
            await JSONResponse(_BUG.model_dump(), status_code=500)(scope, receive, send_named)
