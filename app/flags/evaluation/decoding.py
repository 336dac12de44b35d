"""Decodes requests for flags.

Properties stay raw JSON: properties that no condition reads are never decoded.
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.common import limits
from app.common.errors import ValidationFailed
from app.common.json_repair import is_utf8, repair
from app.common.json_text import storable_text, write_json
from app.common.lenient_json import load
from app.common.limits import Limit
from app.people.cookieless.visitors import is_cookieless
from app.people.groups.decoding import is_group_key
from app.sdk.bounded_structs import BoundedDecoder, FieldTooLargeError, Json, Scalar, is_sent
from app.sdk.payloads import SdkRequest, decode_payload

MAX_DISTINCT_ID_CHARACTERS: Final = 200

RawProperties = Mapping[str, bytes]
Texts = Mapping[str, str]


class FlagsRequest(msgspec.Struct, frozen=True):
    """A request for the flags of one person.

    Attributes
    ----------
    distinct_id : str or None
        None where the request does not state one; an empty text is a valid identifier.
    anonymous_id : str or None
        The identifier that the person had before they logged in.
    flag_keys : collection of str or None
        The requested flags; None requests all.
    is_disabled : bool
        Whether the client requests no flags, only configuration.
    project_id : object
        The project's id as a client states it that sends a personal API key in place of a token.
    """

    token: str | None
    distinct_id: str | None
    anonymous_id: str | None = None
    groups: Texts = {}
    person_properties: RawProperties = {}
    group_properties: Mapping[str, RawProperties] = {}
    flag_keys: Collection[str] | None = None
    is_disabled: bool = False
    project_id: object = None


class _Body(
    msgspec.Struct,
    rename={
        "dollar_token": "$token",
        "dollar_distinct_id": "$distinct_id",
        "anonymous_id": "$anon_distinct_id",
        "dollar_groups": "$groups",
        "dollar_properties": "$properties",
        "dollar_group_properties": "$group_properties",
    },
):
    token: Scalar = None
    api_key: Scalar = None
    dollar_token: Scalar = None
    properties: Json = UNSET
    distinct_id: Scalar = None
    dollar_distinct_id: Scalar = None
    anonymous_id: Scalar = None
    groups: Json = UNSET
    dollar_groups: Json = UNSET
    person_properties: Json = UNSET
    dollar_properties: Json = UNSET
    group_properties: Json = UNSET
    dollar_group_properties: Json = UNSET
    flag_keys_to_evaluate: Json = UNSET
    flag_keys: Json = UNSET
    disable_flags: Json = UNSET
    project_id: Scalar = None


class _Properties(msgspec.Struct):
    token: Scalar = None


_bodies = BoundedDecoder(_Body)
_properties = BoundedDecoder(_Properties)
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode


def decode_flags_request(payload: bytes, form: Mapping[str, str]) -> FlagsRequest:
    """Decode a request for flags: its JSON, and the other fields of its form, if it is one.

    Raises
    ------
    ValidationFailed
        With the 2022 code ``malformed_data``.
    """
    document = _parse(payload)
    tokens = (form.get("api_key"), form.get("token"), document.dollar_token, document.token, document.api_key)
    keys = document.flag_keys_to_evaluate if is_sent(document.flag_keys_to_evaluate) else document.flag_keys
    return FlagsRequest(
        token=next((storable_text(token).strip() for token in tokens if token), None) or _token_in(document.properties),
        distinct_id=_read_identifier(document),
        anonymous_id=_read_anonymous_id(document),
        groups=_texts_of(document.groups) or _texts_of(document.dollar_groups),
        person_properties=_raw_values(document.person_properties) or _raw_values(document.dollar_properties),
        group_properties=_properties_of_groups(document.group_properties)
        or _properties_of_groups(document.dollar_group_properties),
        flag_keys=_read_keys(keys),
        is_disabled=not isinstance(document.disable_flags, UnsetType) and bytes(document.disable_flags) == b"true",
        project_id=form.get("project_id") or document.project_id,
    )


def decode_flags_payload(sdk_request: SdkRequest, limit: Limit = limits.FLAGS_REQUEST_BYTES) -> bytes:
    """Return the JSON payload of a request; empty where the request has none.

    Raises
    ------
    ValidationFailed
        With the 2022 code ``malformed_data``.
    PayloadTooLarge
        When the decompressed payload is too large.
    """
    try:
        return decode_payload(sdk_request, limit)
    except ValidationFailed as error:
        if error.code == "no_data":
            return b""
        raise ValidationFailed(error.detail, code="malformed_data") from error


def _parse(payload: bytes) -> _Body:
    if not payload.strip():
        return _Body()
    try:
        return _bodies.decode(payload if is_utf8(payload) else repair(payload))
    except FieldTooLargeError as error:
        raise _malformed(str(error)) from error
    except (msgspec.DecodeError, RecursionError):
        return _parse_leniently(payload)


def _parse_leniently(payload: bytes) -> _Body:
    try:
        return _bodies.decode(repair(payload))
    except FieldTooLargeError as error:
        raise _malformed(str(error)) from error
    except msgspec.ValidationError as error:
        raise _malformed(str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise _malformed(f"Invalid JSON: {error}") from error


def _malformed(reason: str) -> ValidationFailed:
    return ValidationFailed(f"Malformed request data: {reason}", code="malformed_data")


def _token_in(properties: Json) -> str | None:
    if isinstance(properties, UnsetType):
        return None
    try:
        token = _properties.decode(properties).token
    except (msgspec.DecodeError, FieldTooLargeError):  # not an object, or not a token
        return None
    return storable_text(token) if token else None


def _read_identifier(document: _Body) -> str | None:
    value = document.distinct_id if document.distinct_id is not None else document.dollar_distinct_id
    return None if value is None else storable_text(value)


def _read_anonymous_id(document: _Body) -> str | None:
    """Return the identifier before the login; a visitor without cookies has none that may be kept."""
    text = storable_text(document.anonymous_id) if document.anonymous_id else ""
    return None if not text or is_cookieless(text) else text


def _read_keys(raw: Json) -> Collection[str] | None:
    """Return the keys in a list; None for other JSON."""
    if isinstance(raw, UnsetType):
        return None
    try:
        keys = [bytes(key) for key in _decode_list(raw)]
    except msgspec.ValidationError:  # not a list
        return None
    return frozenset(storable_text(load(key.decode())) for key in keys if not key.startswith((b"[", b"{")))


def _raw_values(raw: Json) -> RawProperties:
    """Return the raw values of an object by key; empty for anything but an object."""
    if isinstance(raw, UnsetType):
        return {}
    try:
        return {key: bytes(raw_value) for key, raw_value in _decode_object(raw).items()}
    except msgspec.ValidationError:  # not an object
        return {}
    except msgspec.DecodeError:  # a key has an unpaired surrogate
        return _raw_values(Raw(write_json(load(bytes(raw).decode())).encode()))


def _texts_of(raw: Json) -> Texts:
    try:
        values = {key: msgspec.json.decode(raw_value) for key, raw_value in _raw_values(raw).items()}
    except msgspec.DecodeError:  # a text has an unpaired surrogate
        return _texts_of(Raw(write_json(load(bytes(raw).decode())).encode())) if not isinstance(raw, UnsetType) else {}
    return {key: storable_text(value) for key, value in values.items() if is_group_key(value)}


def _properties_of_groups(raw: Json) -> Mapping[str, RawProperties]:
    return {name: _raw_values(Raw(properties)) for name, properties in _raw_values(raw).items()}
