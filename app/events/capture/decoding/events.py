"""The events of a capture request: validated, and ready to be stored."""

import os
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from app.common.json_text import storable_text
from app.events.capture.decoding.clock import RequestClock
from app.events.capture.decoding.wire import (
    CAMPAIGN_PROPERTIES,
    ORIGIN_FIELDS,
    WireEvent,
    WireProperties,
    invalid_payload,
    load_json,
    read_properties,
    rewrite_properties,
)

MAX_NAME_CHARACTERS = 200
MAX_DISTINCT_ID_CHARACTERS = 200
MAX_PERSON_PROPERTY_DEPTH = 64
LONG_BYTES = 16 * 1024
_ALIASING = frozenset({"$create_alias", "$merge_dangerously"})
_CONTAINERS = frozenset({dict, list})  # the decoder makes no others

JsonDict = dict[str, Any]  # decoded properties: whatever JSON holds

# A person keeps the first value of each property of origin, and the latest campaign.
_INITIAL_PROPERTIES = tuple(f"$initial_{field}" for field in ORIGIN_FIELDS.values())
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
    set, set_once : dict
        Properties of the person, those of the person's origin included.
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
    set: JsonDict
    set_once: JsonDict
    unset: Sequence[str]
    address: str | None


def read_events(events: Sequence[WireEvent], clock: RequestClock, address: str | None) -> Iterator[CapturedEvent]:
    """Yield the events that are to be stored.

    Raises
    ------
    ValidationFailed
        At an invalid event, with the 2022 code ``invalid_payload``.
    """
    for event in events:
        captured = _read_event(event, clock, address)
        if captured is not None:
            yield captured


def is_long(event: WireEvent) -> bool:
    """Whether an event is large, or its properties may have to be rewritten."""
    is_rewritten = event.set or event.set_once or event.unset
    return bool(is_rewritten) or (not isinstance(event.properties, UnsetType) and len(event.properties) > LONG_BYTES)


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
    name = storable_text(event.event)
    return CapturedEvent(
        uuid=identifier,
        name=name[:MAX_NAME_CHARACTERS],
        distinct_id=distinct_id,
        time=clock.time_of(event, known),
        received_at=clock.received_at,
        properties=text,
        alias=_read_alias(name, known),
        is_merge_forced=name == "$merge_dangerously",
        set={**_read_object(known.set), **_scalars(CAMPAIGN_PROPERTIES, _read_campaign(known))},
        set_once={**_scalars(_INITIAL_PROPERTIES, _read_origin(known)), **_read_object(known.set_once)},
        unset=[str(key) for key in known.unset] if isinstance(known.unset, list) else [],
        address=address if known.address is UNSET else None,
    )


def _scalars(names: Sequence[str], values: Sequence[object]) -> JsonDict:
    """Return the values that are neither absent nor objects nor lists."""
    if values.count(None) == len(values):  # most events have no campaign
        return {}
    if not _CONTAINERS.isdisjoint(map(type, values)):
        values = [None if type(value) in _CONTAINERS else value for value in values]
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _check_snapshot(known: WireProperties) -> None:
    if not known.snapshot_data:
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
    return storable_text(value)[:MAX_DISTINCT_ID_CHARACTERS]


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
    for key, sent in (("$set", event.set), ("$set_once", event.set_once)):
        if isinstance(sent, dict):
            properties[key] = {**_read_object(properties.get(key)), **sent}
    if isinstance(event.unset, list):
        properties.setdefault("$unset", event.unset)
    return rewrite_properties(properties)


def _read_alias(name: str, known: WireProperties) -> str | None:
    other = known.anonymous_id if name == "$identify" else known.alias if name in _ALIASING else None
    return storable_text(other)[:MAX_DISTINCT_ID_CHARACTERS] if other else None


def _read_object(value: object) -> JsonDict:
    """Return an object without the values that are nested too deeply to be read back from a person."""
    if not isinstance(value, dict):
        return {}
    return {storable_text(key): nested for key, nested in value.items() if _depth_is_bounded(nested)}


def _depth_is_bounded(value: object, depth: int = 1) -> bool:
    if depth > MAX_PERSON_PROPERTY_DEPTH:
        return False
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(_depth_is_bounded(child, depth + 1) for child in children)
