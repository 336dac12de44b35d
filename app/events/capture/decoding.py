"""From the JSON of a capture request to events. Pure: no database, no clock of its own.

Properties stay JSON text from the wire to the table; only the few keys that capture itself looks at are decoded.
"""

import datetime as dt
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.common import lenient_json
from app.common.errors import ValidationFailed
from app.common.json_text import storable_text, write_json
from app.common.timestamps import to_microseconds

MAX_NAME_CHARACTERS = 200
MAX_DISTINCT_ID_CHARACTERS = 200
MAX_PERSON_PROPERTY_DEPTH = 64
_LONG_BYTES = 16 * 1024
_ALIASING = frozenset({"$create_alias", "$merge_dangerously"})
# Moments outside are mistakes of a client's clock or unit; arithmetic and display stop short of them.
_EARLIEST = dt.datetime(1900, 1, 1, tzinfo=dt.UTC)
_LATEST = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
_EPOCH = re.compile(r"[0-9]{1,18}")
_EPOCH_LIMIT = 10**18

_CONTAINERS = frozenset({dict, list})  # the decoder makes no others

JsonDict = dict[str, Any]  # decoded properties: whatever JSON holds

# What events say of where their person came from. A person keeps the first of each, and the last of the campaigns.
_CAMPAIGN = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "gclid", "fbclid")
_VISIT = ("$browser", "$browser_version", "$device_type", "$current_url", "$pathname", "$os")
_FIELDS = {name: name.removeprefix("$") for name in (*_CAMPAIGN, *_VISIT, "$referring_domain", "$referrer")}
_INITIAL = tuple(f"$initial_{field}" for field in _FIELDS.values())
_read_campaign = attrgetter(*_CAMPAIGN)
_read_origin = attrgetter(*_FIELDS.values())


class CapturedEvent(msgspec.Struct, frozen=True):
    """One valid event, ready to be stored.

    ``time`` and ``received_at`` are in microseconds since 1970 UTC; ``properties`` is JSON text. ``alias`` is the other
    distinct id of an event that joins two (``$identify``, ``$create_alias``, ``$merge_dangerously``), and
    ``is_merge_forced`` says that it may join two persons that are both identified. ``set`` and ``set_once`` also hold
    what the event says of its person's origin. ``address`` is where the event came from, if it does not say so itself.
    """

    uuid: UUID
    name: str
    distinct_id: str
    time: int
    received_at: int
    properties: str
    alias: str | None
    is_merge_forced: bool
    set: JsonDict
    set_once: JsonDict
    unset: Sequence[str]
    address: str | None


@dataclass(frozen=True)
class Envelope:
    """What a request says outside its payload: in the query, in the form's other fields, and by its path.

    Tokens come in the order in which they count, and before those of the payload.
    """

    tokens: Sequence[str] = ()
    query_sent_at: str = ""
    form_sent_at: str = ""
    project_id: str = ""
    event_name: str | None = None
    address: str | None = None


@dataclass(frozen=True)
class CapturedBatch:
    """What a request brings.

    Attributes
    ----------
    project_id : object
        What a client states that sends a personal key in place of a token.
    events : iterator of CapturedEvent
        Decoded while they are taken. One bad event refuses the whole request, so that nothing is half stored: it raises
        ``ValidationFailed`` with the 2022 code ``invalid_payload``.
    are_long : bool
        Whether some of them may take long, each by itself.
    """

    token: str | None
    project_id: object
    events: Iterator[CapturedEvent]
    are_long: bool


class _Event(
    msgspec.Struct,
    rename={"dollar_distinct_id": "$distinct_id", "set": "$set", "set_once": "$set_once", "unset": "$unset"},
):
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


class _Request(_Event, rename={"dollar_token": "$token"}):
    """A request's body: an envelope around a batch, or one event with the envelope's members beside it."""

    batch: list[_Event] | None = None
    dollar_token: object = None
    token: object = None
    api_key: object = None
    project_id: object = None
    sent_at: object = None


class _Properties(
    msgspec.Struct,
    rename={
        "set": "$set",
        "set_once": "$set_once",
        "unset": "$unset",
        "anonymous_id": "$anon_distinct_id",
        "ignores_sent_at": "$ignore_sent_at",
        "snapshot_data": "$snapshot_data",
        "address": "$ip",
        **{field: name for name, field in _FIELDS.items() if field != name},
    },
):
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


_decode_request: Callable[[bytes], list[_Request] | _Request] = msgspec.json.Decoder(list[_Request] | _Request).decode
_decode_properties = msgspec.json.Decoder(_Properties).decode
_NO_PROPERTIES = _Properties()
_EMPTY_ENVELOPE = Envelope()


