"""The JSON of a capture request as typed structures.

Properties stay JSON text from the wire to the table; only the few keys that capture itself reads are decoded. A field
that should be a text is never built as a list or an object, whatever is sent, unless it is small.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.common import lenient_json, limits
from app.common.errors import PayloadTooLarge, ValidationFailed
from app.common.json_repair import is_utf8, repair
from app.common.json_text import write_json
from app.people.persons.origin import ORIGIN_PROPERTIES
from app.people.properties import check_values
from app.sdk.bounded_structs import BoundedDecoder, FieldTooLargeError, Json, Scalar, is_sent

# The properties that say where a person came from, and the fields of `WireProperties` that hold them.
ORIGIN_FIELDS = {name: name.removeprefix("$") for name in ORIGIN_PROPERTIES}
_EXPLAINED_BYTES = 64 * 1024
_COUNTED_BYTES = 256 * 1024

Element = TypeVar("Element")


class WireEvent(
    msgspec.Struct,
    rename={"dollar_distinct_id": "$distinct_id", "set": "$set", "set_once": "$set_once", "unset": "$unset"},
    gc=False,  # none of its values refers to it; so it is with the others
):
    """One event as a client sends it."""

    event: Scalar | UnsetType = UNSET
    dollar_distinct_id: Scalar | UnsetType = UNSET
    distinct_id: Scalar | UnsetType = UNSET
    properties: Json = UNSET
    timestamp: Scalar = None
    offset: Scalar = None
    uuid: Scalar = None
    set: Json = UNSET
    set_once: Json = UNSET
    unset: Json = UNSET


class WireRequest(WireEvent, rename={"dollar_token": "$token"}):
    """An event with the fields of an envelope beside it, or an envelope around a batch."""

    dollar_token: Scalar = None
    token: Scalar = None
    api_key: Scalar = None
    project_id: Scalar = None
    sent_at: Scalar = None
    batch: Json = UNSET


class _SmallRequest(WireRequest):
    """A request whose batch is decoded at once."""

    batch: list[WireEvent] | None = None  # type: ignore[assignment]  # a part of the wire's structure, read here only


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
        "insert_id": "$insert_id",
        "time": "$time",
        "writes_profile": "$process_person_profile",
        "is_cookieless": "$cookieless_mode",
        **{field: name for name, field in ORIGIN_FIELDS.items() if field != name},
    },
    gc=False,
):
    """The properties of an event that capture reads."""

    distinct_id: Scalar | UnsetType = UNSET
    token: Scalar = None
    set: Json = UNSET
    set_once: Json = UNSET
    unset: Json = UNSET
    anonymous_id: Scalar = None
    alias: Scalar = None
    ignores_sent_at: Scalar = None
    snapshot_data: Json = UNSET
    address: Json = UNSET
    insert_id: Scalar = None
    time: Scalar = None
    writes_profile: Scalar = None
    is_cookieless: Scalar = None
    utm_source: Scalar = None
    utm_medium: Scalar = None
    utm_campaign: Scalar = None
    utm_content: Scalar = None
    utm_term: Scalar = None
    gclid: Scalar = None
    fbclid: Scalar = None
    browser: Scalar = None
    browser_version: Scalar = None
    device_type: Scalar = None
    current_url: Scalar = None
    pathname: Scalar = None
    os: Scalar = None
    referring_domain: Scalar = None
    referrer: Scalar = None


class ParsedRequest(msgspec.Struct, frozen=True):
    """A request's envelope, and its events: decoded, or as the JSON of each."""

    first: WireRequest
    events: Sequence[WireEvent | Raw]
    is_single: bool = False  # the envelope is the event
    has_batch: bool = False


class _TooManyEvents(Exception):
    pass


class _CountedEvent(msgspec.Struct, gc=False):
    """An element of a batch of which nothing is decoded: one too many ends the decoding."""

    def __post_init__(self) -> None:
        _counter.events += 1
        if _counter.events > limits.EVENTS.value:
            raise _TooManyEvents


class _CountedRequest(msgspec.Struct):
    batch: list[_CountedEvent] | None = None


class _Counter(threading.local):
    events = 0


_counter = _Counter()
_decode_small: Callable[[bytes], list[WireRequest] | _SmallRequest] = msgspec.json.Decoder(
    list[WireRequest] | _SmallRequest
).decode
_decode_counted = msgspec.json.Decoder(list[_CountedEvent] | _CountedRequest).decode
_events = BoundedDecoder(WireEvent)
_requests = BoundedDecoder(WireRequest)
# What is wrong with these says nothing of the event itself, so it does not refuse one.
_UNBOUNDED = frozenset({*ORIGIN_FIELDS.values(), "insert_id", "time", "writes_profile", "is_cookieless"})
_properties = BoundedDecoder(WireProperties, _UNBOUNDED)
_decode_outermost = msgspec.json.Decoder(list[Raw] | _requests.raw_kind).decode
_decode_elements = msgspec.json.Decoder(list[Raw]).decode
_NO_PROPERTIES = WireProperties()


def parse_request(body: bytes) -> ParsedRequest:
    """Parse the body of a request, which is one object or a list of objects.

    Raises
    ------
    ValidationFailed
        With the 2022 code ``invalid_payload``.
    PayloadTooLarge
        It holds too many events or values, or an event that is too large.
    """
    if len(body) > limits.EVENT_VALUES.value:
        _refuse_many_values(body)
    try:
        return _parse(body) if is_utf8(body) else _parse_leniently(body)
    except FieldTooLargeError as error:
        raise _too_large(error) from error
    except msgspec.ValidationError as error:  # valid JSON, but not a request
        raise invalid_payload(f"Malformed request data: {error}") from error
    except (msgspec.DecodeError, RecursionError):
        return _parse_leniently(body)


