"""Types that make values from outside safe once, at the door.

Messages and codes are those of the 2022 API, which clients match on.
"""

import datetime as dt
import json
import math
import re
from typing import Annotated, Final, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

MAX_ID = 2**31 - 1
MAX_JSON_DEPTH = 64
_SURROGATE = re.compile("[\ud800-\udfff]")

T = TypeVar("T")


class FormText(str):
    """The text of a form's field: JSON in a field that holds a document, nothing in one that may be unset."""

    __slots__ = ()


_WHOLE_NUMBER = re.compile(r"-?[0-9]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def read_id(text: str) -> int | None:
    """Read the id that a path names: 0, which nothing has, for a number out of range; None for what is no number."""
    if _WHOLE_NUMBER.fullmatch(text) is None:
        return None
    digits = text.lstrip("0")
    # Python refuses to read thousands of digits, and databases refuse far fewer.
    number = int(digits) if 0 < len(digits) <= len(str(MAX_ID)) else 0
    return number if 0 < number <= MAX_ID else 0


def read_uuid(text: str) -> UUID | None:
    """Read the UUID that a path names, written with hyphens; None for what is none."""
    return UUID(text) if _UUID.fullmatch(text) else None


def refuse_null(value: object) -> object:
    if value is None:
        raise PydanticCustomError("null", "This field may not be null.")
    return value


def _read_text(value: object) -> object:
    if value is None:
        return None
    is_endless = isinstance(value, float) and not math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or is_endless:
        raise PydanticCustomError("invalid_input", "Not a valid string.")
    text = str(value).strip()
    if "\0" in text:
        raise PydanticCustomError("null_characters_not_allowed", "Null characters are not allowed.")
    if _SURROGATE.search(text):
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


_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d{1,2}-\d{1,2})[T ](?P<hour>\d{1,2}):(?P<minute>\d{1,2})"
    r"(?::(?P<second>\d{1,2})(?:[.,](?P<fraction>\d{1,6})\d*)?)?\s*"
    r"(?P<zone>Z|z|[+-]\d{2}(?::?\d{2})?)?"
)
_MOMENT_FORMAT = (
    "Datetime has wrong format. Use one of these formats instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
)


def parse_moment(text: str) -> dt.datetime | None:
    """Read a date and time as the 2022 API does; None when it is not one. Without a zone it is UTC."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    year, month, day = map(int, match["date"].split("-"))
    try:
        moment = dt.datetime(
            year,
            month,
            day,
            int(match["hour"]),
            int(match["minute"]),
            int(match["second"] or 0),
            int((match["fraction"] or "0").ljust(6, "0")),
            tzinfo=_zone(match["zone"]),
        ).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None
    # Databases and arithmetic on moments stop short of Python's own limits.
    return moment if 1900 <= moment.year <= 2200 else None


def _zone(text: str | None) -> dt.tzinfo:
    if text is None or text in "Zz":
        return dt.UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return dt.timezone(-offset if text[0] == "-" else offset)


def _read_moment(value: object) -> object:
    if value is None or isinstance(value, dt.datetime):
        return value
    if isinstance(value, FormText) and not value:
        return None
    moment = parse_moment(value) if isinstance(value, str) else None
    if moment is None:
        raise PydanticCustomError("invalid_input", _MOMENT_FORMAT)
    return moment


def write_moment(value: dt.datetime) -> str:
    """Return a moment as every answer shows it."""
    return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat() + "Z"


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


def _invalid_json() -> PydanticCustomError:
    return PydanticCustomError("invalid_input", "Value must be valid JSON.")


def is_storable_json(value: object, depth: int = 0) -> bool:
    """Whether every database can hold the document: finite numbers, no NUL, no lone surrogate, bounded depth."""
    if depth > MAX_JSON_DEPTH:
        return False
    if isinstance(value, str):
        return "\0" not in value and not _SURROGATE.search(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(is_storable_json(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return all(is_storable_json(k) and is_storable_json(item, depth + 1) for k, item in value.items())
    return True


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
    """Tells readers of the OpenAPI document that null is refused, though the type allows it as a default."""

    _NULL: Final = {"type": "null"}

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        alternatives = [one for one in described.pop("anyOf", []) if one != self._NULL]
        return {**described, **alternatives[0]} if len(alternatives) == 1 else {**described, "anyOf": alternatives}


def _written_as(schema: JsonSchemaValue) -> WithJsonSchema:
    """Tell readers of the OpenAPI document what a client may send; what it gets is always of the type itself."""
    return WithJsonSchema(schema, mode="validation")


# In ``Annotated`` the validators before the type run from the last to the first, those after it from first to last.
NotNull = BeforeValidator(refuse_null)
Omittable = Annotated[
    T | None, NotNull, _WithoutNull()
]  # a field of an update: it may be left out, and may not be null
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
IsList = BeforeValidator(_refuse_other_than_list)
Json = Annotated[JsonValue, StorableJson]
PresentJson = Annotated[JsonValue, NotNull, StorableJson]  # not null
JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(_refuse_other_than_object), NotNull, StorableJson]
