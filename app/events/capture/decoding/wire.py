"""The JSON of a capture request as typed structures.

Properties stay JSON text from the wire to the table; only the few keys that capture itself reads are decoded.
"""

from collections.abc import Callable

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.common import lenient_json
from app.common.errors import ValidationFailed
from app.common.json_text import write_json

CAMPAIGN_PROPERTIES = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "gclid", "fbclid")
_VISIT_PROPERTIES = (
    "$browser",
    "$browser_version",
    "$device_type",
    "$current_url",
    "$pathname",
    "$os",
    "$referring_domain",
    "$referrer",
)
# The properties that say where a person came from, and the fields of `WireProperties` that hold them.
ORIGIN_FIELDS = {name: name.removeprefix("$") for name in (*CAMPAIGN_PROPERTIES, *_VISIT_PROPERTIES)}


class WireEvent(
    msgspec.Struct,
    rename={"dollar_distinct_id": "$distinct_id", "set": "$set", "set_once": "$set_once", "unset": "$unset"},
):
    """One event as a client sends it."""

    event: object = UNSET
    dollar_distinct_id: object = UNSET
    distinct_id: object = UNSET
    properties: Raw | UnsetType = UNSET
    timestamp: object = None
    offset: object = None
    uuid: object = None
    set: object = None
    set_once: object = None
    unset: object = None


class WireRequest(WireEvent, rename={"dollar_token": "$token"}):
    """A request's body: an envelope around a batch, or one event with the envelope's fields beside it."""

    batch: list[WireEvent] | None = None
    dollar_token: object = None
    token: object = None
    api_key: object = None
    project_id: object = None
    sent_at: object = None


class WireProperties(
    msgspec.Struct,
    rename={
        "set": "$set",
        "set_once": "$set_once",
        "unset": "$unset",
        "anonymous_id": "$anon_distinct_id",
        "ignores_sent_at": "$ignore_sent_at",
        "snapshot_data": "$snapshot_data",
        "address": "$ip",
        **{field: name for name, field in ORIGIN_FIELDS.items() if field != name},
    },
):
    """The properties of an event that capture reads."""

    distinct_id: object = UNSET
    token: object = None
    set: object = None
    set_once: object = None
    unset: object = None
    anonymous_id: object = None
    alias: object = None
    ignores_sent_at: object = None
    snapshot_data: object = None
    address: object = UNSET
    utm_source: object = None
    utm_medium: object = None
    utm_campaign: object = None
    utm_content: object = None
    utm_term: object = None
    gclid: object = None
    fbclid: object = None
    browser: object = None
    browser_version: object = None
    device_type: object = None
    current_url: object = None
    pathname: object = None
    os: object = None
    referring_domain: object = None
    referrer: object = None


decode_request: Callable[[bytes], list[WireRequest] | WireRequest] = msgspec.json.Decoder(
    list[WireRequest] | WireRequest
).decode
_decode_properties = msgspec.json.Decoder(WireProperties).decode
_NO_PROPERTIES = WireProperties()


def parse_request(body: bytes) -> list[WireRequest] | WireRequest:
    """Parse the body of a request, which is one object or a list of objects.

    Raises
    ------
    ValidationFailed
        With the 2022 code ``invalid_payload``.
    """
    try:
        body.decode()  # the decoder does not validate the text that it passes through
        return decode_request(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_leniently(body)


def read_properties(event: WireEvent) -> tuple[str, WireProperties]:
    """Return the properties of an event as JSON text, and those of them that capture reads."""
    raw = event.properties
    if isinstance(raw, UnsetType) or bytes(raw) == b"null":
        return "{}", _NO_PROPERTIES
    text = str(raw, "utf-8")
    try:
        return text, _decode_properties(text)
    except msgspec.DecodeError:  # not an object, or a key that capture reads has an invalid number or surrogate
        return rewrite_properties(load_json(text))


def rewrite_properties(document: object) -> tuple[str, WireProperties]:
    """Write decoded properties as JSON text, and return those of them that capture reads beside it."""
    if not isinstance(document, dict):
        raise invalid_payload(f"Invalid payload: Properties must be a JSON object, received {type(document).__name__}!")
    text = write_json(document)
    return text, _decode_properties(text)


def load_json(text: str) -> object:
    try:
        return lenient_json.load(text)
    except (ValueError, RecursionError) as error:
        raise invalid_payload(f"Malformed request data: Invalid JSON: {error}") from error


def invalid_payload(detail: str) -> ValidationFailed:
    return ValidationFailed(detail, code="invalid_payload")


def _parse_leniently(body: bytes) -> list[WireRequest] | WireRequest:
    try:
        return decode_request(write_json(load_json(lenient_json.read_text(body))).encode())
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid_payload(f"Malformed request data: {error}") from error
