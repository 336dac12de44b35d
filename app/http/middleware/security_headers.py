"""Security headers: no sniffing, no referrer, no caching, no framing."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS = [(b"x-content-type-options", b"nosniff")]
# For responses that do not set these themselves, as pages do.
_DEFAULTS = [
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


class SecurityHeadersMiddleware:
    """Adds the headers to every response. It has to be outside everything that may respond."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                names = {name for name, _ in headers}
                defaults = [header for header in _DEFAULTS if header[0] not in names]
                message = {**message, "headers": [*headers, *_ALWAYS, *defaults]}
            await send(message)

        await self._app(scope, receive, send_guarded)
