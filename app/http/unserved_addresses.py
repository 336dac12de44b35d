"""Answers to SDKs at addresses that the service does not have.

Browser SDKs of every month ask for features that came after the last ones which are known here. They work without an
answer, but a 404 without CORS fills the console of every visitor.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from fastapi import Request, Response
from starlette.responses import JSONResponse

from app.http.public_cors import public_cors_headers
from app.http.routing import path_as_sent

EMPTY_SCRIPT: Final = "/* This server does not have this part of the SDK. */\n"
_SCRIPT: Final = "application/javascript"
# The SDK itself: a page that loads it has to learn that it is not here.
_SDK: Final = re.compile(r"array[^/]*\.js")


def is_optional_script(path: str) -> bool:
    """Whether a path is that of a script without which the SDK works."""
    name = path.rstrip("/").rpartition("/")[2]
    return name.endswith(".js") and _SDK.fullmatch(name) is None


def empty_script() -> Response:
    return Response(EMPTY_SCRIPT, media_type=_SCRIPT)


def resources_of(paths: Iterable[str]) -> frozenset[str]:
    """Return the names below ``/api/`` that belong to the REST API: there a wrong path is an error of the caller."""
    parts = (path.split("/") for path in paths)
    return frozenset(part[2] for part in parts if part[1] == "api")


def is_for_rest_api(path: str, headers: Mapping[str, str], resources: frozenset[str]) -> bool:
    """Whether a request belongs to the REST API: by its path, or because it has a key or asks whether to send one."""
    first, _, rest = path.removeprefix("/").partition("/")  # the path of `OPTIONS *` has no slash
    if first == "api" and rest.partition("/")[0] in resources:
        return True
    return "authorization" in headers or "authorization" in headers.get("access-control-request-headers", "").lower()


def answer_sdk(request: Request, resources: frozenset[str]) -> Response | None:
    """Return an answer without content for an SDK whose address no route has; None for all other callers.

    A request of an SDK has no key, and either comes from a page of another origin or names a project by its token.
    """
    path = path_as_sent(request).removeprefix(request.scope.get("root_path", ""))
    headers = request.headers
    if is_for_rest_api(path, headers, resources):
        return None
    if "origin" not in headers and "token" not in request.query_params:
        return None
    if path.endswith(".js") and not is_optional_script(path):
        return None
    response = empty_script() if path.endswith(".js") else JSONResponse({})
    response.raw_headers.extend(public_cors_headers(dict(request.scope["headers"])))
    return response
