"""Reads and validates request bodies: bytes up to a limit, then JSON or a form, then a model.

Endpoints take ``Annotated[Model, body_of(Model)]`` after the dependencies that authenticate and look up, so that a body
is validated only after the caller is authorized. The framework would read its own body parameters first.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.common import limits
from app.common.body_budget import ArrivingBody, BodyBudget
from app.common.errors import (
    AppError,
    ParseError,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
    ValidationFailed,
)
from app.http.forms import MULTIPART, URL_ENCODED, Form, parse_multipart, read_url_encoded
from app.http.schemas import RequestBody
from app.http.strictness import report_unknown_fields

_MAX_DIGITS = 18  # of Content-Length
_BODY = "abacus.body"
HELD_KEY = "abacus.held"  # of a request's scope: the bodies in memory until it is answered
_FREE_BYTES = 64 * 1024  # of each body, which no budget counts: as many as the server reads ahead
_SHOWN_CHARACTERS = 100  # of a value that an error quotes
_FORM_FIELD = re.compile(rb"[\w.-]+=")
_CHECKBOX_FIELDS = ("archived",)  # browsers omit an unchecked box from a form

Model = TypeVar("Model", bound=BaseModel)


class _ReceivedBody:
    """What has been received of a request's body. It may be read up to one limit first, and up to another later."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._declared = _declared_size(request)
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_complete = False
        self._arriving: ArrivingBody | None = None  # of a large one
        self._deadline: asyncio.Timeout | None = None  # while it is received

    async def read(self, limit: int) -> bytes | None:
        """Return the whole body; None as soon as it is known to have more than ``limit`` bytes."""
        if self._declared <= limit and not self._is_complete:
            await self._receive(limit)
        if max(self._size, self._declared) > limit:
            return None
        self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    async def _receive(self, limit: int) -> None:
        timeout: float = self._request.app.state.settings.body_timeout
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            async with asyncio.timeout(timeout) as deadline:
                self._deadline = deadline
                while not self._is_complete and self._size <= limit:
                    message = await self._request.receive()
                    if message["type"] == "http.disconnect":  # not a bug, although no client reads the response
                        raise ParseError("The request body ended early.")
                    self._pieces.append(message.get("body", b""))
                    self._size += len(self._pieces[-1])
                    self._is_complete = not message.get("more_body", False)
                    if self._size > _FREE_BYTES:
                        started += await self._take_bytes(deadline)
                    if not self._is_complete:
                        deadline.reschedule(min(clock(), started + self._size / limits.BODY_RATE.value) + timeout)
        except TimeoutError as error:
            raise RequestTimeout from error
        finally:
            self._deadline = None
        if self._arriving is not None and self._is_complete:
            self._arriving.complete()

    async def _take_bytes(self, deadline: asyncio.Timeout) -> float:
        """Take what has arrived from the budget of all bodies; return the seconds for which it had to wait."""
        if self._arriving is None:
            budget: BodyBudget = self._request.app.state.body_bytes
            self._arriving = budget.begin(self._give_up)
            self._request.scope.get(HELD_KEY, []).append(self._arriving)
        clock = asyncio.get_running_loop().time
        before = clock()
        deadline.reschedule(None)  # others are waited for, not the client
        await self._arriving.take(self._size - _FREE_BYTES - self._arriving.size)
        return clock() - before

    def _give_up(self) -> None:
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time())


def _declared_size(request: Request) -> int:
    text: bytes = next((value for name, value in request.scope["headers"] if name == b"content-length"), b"")
    return int(text[:_MAX_DIGITS]) if text.isdigit() else 0


