"""The ``Warning`` header: what of a request was ignored."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.strictness import WARNINGS


class WarningMiddleware:
    """Adds what was reported while a request was handled as ``Warning`` headers (RFC 7234, section 5.5)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reported: list[str] = []
        scope[WARNINGS] = reported

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start" and reported:
                headers = [(b"warning", _header(text)) for text in reported]
                message = {**message, "headers": [*message.get("headers", ()), *headers]}
            await send(message)

        await self._app(scope, receive, send_on)


def _header(text: str) -> bytes:
    """Return a miscellaneous warning, without the name of an agent."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'199 - "{quoted}"'.encode("ascii")
