"""Decodes the evaluation context of OpenFeature to a request for flags."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Raw

from app.common import limits
from app.flags.evaluation.decoding import FlagsRequest, RawProperties
from app.people.groups.decoding import is_group_key

ErrorCode: TypeAlias = Literal["PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL", "FLAG_NOT_FOUND"]

TARGETING_KEY: Final = "targetingKey"
_GROUPS, _GROUP_PROPERTIES, _ANONYMOUS_ID = "$groups", "$group_properties", "$anon_distinct_id"
_TEXTS: Final = frozenset({TARGETING_KEY, _ANONYMOUS_ID})
_RESERVED: Final = _TEXTS | {_GROUPS, _GROUP_PROPERTIES}

Value = TypeVar("Value")

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_texts = msgspec.json.Decoder(dict[str, str | int | float]).decode
_decode_objects = msgspec.json.Decoder(dict[str, dict[str, Raw]]).decode


class Refused(Exception):
    """A request that is not evaluated, with the code and the details that OFREP answers."""

    def __init__(self, code: ErrorCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


def decode_evaluation(body: bytes, key: str | None = None) -> FlagsRequest:
    """Decode the body of an evaluation of one flag, or of all where ``key`` is None.

    Attributes of the context are properties of the person. ``$groups``, ``$group_properties`` and
    ``$anon_distinct_id`` mean what they mean in ``/flags``.

    Raises
    ------
    Refused
        It is not JSON, or its context is not understood.
    """
    context = _context_of(body)
    return FlagsRequest(
        token=None,
        distinct_id=_targeting_key(context),
        anonymous_id=_read(context, _ANONYMOUS_ID, _decode_text, "a text"),
        groups=_groups(context),
        person_properties={name: bytes(value) for name, value in context.items() if name not in _RESERVED},
        group_properties=_group_properties(context),
        flag_keys=None if key is None else frozenset({key}),
    )


def _context_of(body: bytes) -> Mapping[str, Raw]:
    try:
        document = _decode_object(body)
    except msgspec.ValidationError as error:
        raise Refused("PARSE_ERROR", "The body is not a JSON object.") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused("PARSE_ERROR", "The body is not valid JSON.") from error
    try:
        return _decode_object(document["context"]) if "context" in document else {}
    except msgspec.ValidationError as error:
        raise Refused("INVALID_CONTEXT", "`context` is not an object.") from error


def _read(context: Mapping[str, Raw], name: str, decode: Callable[[Raw], Value], form: str) -> Value | None:
    """Return a member of the context; None where it is missing or null."""
    raw = context.get(name)
    if raw is None or bytes(raw) == b"null":
        return None
    if name in _TEXTS and len(raw) > limits.EVENT_FIELD_BYTES.value:
        raise Refused("INVALID_CONTEXT", limits.EVENT_FIELD_BYTES.detail)
    try:
        return decode(raw)
    except msgspec.DecodeError as error:
        raise Refused("INVALID_CONTEXT", f"`{name}` is not {form}.") from error


def _targeting_key(context: Mapping[str, Raw]) -> str:
    key = _read(context, TARGETING_KEY, _decode_text, "a text")
    if not key:
        raise Refused("TARGETING_KEY_MISSING", "The context needs a `targetingKey`: the distinct id of the person.")
    return key


def _groups(context: Mapping[str, Raw]) -> Mapping[str, str]:
    groups = _read(context, _GROUPS, _decode_texts, "an object of texts") or {}
    return {name: str(key) for name, key in groups.items() if is_group_key(key)}


def _group_properties(context: Mapping[str, Raw]) -> Mapping[str, RawProperties]:
    found = _read(context, _GROUP_PROPERTIES, _decode_objects, "an object of objects") or {}
    return {name: {key: bytes(value) for key, value in properties.items()} for name, properties in found.items()}
