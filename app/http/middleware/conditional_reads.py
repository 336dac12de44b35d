"""Entity tags of everything that the private API shows, and 304 where the client has it already."""

import asyncio
from collections.abc import Container

from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.conditional_requests import entity_tag, is_known

_INLINE_BYTES = 1024 * 1024  # a digest of more is made in a thread: it takes the event loop more than a millisecond
_OF_THE_BODY = ("content-length", "content-type")


class ConditionalReadMiddleware:
    """Adds an ``ETag`` to JSON that GET returns, and answers 304 where ``If-None-Match`` names it.

    Parameters
    ----------
    paths
        The paths of routes whose answers are tagged. A tag that an endpoint sets itself is kept.
    """

    def __init__(self, app: ASGIApp, paths: Container[str]) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        held: Message | None = None

        async def send_on(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and self._is_tagged(scope, message):
                held = message
                return
            if held is not None:
                start, held = held, None
                if not message.get("more_body", False):
                    start, message = await _tagged(scope, start, message)
                await send(start)
            await send(message)

        await self._app(scope, receive, send_on)

    def _is_tagged(self, scope: Scope, start: Message) -> bool:
        route = scope.get("route")
        is_json = Headers(scope=start).get("content-type", "").startswith("application/json")
        return start["status"] == 200 and is_json and isinstance(route, APIRoute) and route.path in self._paths


async def _tagged(scope: Scope, start: Message, body: Message) -> tuple[Message, Message]:
    """Return a whole answer with its entity tag, or the 304 in its place."""
    headers = MutableHeaders(raw=list(start["headers"]))
    content: bytes = body.get("body", b"")
    tag = headers.get("etag")
    if tag is None:
        tag = await asyncio.to_thread(entity_tag, content) if len(content) > _INLINE_BYTES else entity_tag(content)
        headers["ETag"] = tag
    known = Headers(scope=scope).get("if-none-match")
    if known is None or not is_known(known, tag):
        return {**start, "headers": headers.raw}, body
    for name in _OF_THE_BODY:
        del headers[name]
    return {**start, "status": 304, "headers": headers.raw}, {**body, "body": b""}
