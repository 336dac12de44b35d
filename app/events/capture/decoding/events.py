"""The events of a capture request: validated, and ready to be stored."""

import os
from collections.abc import Iterator, Sequence, Set
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.common import limits
from app.common.errors import PayloadTooLarge
from app.common.json_text import storable_text
from app.events.capture.decoding.clock import RequestClock
from app.events.capture.decoding.wire import (
    CAMPAIGN_PROPERTIES,
    ORIGIN_FIELDS,
    WireEvent,
    WireProperties,
    decode_event,
    invalid_payload,
    load_json,
    read_properties,
    refuse_long_field,
    rewrite_properties,
)
from app.people.properties import Properties
from app.people.properties import read_properties as read_properties_of_person
from app.sdk.bounded_structs import Json, Scalar

MAX_NAME_CHARACTERS = 200
MAX_DISTINCT_ID_CHARACTERS = 200
LONG_BYTES = 16 * 1024
_ALIASING = frozenset({"$create_alias", "$merge_dangerously"})
_MAX_CHARACTER_BYTES = 4  # in UTF-8
_SHORT_CHARACTERS = limits.EVENT_FIELD_BYTES.value // _MAX_CHARACTER_BYTES
_FALSY = frozenset({b"null", b"false", b"0", b"0.0", b'""', b"[]", b"{}"})
_NO_KEYS: Set[str] = frozenset()

JsonDict = dict[str, Any]  # decoded properties: whatever JSON holds
_decode_any: Any = msgspec.json.Decoder().decode  # whatever JSON holds

# A person keeps the first value of each property of origin, and the latest campaign.
_INITIAL_PROPERTIES = tuple(f"$initial_{field}" for field in ORIGIN_FIELDS.values())
# A property has at most 25 bytes more as JSON than it was sent with: its name, and a number that is written at length.
_NAMES_BYTES = sum(2 * len(name) + 50 for name in (*_INITIAL_PROPERTIES, *CAMPAIGN_PROPERTIES))
_read_campaign = attrgetter(*CAMPAIGN_PROPERTIES)
_read_origin = attrgetter(*ORIGIN_FIELDS.values())


class CapturedEvent(msgspec.Struct, frozen=True):
    """One valid event, ready to be stored.

    Attributes
    ----------
    time, received_at : int
        In microseconds since 1970 UTC.
    properties : str
        JSON text.
    alias : str or None
        The other distinct id of an event that merges two (``$identify``, ``$create_alias``, ``$merge_dangerously``).
    is_merge_forced : bool
        Whether the event may merge two persons that are both identified.
    campaign, origin : dict
        Properties of the person that the event's own properties give: the latest, and the first.
    sent_set, sent_set_once, sent_unset : msgspec.Raw or UNSET
        The JSON of properties of the person that the client sent. It is decoded when it is asked for, so that a request
        is never decoded as a whole.
    person_bytes : int
        The size of what the client sent as properties of the person.
    may_change_person : bool
        Whether the event has properties of the person.
    address : str or None
        The address that the event came from, unless the event states it itself.
    """

    uuid: UUID
    name: str
    distinct_id: str
    time: int
    received_at: int
    properties: str
    alias: str | None
    is_merge_forced: bool
    campaign: Properties
    origin: Properties
    sent_set: Json
    sent_set_once: Json
    sent_unset: Json
    person_bytes: int
    may_change_person: bool
    address: str | None

    @property
    def set(self) -> Properties:
        """The properties that the person gets."""
        sent = self.sent_set
        return self.campaign if isinstance(sent, UnsetType) else {**_read_sent(sent), **self.campaign}

    @property
    def set_once(self) -> Properties:
        """The properties that the person gets unless it has them."""
        sent = self.sent_set_once
        return self.origin if isinstance(sent, UnsetType) else {**self.origin, **_read_sent(sent)}

    @property
    def unset(self) -> Set[str]:
        """The properties that are removed from the person."""
        keys = None if isinstance(self.sent_unset, UnsetType) else _decode_any(self.sent_unset)
        return frozenset(map(str, keys)) if isinstance(keys, list) else _NO_KEYS

    @property
    def origin_bytes(self) -> int:
        """A bound on the size of ``campaign`` and ``origin`` as JSON: both are written anew."""
        text = self.properties
        return _NAMES_BYTES + 2 * len(text) * (1 if text.isascii() else _MAX_CHARACTER_BYTES) if self.origin else 0


def read_events(events: Sequence[WireEvent | Raw], clock: RequestClock, address: str | None) -> Iterator[CapturedEvent]:
    """Yield the events that are to be stored, each when it is decoded.

    Raises
    ------
    ValidationFailed
        At an invalid event, with the 2022 code ``invalid_payload``.
    PayloadTooLarge
        Too many events join persons.
    """
    merges = 0
    for event in events:
        captured = _read_event(decode_event(event), clock, address)
        if captured is None:
            continue
        merges += captured.alias is not None
        if merges > limits.MERGES.value:
            raise PayloadTooLarge(limits.MERGES.detail)
        yield captured


