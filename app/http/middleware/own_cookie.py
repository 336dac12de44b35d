"""Removes from requests the cookies of others."""

from starlette.types import ASGIApp, Receive, Scope, Send

Header = tuple[bytes, bytes]


class OwnCookieMiddleware:
    """Leaves of a request's cookies the service's own one; of several the last one counts.

    The framework parses the cookies of each request, read or not, and for a quoted value the standard library takes
    time in proportion to the square of its length: 3.5 s for the 60 KiB that a head may have, before anything is known
    of the sender (CVE-2024-7592, of Pythons as late as 3.11.9 and 3.12.5). The own cookie is never quoted.
    """

    def __init__(self, app: ASGIApp, name: str) -> None:
        self._app = app
        self._start = f"{name}=".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(name == b"cookie" for name, _ in scope["headers"]):
            scope["headers"] = self._without_others(scope["headers"])
        await self._app(scope, receive, send)

    def _without_others(self, headers: list[Header]) -> list[Header]:
        kept: list[Header] = []
        own: list[Header] = []
        for name, value in headers:
            if name != b"cookie":
                kept.append((name, value))
                continue
            cookies = (cookie.strip() for cookie in value.split(b";"))
            own += [(name, cookie) for cookie in cookies if cookie.startswith(self._start) and b'"' not in cookie]
        return kept + own[-1:]