def decode_batch(payload: bytes, now: dt.datetime, envelope: Envelope = _EMPTY_ENVELOPE) -> CapturedBatch:
    """Decode a JSON payload: one event, a list of events, or an envelope ``{"api_key", "batch": [...]}``.

    Parameters
    ----------
    now
        When the request arrived: the time of events that carry none, and the clock that ``sent_at`` is corrected to.

    Raises
    ------
    ValidationFailed
        With the 2022 code ``invalid_payload``.
    """
    requests = _parse(payload)
    members = requests if isinstance(requests, list) else [requests]
    if not members:
        raise _invalid("Invalid payload: the request holds no event.")
    first = members[0]
    has_batch = bool(first.batch) and not isinstance(requests, list)
    if envelope.event_name is not None and not has_batch and not isinstance(requests, list):
        first.event = envelope.event_name
    events: Sequence[_Event] = first.batch if first.batch and has_batch else members
    clock = _Clock(now, _read_sent_at(envelope.query_sent_at or first.sent_at or envelope.form_sent_at))
    return CapturedBatch(
        token=_find_token(first, envelope),
        project_id=envelope.project_id or first.project_id,
        events=_read_events(events, clock, envelope.address),
        are_long=len(payload) > _LONG_BYTES and any(map(_is_long, events)),
    )