def _refuse_many_values(body: bytes) -> None:
    """Count what separates values, in windows: nothing else bounds how long a call of the decoder takes."""
    values = 0
    for start in range(0, len(body), _COUNTED_BYTES):
        values += sum(body.count(mark, start, start + _COUNTED_BYTES) for mark in (b",", b"{", b"["))
        if values > limits.EVENT_VALUES.value:
            raise PayloadTooLarge(limits.EVENT_VALUES.detail)


def _parse_leniently(body: bytes) -> ParsedRequest:
    try:
        return _parse(repair(body))
    except FieldTooLargeError as error:
        raise _too_large(error) from error
    except msgspec.ValidationError as error:
        raise invalid_payload(f"Malformed request data: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid_payload(f"Malformed request data: Invalid JSON: {_explain(body, error)}") from error


def _explain(body: bytes, error: Exception) -> str:
    """Return what is wrong with a text that is not JSON, by line and column if it is short."""
    if len(body) <= _EXPLAINED_BYTES:
        try:
            lenient_json.load(lenient_json.read_text(body))
        except (ValueError, RecursionError) as better:
            return str(better)
    return str(error)


def _parse(body: bytes) -> ParsedRequest:
    if len(body) > limits.EVENT_BYTES.value:
        if not _count_events(body):  # a single event, which is not read a second time
            raise PayloadTooLarge(limits.EVENT_BYTES.detail)
        return _parse_lazily(body)
    if body.count(b"{") > limits.EVENTS.value:
        _count_events(body)
    try:
        request = _decode_small(body)
    except msgspec.ValidationError:
        _count_events(body)
        return _parse_lazily(body)
    if isinstance(request, list):
        return ParsedRequest(_first_of(request), request, has_batch=is_sent(request[0].batch))
    batch = request.batch
    return ParsedRequest(request, batch or [request], is_single=not batch, has_batch=batch is not None)


def _parse_lazily(body: bytes) -> ParsedRequest:
    outermost = _decode_outermost(body)
    if isinstance(outermost, list):
        _refuse_large(outermost)
        first = _requests.decode(_first_of(outermost))
        return ParsedRequest(first, outermost, has_batch=is_sent(first.batch))
    has_batch = is_sent(outermost.batch)
    elements = _decode_elements(outermost.batch) if has_batch else []
    _refuse_large(elements)
    first = _requests.from_raw(outermost)
    return ParsedRequest(first, elements or [first], is_single=not elements, has_batch=has_batch)


def _count_events(body: bytes) -> int:
    """Return the number of events in a list or a batch."""
    _counter.events = 0
    try:
        _decode_counted(body)
    except _TooManyEvents as error:
        raise PayloadTooLarge(limits.EVENTS.detail) from error
    return _counter.events


def _refuse_large(elements: Iterable[Raw]) -> None:
    if any(len(element) > limits.EVENT_BYTES.value for element in elements):
        raise PayloadTooLarge(limits.EVENT_BYTES.detail)


def _first_of(elements: list[Element]) -> Element:
    if not elements:
        raise invalid_payload("Invalid payload: the request holds no event.")
    return elements[0]


def place_of(request: "ParsedRequest", index: int, field: str | None) -> str | None:
    """Return where in the body of a request a field of an event is."""
    if request.is_single:
        return field
    event = f"{'batch' if request.has_batch else ''}[{index}]"
    return f"{event}.{field}" if field else event


def decode_event(event: WireEvent | Raw) -> WireEvent:
    """Decode an event of a parsed request."""
    if not isinstance(event, Raw):
        return event
    try:
        return _events.decode(event)
    except FieldTooLargeError as error:
        raise _too_large(error) from error


def read_properties(event: WireEvent) -> tuple[str, WireProperties]:
    """Return the properties of an event as JSON text, and those of them that capture reads."""
    raw = event.properties
    if isinstance(raw, UnsetType) or (len(raw) <= len(b"null") and not is_sent(raw)):
        return "{}", _NO_PROPERTIES
    text = str(raw, "utf-8")
    try:
        known = _properties.decode(raw)
        if known.set or known.set_once or known.unset:
            for changed in (known.set, known.set_once, known.unset):
                if not isinstance(changed, UnsetType):
                    check_values(changed)
    except FieldTooLargeError as error:
        raise _too_large(error) from error
    except msgspec.DecodeError:  # not an object, or a value that capture reads has an invalid number
        document = load_json(text)
        return ("{}", _NO_PROPERTIES) if document == [] else rewrite_properties(document)  # PHP's empty array
    return text, known


def rewrite_properties(document: object) -> tuple[str, WireProperties]:
    """Write decoded properties as JSON text, and return those of them that capture reads beside it."""
    if not isinstance(document, dict):
        detail = f"Invalid payload: Properties must be a JSON object, received {type(document).__name__}!"
        raise invalid_payload(detail, "properties")
    text = write_json(document)
    try:
        return text, _properties.decode(text.encode())
    except FieldTooLargeError as error:
        raise _too_large(error) from error


def load_json(text: str) -> object:
    try:
        return lenient_json.load(text)
    except (ValueError, RecursionError) as error:
        raise invalid_payload(f"Malformed request data: Invalid JSON: {error}") from error


def refuse_long_field(text: str, field: str) -> None:
    """Refuse a text that is larger than a field of an event may be."""
    if len(text.encode()) > limits.EVENT_FIELD_BYTES.value:
        raise invalid_payload(limits.EVENT_FIELD_BYTES.detail, field)


def invalid_payload(detail: str, field: str | None = None) -> ValidationFailed:
    return ValidationFailed(detail, code="invalid_payload", attr=field)


def _too_large(error: FieldTooLargeError) -> ValidationFailed:
    return invalid_payload(str(error), error.field)