async def stream_bytes(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Yield a body as it comes, for one that is too large for memory, under the rules of ``read_bytes`` for its rate.

    Raises
    ------
    PayloadTooLarge
        More than ``limit`` bytes are declared or received.
    RequestTimeout
    ParseError
        The client went away.
    """
    too_large = PayloadTooLarge(f"The request body is larger than {limit:,} bytes.")
    if _declared_size(request) > limit:
        raise too_large
    timeout: float = request.app.state.settings.body_timeout
    clock = asyncio.get_running_loop().time
    started = clock()
    size = 0
    is_complete = False
    while not is_complete:
        try:
            async with asyncio.timeout_at(min(clock(), started + size / limits.BODY_RATE.value) + timeout):
                message = await request.receive()
        except TimeoutError as error:
            raise RequestTimeout from error
        if message["type"] == "http.disconnect":
            raise ParseError("The request body ended early.")
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise too_large
        is_complete = not message.get("more_body", False)
        yield piece


async def read_bytes(request: Request, limit: int = limits.BODY_BYTES.value) -> bytes:
    """Return the whole body; refuse it as soon as more than ``limit`` bytes are declared or received.

    May be called again in the same request.
    """
    body = await find_bytes(request, limit)
    if body is None:
        raise PayloadTooLarge(f"The request body is larger than {limit:,} bytes.")
    return body


async def find_bytes(request: Request, limit: int) -> bytes | None:
    """Return the whole body, or None if it has more than ``limit`` bytes, of which no more than those are read."""
    received: _ReceivedBody | None = request.scope.get(_BODY)
    if received is None:
        received = request.scope[_BODY] = _ReceivedBody(request)
    return await received.read(limit)


def parse_json(body: bytes) -> object:
    """Parse a JSON text. ``NaN`` and ``Infinity`` pass here and are refused by the field that contains them."""
    try:
        return json.loads(body.decode())
    except json.JSONDecodeError as error:
        raise ParseError(f"JSON parse error - {error}") from error
    except UnicodeDecodeError as error:
        raise ParseError(f"JSON parse error - {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise ParseError("JSON parse error - nested too deeply") from error
    except ValueError as error:  # a number with thousands of digits
        raise ParseError("JSON parse error - a number has too many digits") from error


async def read_document(request: Request, limit: int = limits.BODY_BYTES.value) -> object:
    """Return the body of a request: JSON as it is, a form as an object of texts, an empty body as an empty object.

    May be called again in the same request.
    """
    body = await read_bytes(request, limit)
    if not body:
        return {}
    if not hasattr(request.state, "document"):
        request.state.document = await _parse(body, request.headers.get("content-type", ""))
    document: object = request.state.document
    return document


async def _parse(body: bytes, content_type: str) -> object:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json":
        _refuse_many_values(body)
        document = _parse_json_body(body)
        await asyncio.sleep(0)  # a large document takes milliseconds to parse, and again to validate
        return document
    if media_type in {URL_ENCODED, MULTIPART}:
        form = await (read_url_encoded(body) if media_type == URL_ENCODED else parse_multipart(body, content_type))
        _refuse_many_values(*form.values())  # which may be JSON
        return form
    raise UnsupportedMediaType(f'Unsupported media type "{media_type}" in request.')


def _refuse_many_values(*texts: bytes | str) -> None:
    """Refuse what would become more objects than can be made at a stretch. Commas in strings count, too."""
    if sum(_count_values(text) for text in texts) > limits.BODY_VALUES.value:
        raise PayloadTooLarge(limits.BODY_VALUES.detail)


def _count_values(text: bytes | str) -> int:
    if isinstance(text, str):
        return text.count(",") + text.count("[") + text.count("{")
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _parse_json_body(body: bytes) -> object:
    try:
        return parse_json(body)
    except ParseError as error:
        if _FORM_FIELD.match(body):  # ``curl -d name=value`` under a JSON header
            hint = f"the body looks like form fields: send JSON, or name its type {URL_ENCODED}"
            raise ParseError(f"{error.detail}; {hint}") from error
        raise


def validate(model: type[Model], document: object) -> Model:
    """Return the document as a model, or refuse it with its first error in the order of the model's fields."""
    if document is None:
        raise ValidationFailed("No data provided", code="null")
    if not isinstance(document, dict):
        raise ValidationFailed(f"Invalid data. Expected a dictionary, but got {type(document).__name__}.")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_input=False)[0], document) from None


def find_refusals(model: type[BaseModel], document: Mapping[str, object]) -> Sequence[ValidationFailed]:
    """Return everything for which ``validate`` would refuse a document, in the order of the model's fields."""
    try:
        model.model_validate(document)
    except ValidationError as error:
        return _refusals(error, document)
    return []


def _refusals(error: ValidationError, document: object) -> Sequence[ValidationFailed]:
    return [_refusal(one, document) for one in error.errors(include_url=False, include_input=False)]


