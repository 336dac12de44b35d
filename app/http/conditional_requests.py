"""Answers that carry their state as a tag, and changes that are bound to the state the client has seen."""

import hashlib
from typing import Annotated, Any

from fastapi import Header, Response
from pydantic import BaseModel

from app.common.errors import PreconditionFailed

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="An `ETag`: refuse the change with 412 if the object has another one by now.",
    ),
]


def tagged(model: type[BaseModel], status: int = 200) -> dict[int | str, dict[str, Any]]:  # a piece of OpenAPI
    """Return the documentation of an answer with a tag, for ``responses=`` of a route."""
    tag = {"description": "Tells this state of the object.", "schema": {"type": "string"}}
    return {status: {"model": model, "headers": {"ETag": tag}}}


def answer(body: bytes, status_code: int = 200) -> Response:
    return Response(body, status_code, {"ETag": entity_tag(body)}, media_type="application/json")


def refuse_changed(body: bytes, if_match: str | None) -> None:
    """Refuse to go on when the object, as its body shows it, is another one than the client believes."""
    if if_match is not None and not is_match(if_match, entity_tag(body)):
        raise PreconditionFailed


def entity_tag(body: bytes) -> str:
    """Return a strong tag of a representation: equal bytes, equal tag."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def is_match(header: str, tag: str) -> bool:
    """Whether an ``If-Match`` header lets a request for the tagged object pass. Weak tags match nothing."""
    return any(given.strip() in ("*", tag) for given in header.split(","))


def is_known(header: str, tag: str) -> bool:
    """Whether an ``If-None-Match`` header says that the client has what is tagged. Weak tags count like strong ones."""
    return any(given.strip().removeprefix("W/") in ("*", tag) for given in header.split(","))
