"""Routes that say in their answers what of a request was ignored."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.common.json_text import append_members
from app.http.strictness import LISTED, WARNINGS

_CHANGING: Final = frozenset({"POST", "PUT", "PATCH"})
_NOT_KEPT: Final = frozenset({"content-length", "content-type"})


class WarnedRoute(APIRoute):
    """Adds ``warnings`` to the object that a change is answered with, where the ``Warning`` header has any.

    The ``ETag`` stays: it is that of the object, as readers will see it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_and_warn(request: Request) -> Response:
            response = await handle(request)
            warnings = request.scope.get(WARNINGS)
            if not warnings or request.method not in _CHANGING or not bytes(response.body).startswith(b"{"):
                return response
            body = append_members(bytes(response.body).decode(), f'"{LISTED}":{json.dumps(warnings)}')
            headers = {name: value for name, value in response.headers.items() if name not in _NOT_KEPT}
            return Response(body, response.status_code, headers, media_type="application/json")

        return handle_and_warn