def _refusal(first: ErrorDetails, document: object) -> ValidationFailed:
    inside = first.get("ctx", {}).get("place", [])  # of a document that one validator reads
    place = [*_fields_of(first, document), *inside]
    attr = "__".join(map(str, place)) or None
    of_union = "__".join(map(str, [*place, _tag_field(first)])) if first["type"].startswith("union_tag") else None
    if first["type"] == "union_tag_not_found":
        return ValidationFailed("This field is required.", code="required", attr=of_union)
    if first["type"] == "union_tag_invalid":
        detail = f'"{first["ctx"]["tag"][:_SHOWN_CHARACTERS]}" is not a valid choice.'
        return ValidationFailed(detail, code="invalid_choice", attr=of_union)
    if first["type"].endswith(("_type", "literal_error")) and _value_at(place, document) is None:
        return ValidationFailed("This field may not be null.", code="null", attr=attr)
    if first["type"] == "missing":
        return ValidationFailed("This field is required.", code="required", attr=attr)
    return ValidationFailed(first["msg"], code=first["type"], attr=attr)


def _fields_of(error: ErrorDetails, document: object) -> list[str | int]:
    """Return the fields of an error's location: what it names of a union is a tag, and not in the document."""
    found: list[str | int] = []
    for part in error["loc"]:
        inside = document if isinstance(document, dict) else {}
        if isinstance(document, list):
            inside = dict(enumerate(document))
        if part in inside:
            document = inside[part]
            found.append(part)
    return [*found, error["loc"][-1]] if error["type"] == "missing" else found


def _value_at(place: Sequence[str | int], document: object) -> object:
    """Return what a JSON document has at a place that ``_fields_of`` has found in it."""
    value: Any = document
    for part in place:
        value = value[part]
    return value


def _tag_field(error: ErrorDetails) -> str:
    """Return the field that selects one of several models."""
    return str(error["ctx"]["discriminator"]).strip("'")


class _BodyReader:
    """A dependency that reads one model, from which the OpenAPI document takes the schema."""

    def __init__(self, model: type[BaseModel], limit: int) -> None:
        self.model = model
        self._limit = limit
        self._checkboxes = [name for name in _CHECKBOX_FIELDS if name in model.model_fields]

    async def prepare(self, request: Request) -> object:
        """Return the body as it was sent, after the part of its validation that is done in slices."""
        document = await read_document(request, self._limit)
        if issubclass(self.model, RequestBody):
            with contextlib.suppress(
                UnicodeError, RecursionError
            ):  # half a character, or too deep: validation refuses it
                await self.model.prepare(document)
        return document

    async def __call__(self, request: Request) -> BaseModel:
        document = await self.prepare(request)
        if isinstance(document, Form) and request.method != "PATCH":
            document = {**dict.fromkeys(self._checkboxes, False), **document}
        body = validate(self.model, document)
        if self.model.model_config.get("extra") == "ignore" and isinstance(document, dict):
            known = (field.alias or name for name, field in self.model.model_fields.items())
            report_unknown_fields(request, document, known)
        return body


async def prepare_body(request: Request) -> None:
    """Read the body of a request, and do what takes long of its validation, before a transaction begins.

    What is wrong with its content is left to the endpoint, whose other refusals may come first.
    """
    await read_bytes(request)
    route = request.scope.get("route")
    reader = _reader_of(route.dependant) if isinstance(route, APIRoute) else None
    if reader is not None:
        with contextlib.suppress(AppError):
            await reader.prepare(request)


def body_of(model: type[BaseModel], *, limit: int = limits.BODY_BYTES.value) -> Any:  # noqa: ANN401  # Depends has no public type
    """Return the dependency that reads a model from the body, of at most ``limit`` bytes."""
    return Depends(_BodyReader(model, limit))


def body_model(dependant: Dependant) -> type[BaseModel] | None:
    """Return the model of an endpoint's request body, if any."""
    reader = _reader_of(dependant)
    return None if reader is None else reader.model


def _reader_of(dependant: Dependant) -> _BodyReader | None:
    return next((call for call in _calls(dependant) if isinstance(call, _BodyReader)), None)


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    for child in dependant.dependencies:
        yield child.call
        yield from _calls(child)
