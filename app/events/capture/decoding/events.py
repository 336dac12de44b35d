"""The events of a capture request: validated, and ready to be stored."""

from collections.abc import Iterator, Sequence, Set
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.common import limits
from app.common.errors import PayloadTooLarge, ValidationFailed
from app.common.json_text import append_members, storable_text, write_json
from app.events.capture.decoding.clock import RequestClock, read_time
from app.events.capture.decoding.visitors import Sender, read_visitor, without_traces
from app.events.capture.decoding.wire import (
    ORIGIN_FIELDS,
    ParsedRequest,
    WireEvent,
    WireProperties,
    decode_event,
    invalid_payload,
    load_json,
    place_of,
    read_properties,
    refuse_long_field,
    rewrite_properties,
)
from app.events.uuids import derived_uuid, new_uuid, read_uuid
from app.people.cookieless.visitors import COOKIELESS, Visitor
from app.people.persons.origin import (
    CAMPAIGN_PROPERTIES,
    INITIAL_PROPERTIES,
    NO_ORIGIN,
    Origin,
    initial_properties,
)
from app.people.properties import Properties
from app.people.properties import read_properties as read_properties_of_person
from app.sdk.bounded_structs import Json, Scalar

MAX_NAME_CHARACTERS = 200
MAX_DISTINCT_ID_CHARACTERS = 200
LONG_BYTES = 16 * 1024
_MAX_UNREAD_CHARACTERS = 200
UNREAD_TIMESTAMP = "$unread_timestamp"  # the property with the text of a time that could not be read
_IDENTIFYING = frozenset({"$identify", "$create_alias", "$merge_dangerously"})
_MAX_CHARACTER_BYTES = 4  # in UTF-8
_ORDINARY_CHARACTERS = 200
_SHORT_CHARACTERS = limits.EVENT_FIELD_BYTES.value // _MAX_CHARACTER_BYTES
_FALSY = frozenset({b"null", b"false", b"0", b"0.0", b'""', b"[]", b"{}"})
_NO_KEYS: Set[str] = frozenset()
_NO_PROPERTIES: Properties = {}

JsonDict = dict[str, Any]  # decoded properties: whatever JSON holds
_decode_any: Any = msgspec.json.Decoder().decode  # whatever JSON holds

# A property has at most 25 bytes more as JSON than it was sent with: its name, and a number that is written at length.
_NAMES_BYTES = sum(2 * len(name) + 50 for name in (*INITIAL_PROPERTIES, *CAMPAIGN_PROPERTIES))
_read_origin = attrgetter(*ORIGIN_FIELDS.values())


class CapturedEvent(msgspec.Struct, frozen=True, gc=False):
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
    campaign : dict
        Properties of the person that the event's own properties give: the latest campaign.
    sent_origin : tuple
        Where the event says that the person came from: ``origin`` is made of it where it is asked for.
    sent_set, sent_set_once, sent_unset : msgspec.Raw or UNSET
        The JSON of properties of the person that the client sent. It is decoded when it is asked for, so that a request
        is never decoded as a whole.
    person_bytes : int
        The size of what the client sent as properties of the person.
    may_change_person : bool
        Whether the event has properties of the person.
    address : str or None
        The address that the event came from, unless the event states it itself.
    writes_profile : bool
        Whether the event's person has a profile, or gets one.
    is_time_unread : bool
        Whether the event states a time that cannot be read, and happened when it arrived.
    visitor : Visitor or None
        What is known of a visitor without cookies, whose distinct id is made of it.
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
    sent_origin: Origin
    sent_set: Json
    sent_set_once: Json
    sent_unset: Json
    person_bytes: int
    may_change_person: bool
    address: str | None
    writes_profile: bool = True
    is_time_unread: bool = False
    visitor: Visitor | None = None

    @property
    def set(self) -> Properties:
        """The properties that the person gets."""
        sent = self.sent_set
        return self.campaign if isinstance(sent, UnsetType) else {**_read_sent(sent), **self.campaign}

    @property
    def origin(self) -> Properties:
        """The properties that the person gets from the event's own ones, unless it has them."""
        return initial_properties(self.sent_origin)

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
        return _NAMES_BYTES + 2 * len(text) * (1 if text.isascii() else _MAX_CHARACTER_BYTES) if self.sent_origin else 0


def read_events(request: ParsedRequest, clock: RequestClock, sender: Sender) -> Iterator[CapturedEvent]:
    """Yield the events that are to be stored, each when it is decoded.

    Raises
    ------
    ValidationFailed
        At an invalid event, with the 2022 code ``invalid_payload``; it says where the event is.
    PayloadTooLarge
        Too many events join persons.
    """
    merges = 0
    for index, event in enumerate(request.events):
        try:
            captured = read_event(decode_event(event), clock, sender)
        except ValidationFailed as refusal:
            raise _located(refusal, place_of(request, index, refusal.attr)) from refusal
        if captured is None:
            continue
        merges += captured.alias is not None
        if merges > limits.MERGES.value:
            raise PayloadTooLarge(limits.MERGES.detail)
        yield captured


def _located(refusal: ValidationFailed, place: str | None) -> ValidationFailed:
    if place == refusal.attr:
        return refusal
    return ValidationFailed(f"{refusal.detail} ({place})", code=refusal.code, attr=place)


def is_long(event: WireEvent | Raw) -> bool:
    """Whether decoding an event may take long."""
    if isinstance(event, Raw):
        return len(event) > LONG_BYTES
    if event.properties and len(event.properties) > LONG_BYTES:
        return True
    if not (event.set or event.set_once or event.unset):
        return False
    return any(part and len(part) > LONG_BYTES for part in (event.set, event.set_once, event.unset))


