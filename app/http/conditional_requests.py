"""Entity tags of responses, and the conditions ``If-Match`` and ``If-None-Match``."""

import hashlib
from typing import Annotated, Any

from fastapi import Header, Response
from pydantic import BaseModel

from app.common.errors import PreconditionFailed

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="An `ETag`: the change is refused with 412 if the object has a different one by now.",
    ),
]


def tagged(model: type[BaseModel], status: int = 200) -> dict[int | str, dict[str, Any]]:  # a piece of OpenAPI
    """Return the documentation of a response with an ``ETag``, for ``responses=`` of a route."""
    tag = {"description": "Identifies this state of the object.", "schema": {"type": "string"}}
    return {status: {"model": model, "headers": {"ETag": tag}}}


def answer(body: bytes, status_code: int = 200, tag: str | None = None) -> Response:
    """Return a body with its tag; ``tag`` is that of an object which the body shows in another form."""
    return Response(body, status_code, {"ETag": tag or entity_tag(body)}, media_type="application/json")


def refuse_changed(tag: str, if_match: str | None) -> None:
    """Refuse a change with 412 if ``If-Match`` does not match the current tag of the object."""
    if if_match is not None and not is_match(if_match, tag):
        raise PreconditionFailed


def entity_tag(body: bytes, passing: bytes = b"") -> str:
    """Return a strong entity tag: equal bytes have equal tags.

    ``passing`` is what changes by itself in an object: it has a part of the tag, which ``is_match`` leaves out.
    """
    tag = hashlib.sha256(body).hexdigest()[:32]
    return f'"{tag}-{hashlib.sha256(passing).hexdigest()[:8]}"' if passing else f'"{tag}"'


def is_match(header: str, tag: str) -> bool:
    """Whether an ``If-Match`` header matches a tag. Weak tags never match."""
    return any(given.strip() == "*" or _lasting(given.strip()) == _lasting(tag) for given in header.split(","))


def _lasting(tag: str) -> str:
    """Return a tag without the part of what changes by itself."""
    lasting, dash, _ = tag.partition("-")
    return f'{lasting}"' if dash else tag


def is_known(header: str, tag: str) -> bool:
    """Whether an ``If-None-Match`` header contains a tag. Weak tags are compared like strong ones."""
    return any(given.strip().removeprefix("W/") in ("*", tag) for given in header.split(","))