def is_long(event: WireEvent | Raw) -> bool:
    """Whether decoding an event may take long."""
    if isinstance(event, Raw):
        return len(event) > LONG_BYTES
    if event.properties and len(event.properties) > LONG_BYTES:
        return True
    if not (event.set or event.set_once or event.unset):
        return False
    return any(part and len(part) > LONG_BYTES for part in (event.set, event.set_once, event.unset))


def _read_event(event: WireEvent, clock: RequestClock, address: str | None) -> CapturedEvent | None:
    if event.event is UNSET:
        raise invalid_payload('Invalid payload: All events must have the event name field "event"!')
    text, known = read_properties(event)
    distinct_id = _read_distinct_id(event, known)
    identifier = _read_uuid(event.uuid, clock)
    if not event.event:
        return None  # dropped without an error, as in 2022
    if event.event == "$snapshot":
        _check_snapshot(known)
        return None  # part of a session recording, which the service does not store
    if event.set or event.set_once or event.unset:
        text, known = _merge_into_properties(event, text)
    name = _read_text(event.event)
    origin = _without_absent(_INITIAL_PROPERTIES, _read_origin(known))
    person_bytes = 0
    if known.set or known.set_once or known.unset:
        person_bytes = sum(len(sent) for sent in (known.set, known.set_once, known.unset) if sent)
    return CapturedEvent(
        uuid=identifier,
        name=name[:MAX_NAME_CHARACTERS],
        distinct_id=distinct_id,
        time=clock.time_of(event, known),
        received_at=clock.received_at,
        properties=text,
        alias=_read_alias(name, known),
        is_merge_forced=name == "$merge_dangerously",
        campaign=_without_absent(CAMPAIGN_PROPERTIES, _read_campaign(known)),
        origin=origin,
        sent_set=known.set,
        sent_set_once=known.set_once,
        sent_unset=known.unset,
        person_bytes=person_bytes,
        may_change_person=person_bytes > 0 or bool(origin),  # which a campaign is a part of
        address=address if known.address is UNSET else None,
    )


def _without_absent(names: Sequence[str], values: Sequence[Scalar]) -> Properties:
    if values.count(None) == len(values):  # most events have no campaign
        return {}
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _check_snapshot(known: WireProperties) -> None:
    if isinstance(known.snapshot_data, UnsetType) or bytes(known.snapshot_data) in _FALSY:
        raise invalid_payload('Invalid payload: $snapshot events must contain property "$snapshot_data"!')


def _read_distinct_id(event: WireEvent, known: WireProperties) -> str:
    value = event.dollar_distinct_id
    if value is UNSET:
        value = known.distinct_id
    if value is UNSET:
        value = event.distinct_id
    if value is UNSET:
        raise invalid_payload('Invalid payload: All events must have the event field "distinct_id"!')
    if not value:
        raise invalid_payload('Invalid payload: Event field "distinct_id" should not be blank!')
    return _read_text(value)[:MAX_DISTINCT_ID_CHARACTERS]


def _read_text(value: Scalar | UnsetType) -> str:
    text = storable_text(value)
    if len(text) > _SHORT_CHARACTERS:
        refuse_long_field(text)
    return text


def _read_uuid(value: object, clock: RequestClock) -> UUID:
    if not value:
        return _new_uuid(clock.received_at // 1_000)
    text = value if isinstance(value, str) else str(value)
    try:
        return msgspec.convert(text, UUID)  # accepts the two usual spellings in a quarter of the time
    except msgspec.ValidationError:
        pass
    try:
        return UUID(text)
    except ValueError as error:
        raise invalid_payload('Invalid payload: Event field "uuid" is not a valid UUID!') from error


def _new_uuid(milliseconds: int) -> UUID:
    """Return a UUID of version 7: it begins with the time, so that new ones are neighbors in an index."""
    number = milliseconds << 80 | int.from_bytes(os.urandom(10))
    return UUID(int=number & ~(0xF << 76 | 0b11 << 62) | 0x7 << 76 | 0b10 << 62)


def _merge_into_properties(event: WireEvent, text: str) -> tuple[str, WireProperties]:
    """Move ``$set``, ``$set_once`` and ``$unset`` from the event into its properties, where they are read from."""
    properties = load_json(text)
    if not isinstance(properties, dict):
        raise TypeError(f"properties were read as an object before, now as {type(properties).__name__}")
    for key, sent in (("$set", _load(event.set)), ("$set_once", _load(event.set_once))):
        if isinstance(sent, dict):
            properties[key] = {**_as_object(properties.get(key)), **sent}
    if isinstance(unset := _load(event.unset), list):
        properties.setdefault("$unset", unset)
    return rewrite_properties(properties)


def _load(raw: Json) -> object:
    return None if isinstance(raw, UnsetType) else load_json(str(raw, "utf-8"))


def _as_object(value: object) -> JsonDict:
    return value if isinstance(value, dict) else {}


def _read_alias(name: str, known: WireProperties) -> str | None:
    other = known.anonymous_id if name == "$identify" else known.alias if name in _ALIASING else None
    return _read_text(other)[:MAX_DISTINCT_ID_CHARACTERS] if other else None


def _read_sent(raw: Raw) -> Properties:
    properties = read_properties_of_person(raw)
    if any("\0" in key for key in properties):
        return {storable_text(key): value for key, value in properties.items()}
    return properties