def _parse(body: bytes) -> list[_Request] | _Request:
    try:
        body.decode()  # the decoder below does not look inside what it passes through
        return _decode_request(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_leniently(body)


def _parse_leniently(body: bytes) -> list[_Request] | _Request:
    try:
        return _decode_request(write_json(_load(lenient_json.read_text(body))).encode())
    except (msgspec.DecodeError, RecursionError) as error:
        raise _invalid(f"Malformed request data: {error}") from error


def _load(text: str) -> object:
    try:
        return lenient_json.load(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"Malformed request data: Invalid JSON: {error}") from error


def _invalid(detail: str) -> ValidationFailed:
    return ValidationFailed(detail, code="invalid_payload")


def _find_token(first: _Request, envelope: Envelope) -> str | None:
    candidates = (*envelope.tokens, first.dollar_token, first.token, first.api_key)
    found = next((candidate for candidate in candidates if candidate), None)
    if not found and first.batch is None:
        found = _read_properties(first)[1].token
    return storable_text(found).strip() if found else None


@dataclass(frozen=True)
class _Clock:
    """Turns the times that a client states into times of our clock."""

    now: dt.datetime
    sent_at: dt.datetime | None

    @cached_property
    def received_at(self) -> int:
        return to_microseconds(self.now)

    def read(self, event: _Event, known: _Properties) -> int:
        moment = self._moment(event, None if known.ignores_sent_at is True else self.sent_at)
        if not _EARLIEST <= moment <= _LATEST:
            moment = self.now
        return to_microseconds(moment)

    def _moment(self, event: _Event, sent_at: dt.datetime | None) -> dt.datetime:
        stated = _parse_moment(event.timestamp) or _parse_number(event.timestamp)
        try:
            if stated is not None:
                return stated if sent_at is None else self.now + (stated - sent_at)
            if isinstance(event.offset, int | float):
                return self.now - dt.timedelta(milliseconds=event.offset)
        except OverflowError:
            pass
        return self.now


def _parse_moment(value: object) -> dt.datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(value.strip())
        return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return None


def _read_sent_at(value: object) -> dt.datetime | None:
    if not value:
        return None
    moment = _parse_epoch(value) or _parse_moment(value)
    if moment is None:
        raise _invalid(
            f"Malformed request data, invalid sent at: {str(value)[:100]!r} is not an ISO 8601 date and time"
        )
    return moment


def _parse_number(value: object) -> dt.datetime | None:
    """Read a JSON number like digits: JavaScript's clock has no other form."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _EPOCH_LIMIT:
        return None
    return _parse_epoch(str(int(value)))


def _parse_epoch(value: object) -> dt.datetime | None:
    """Read digits: seconds since 1970, milliseconds from the twelfth digit on."""
    if not isinstance(value, str) or _EPOCH.fullmatch(value) is None:
        return None
    unit = dt.timedelta(milliseconds=1) if len(value) > 11 else dt.timedelta(seconds=1)
    try:
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + int(value) * unit
    except OverflowError:
        return None


def _read_events(events: Sequence[_Event], clock: _Clock, address: str | None) -> Iterator[CapturedEvent]:
    for event in events:
        captured = _read_event(event, clock, address)
        if captured is not None:
            yield captured


def _is_long(event: _Event) -> bool:
    """Whether there is much to decode, or properties may have to be written anew."""
    is_rewritten = event.set or event.set_once or event.unset
    return bool(is_rewritten) or (not isinstance(event.properties, UnsetType) and len(event.properties) > _LONG_BYTES)


def _read_event(event: _Event, clock: _Clock, address: str | None) -> CapturedEvent | None:
    if event.event is UNSET:
        raise _invalid('Invalid payload: All events must have the event name field "event"!')
    text, known = _read_properties(event)
    distinct_id = _read_distinct_id(event, known)
    identifier = _read_uuid(event.uuid, clock)
    if not event.event:
        return None  # an empty name is dropped without a word, as it always was
    if event.event == "$snapshot":
        _check_snapshot(known)
        return None  # a piece of a session recording: nothing here plays them
    if event.set or event.set_once or event.unset:
        text, known = _fold_in(event, text)
    name = storable_text(event.event)
    return CapturedEvent(
        uuid=identifier,
        name=name[:MAX_NAME_CHARACTERS],
        distinct_id=distinct_id,
        time=clock.read(event, known),
        received_at=clock.received_at,
        properties=text,
        alias=_read_alias(name, known),
        is_merge_forced=name == "$merge_dangerously",
        set={**_read_object(known.set), **_scalars(_CAMPAIGN, _read_campaign(known))},
        set_once={**_scalars(_INITIAL, _read_origin(known)), **_read_object(known.set_once)},
        unset=[str(key) for key in known.unset] if isinstance(known.unset, list) else [],
        address=address if known.address is UNSET else None,
    )


def _scalars(names: Sequence[str], values: Sequence[object]) -> JsonDict:
    """Return the values that are there and are neither objects nor lists."""
    if values.count(None) == len(values):  # mostly there is no campaign
        return {}
    if not _CONTAINERS.isdisjoint(map(type, values)):
        values = [None if type(value) in _CONTAINERS else value for value in values]
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _check_snapshot(known: _Properties) -> None:
    if not known.snapshot_data:
        raise _invalid('Invalid payload: $snapshot events must contain property "$snapshot_data"!')


def _read_properties(event: _Event) -> tuple[str, _Properties]:
    """Return the properties as text, and the few that capture looks at."""
    raw = event.properties
    if isinstance(raw, UnsetType) or bytes(raw) == b"null":
        return "{}", _NO_PROPERTIES
    text = str(raw, "utf-8")
    try:
        return text, _decode_properties(text)
    except msgspec.DecodeError:  # no object, or in what we look at a number out of range or half of a surrogate pair
        return _reread_properties(_load(text))


def _reread_properties(document: object) -> tuple[str, _Properties]:
    if not isinstance(document, dict):
        raise _invalid(f"Invalid payload: Properties must be a JSON object, received {type(document).__name__}!")
    text = write_json(document)
    return text, _decode_properties(text)


def _read_distinct_id(event: _Event, known: _Properties) -> str:
    value = event.dollar_distinct_id
    if value is UNSET:
        value = known.distinct_id
    if value is UNSET:
        value = event.distinct_id
    if value is UNSET:
        raise _invalid('Invalid payload: All events must have the event field "distinct_id"!')
    if not value:
        raise _invalid('Invalid payload: Event field "distinct_id" should not be blank!')
    return storable_text(value)[:MAX_DISTINCT_ID_CHARACTERS]


def _read_uuid(value: object, clock: _Clock) -> UUID:
    if not value:
        return _new_uuid(clock.received_at // 1_000)
    text = value if isinstance(value, str) else str(value)
    try:
        return msgspec.convert(text, UUID)  # knows the two usual spellings, and takes a quarter of the time
    except msgspec.ValidationError:
        pass
    try:
        return UUID(text)
    except ValueError as error:
        raise _invalid('Invalid payload: Event field "uuid" is not a valid UUID!') from error


def _new_uuid(milliseconds: int) -> UUID:
    """Return a UUID of version 7: it begins with the time, so that new ones lie beside each other in an index."""
    number = milliseconds << 80 | int.from_bytes(os.urandom(10))
    return UUID(int=number & ~(0xF << 76 | 0b11 << 62) | 0x7 << 76 | 0b10 << 62)


def _fold_in(event: _Event, text: str) -> tuple[str, _Properties]:
    """Move ``$set``, ``$set_once`` and ``$unset`` from beside the properties into them, where everybody looks."""
    properties = _load(text)
    if not isinstance(properties, dict):
        raise TypeError(f"properties were read as an object before, now as {type(properties).__name__}")
    for key, beside in (("$set", event.set), ("$set_once", event.set_once)):
        if isinstance(beside, dict):
            properties[key] = {**_read_object(properties.get(key)), **beside}
    if isinstance(event.unset, list):
        properties.setdefault("$unset", event.unset)
    return _reread_properties(properties)


def _read_alias(name: str, known: _Properties) -> str | None:
    other = known.anonymous_id if name == "$identify" else known.alias if name in _ALIASING else None
    return storable_text(other)[:MAX_DISTINCT_ID_CHARACTERS] if other else None


def _read_object(value: object) -> JsonDict:
    """Return an object's members, without those that nest so deeply that a person could not be read again."""
    if not isinstance(value, dict):
        return {}
    return {storable_text(key): member for key, member in value.items() if _depth_is_bounded(member)}


def _depth_is_bounded(value: object, depth: int = 1) -> bool:
    if depth > MAX_PERSON_PROPERTY_DEPTH:
        return False
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(_depth_is_bounded(member, depth + 1) for member in members)