def read_event(event: WireEvent, clock: RequestClock, sender: Sender) -> CapturedEvent | None:
    """Return the event to be stored; None for one that is not stored, as in 2022.

    Raises
    ------
    ValidationFailed
        With the 2022 code ``invalid_payload``.
    """
    if event.event is UNSET:
        raise invalid_payload('Invalid payload: All events must have the event name field "event"!', "event")
    text, known = read_properties(event)
    distinct_id = _read_distinct_id(event, known)
    identifier = _read_uuid(event.uuid)
    if not event.event:
        return None  # dropped without an error, as in 2022
    if event.event == "$snapshot":
        _check_snapshot(known)
        return None  # part of a session recording, which the service does not store
    if event.set or event.set_once or event.unset:
        text, known = _merge_into_properties(event, text)
    name = _read_text(event.event, "event")[:MAX_NAME_CHARACTERS]
    time, unread = clock.time_of(event, ignores_sent_at=known.ignores_sent_at is True)
    if unread is not None:
        text = append_members(text, f'"{UNREAD_TIMESTAMP}":{write_json(unread[:_MAX_UNREAD_CHARACTERS])}')
    alias = _read_alias(name, known) if name in _IDENTIFYING else None
    address = sender.address if known.address is UNSET else None
    visitor = None
    if known.is_cookieless is True or distinct_id == COOKIELESS:
        visitor = read_visitor(text, sender) if distinct_id == COOKIELESS else None
        text, alias, address = without_traces(text), None, None
    writes_profile = known.writes_profile is not False
    person_bytes, origin, campaign = 0, NO_ORIGIN, _NO_PROPERTIES
    if writes_profile:
        sent = _read_origin(known)
        if sent.count(None) < len(sent):
            origin, campaign = sent, _read_campaign(sent[: len(CAMPAIGN_PROPERTIES)])
        if known.set or known.set_once or known.unset:
            person_bytes = sum(len(sent) for sent in (known.set, known.set_once, known.unset) if sent)
    else:
        alias = None
    return CapturedEvent(  # by position, which takes a third of a microsecond less than by name
        identifier or _make_uuid(event, known, name, distinct_id, clock),
        name,
        distinct_id,
        time,
        clock.received_at,
        text,
        alias,
        name == "$merge_dangerously",
        campaign,
        origin,
        known.set,
        known.set_once,
        known.unset,
        person_bytes,
        person_bytes > 0 or bool(origin),  # which a campaign is a part of
        address,
        writes_profile,
        unread is not None,
        visitor,
    )


def _read_campaign(values: Sequence[Scalar]) -> Properties:
    if values.count(None) == len(values):  # most events have no campaign
        return _NO_PROPERTIES
    return {name: value for name, value in zip(CAMPAIGN_PROPERTIES, values, strict=True) if value is not None}


def _check_snapshot(known: WireProperties) -> None:
    if isinstance(known.snapshot_data, UnsetType) or bytes(known.snapshot_data) in _FALSY:
        detail = 'Invalid payload: $snapshot events must contain property "$snapshot_data"!'
        raise invalid_payload(detail, "properties.$snapshot_data")


def _read_distinct_id(event: WireEvent, known: WireProperties) -> str:
    value, field = event.dollar_distinct_id, "$distinct_id"
    if value is UNSET:
        value, field = known.distinct_id, "properties.distinct_id"
    if value is UNSET:
        value, field = event.distinct_id, "distinct_id"
    if value is UNSET:
        raise invalid_payload('Invalid payload: All events must have the event field "distinct_id"!', field)
    if not value:
        raise invalid_payload('Invalid payload: Event field "distinct_id" should not be blank!', field)
    return _read_text(value, field)[:MAX_DISTINCT_ID_CHARACTERS]


def _read_text(value: Scalar | UnsetType, field: str) -> str:
    if isinstance(value, str) and len(value) <= _ORDINARY_CHARACTERS and "\0" not in value:
        return value
    text = storable_text(value)
    if len(text) > _SHORT_CHARACTERS:
        refuse_long_field(text, field)
    return text


def _read_uuid(value: object) -> UUID | None:
    """Return the uuid that an event states; None where it states none, or the one that stands for none."""
    if not value:
        return None
    try:
        uuid = read_uuid(value if isinstance(value, str) else str(value))
    except ValueError as error:
        raise invalid_payload('Invalid payload: Event field "uuid" is not a valid UUID!', "uuid") from error
    return uuid if uuid.int else None


def _make_uuid(event: WireEvent, known: WireProperties, name: str, distinct_id: str, clock: RequestClock) -> UUID:
    """Return a uuid for an event without one: the same again for an event that is sent again, where that can be known.

    Older browser SDKs mark every event by ``$insert_id``, and state by ``$time`` when it happened. Its ``timestamp``
    may be missing when it is sent for the first time.
    """
    if not known.insert_id:
        return new_uuid(clock.received_at // 1_000)
    time = known.time
    if time is None:
        time = read_time(event.timestamp)
    return derived_uuid(storable_text(known.insert_id), name, distinct_id, storable_text(time))


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
    is_identify = name == "$identify"
    other = known.anonymous_id if is_identify else known.alias
    field = "properties.$anon_distinct_id" if is_identify else "properties.alias"
    return _read_text(other, field)[:MAX_DISTINCT_ID_CHARACTERS] if other else None


def _read_sent(raw: Raw) -> Properties:
    properties = read_properties_of_person(raw)
    if any("\0" in key for key in properties):
        return {storable_text(key): value for key, value in properties.items()}
    return properties
