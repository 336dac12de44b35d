"""Field types that validate values from clients once, where they enter the service.

Messages and codes are those of the 2022 API, which clients match on.
"""

import datetime as dt
import json
import math
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from app.common.storable_json import SURROGATE, is_storable_json
from app.common.timestamps import parse_moment, write_moment

_MOMENT_FORMAT = (
    "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
)

T = TypeVar("T")


class FormText(str):
    """The text of a form field: parsed as JSON by document fields, and null if empty in optional fields."""

    __slots__ = ()


def refuse_null(value: object) -> object:
    if value is None:
        raise PydanticCustomError("null", "This field may not be null.")
    return value


def _read_text(value: object) -> object:
    if value is None:
        return None
    is_infinite = isinstance(value, float) and not math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or is_infinite:
        raise PydanticCustomError("invalid_input", "Not a valid string.")
    text = str(value).strip()
    if "\0" in text:
        raise PydanticCustomError("null_characters_not_allowed", "Null characters are not allowed.")
    if SURROGATE.search(text):
        raise PydanticCustomError("invalid_input", "Not a valid string.")
    return text


def _refuse_blank(value: str) -> str:
    if not value:
        raise PydanticCustomError("blank", "This field may not be blank.")
    return value


def max_characters(limit: int) -> AfterValidator:
    """Refuse text of more than ``limit`` characters (code points)."""

    def check(value: T) -> T:
        if isinstance(value, str) and len(value) > limit:
            message = "Ensure this field has no more than {limit} characters."
            raise PydanticCustomError("max_length", message, {"limit": limit})
        return value

    return AfterValidator(check)


_TRUE = frozenset({"t", "T", "y", "Y", "yes", "YES", "Yes", "true", "True", "TRUE", "on", "On", "ON", "1"})
_FALSE = frozenset({"f", "F", "n", "N", "no", "NO", "No", "false", "False", "FALSE", "off", "Off", "OFF", "0"})


def _read_boolean(value: object) -> object:
    if isinstance(value, str | int | float):
        if value in _TRUE or value == 1:
            return True
        if value in _FALSE or value == 0:
            return False
    raise PydanticCustomError("invalid_input", "Must be a valid boolean.")


def _read_moment(value: object) -> object:
    if value is None or isinstance(value, dt.datetime):
        return value
    if isinstance(value, FormText) and not value:
        return None
    moment = parse_moment(value) if isinstance(value, str) else None
    if moment is None:
        raise PydanticCustomError("invalid_input", _MOMENT_FORMAT)
    return moment


def _read_json(value: object) -> object:
    document = _parse_form_text(value) if isinstance(value, FormText) else value
    if not is_storable_json(document):
        raise _invalid_json()
    return document


def _parse_form_text(text: FormText) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid_json() from error


def parse_form_json(value: object) -> object:
    """Return what a document field reads: the JSON of a form's text, or the value as it is; None for invalid JSON."""
    if not isinstance(value, FormText):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def refusal(detail: str, code: str = "invalid_input") -> PydanticCustomError:
    """Return an error with a text that may quote the client."""
    # The message is a template: text from a client must not be read as its fields.
    return PydanticCustomError(code, "{detail}", {"detail": detail})


def _invalid_json() -> PydanticCustomError:
    return PydanticCustomError("invalid_input", "Value must be valid JSON.")


def _refuse_other_than_list(value: object) -> object:
    if not isinstance(value, list):
        message = 'Expected a list of items but got type "{kind}".'
        raise PydanticCustomError("not_a_list", message, {"kind": type(value).__name__})
    return value


def _refuse_other_than_object(value: object) -> object:
    if not isinstance(value, dict):
        raise PydanticCustomError("invalid_input", "Expected a dictionary of items.")
    return value


class _WithoutNull:
    """Removes null from the OpenAPI schema: the type allows it as a default only."""

    _NULL: Final = {"type": "null"}

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        alternatives = [one for one in described.pop("anyOf", []) if one != self._NULL]
        return {**described, **alternatives[0]} if len(alternatives) == 1 else {**described, "anyOf": alternatives}


class _List:
    """Refuses what is not a list, and a list at its first invalid item, because only one error is reported."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        of_list: Any = schema  # each kind of schema is a class of its own
        while "schema" in of_list:  # inside validators of the whole list
            of_list = of_list["schema"]
        if of_list["type"] == "list":
            of_list["fail_fast"] = True
        return core_schema.no_info_before_validator_function(_refuse_other_than_list, schema)


def _written_as(schema: JsonSchemaValue) -> WithJsonSchema:
    """Return the OpenAPI schema of what a client may send; responses always have the type itself."""
    return WithJsonSchema(schema, mode="validation")


# An id in a path: documented as a number, and read as text, because every other text is a 404.
PathId = Annotated[str, WithJsonSchema({"type": "integer", "minimum": 1, "examples": [1]})]
ProjectReference = Annotated[
    str,
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "@current"}], "default": "@current", "examples": [1]}
    ),
]
# In ``Annotated``, before-validators run from the last to the first, after-validators from the first to the last.
NotNull = BeforeValidator(refuse_null)
Omittable = Annotated[T | None, NotNull, _WithoutNull()]  # a field of a partial update: optional, but not null
LongText = Annotated[
    str,
    AfterValidator(_refuse_blank),
    BeforeValidator(_read_text),
    NotNull,
    _written_as({"type": ["string", "number"]}),
    Field(json_schema_extra={"minLength": 1, "pattern": r"\S"}),
]
Text = Annotated[LongText, max_characters(400), Field(json_schema_extra={"maxLength": 400})]
BlankableText = Annotated[str, BeforeValidator(_read_text), NotNull, _written_as({"type": ["string", "number"]})]
OptionalLongText = Annotated[
    str | None, BeforeValidator(_read_text), _written_as({"type": ["string", "number", "null"]})
]
OptionalText = Annotated[OptionalLongText, max_characters(400), Field(json_schema_extra={"maxLength": 400})]
Boolean = Annotated[
    bool,
    BeforeValidator(_read_boolean),
    NotNull,
    _written_as(
        {
            "anyOf": [
                {"type": "boolean"},
                {"type": "integer", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": f"^(?:{'|'.join(sorted(_TRUE | _FALSE))})$"},
            ]
        }
    ),
]
UtcDatetime = Annotated[
    dt.datetime,
    BeforeValidator(_read_moment),
    PlainSerializer(write_moment, return_type=str, when_used="json"),
    Field(examples=["2022-11-01T00:00:00Z"], json_schema_extra={"format": "date-time"}),
]
OptionalUtcDatetime = Annotated[UtcDatetime | None, BeforeValidator(_read_moment)]
StorableJson = BeforeValidator(_read_json)
IsList = _List()
Json = Annotated[JsonValue, StorableJson]
PresentJson = Annotated[JsonValue, NotNull, StorableJson]  # not null
JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(_refuse_other_than_object), NotNull, StorableJson]
