"""PostHog: batch exports of events and of persons, and lines of events as its ``/batch/`` takes them.

Properties are objects in JSON, and texts of JSON in Parquet. ``created_at`` of an event is when it was received.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from app.events.capture.decoding.wire import WireEvent
from app.events.imports.records import EventRecord, LineRefused, PersonRecord
from app.properties.elements import CHAIN_PROPERTY
from app.sdk.bounded_structs import BoundedDecoder, Json, Scalar

_OPENING: Final = (b'"', b"n")
_decode_any: Any = msgspec.json.Decoder().decode  # any JSON


class _Line(WireEvent):
    person_id: Scalar = None
    created_at: Scalar = None
    elements_chain: Scalar = None


class _Person(msgspec.Struct):
    distinct_id: Scalar = None
    person_id: Scalar = None
    properties: Json = UNSET
    person_distinct_id_version: Scalar = 0
    person_version: Scalar = 0
    created_at: Scalar = None
    is_deleted: Scalar = False


_events: Final = BoundedDecoder(_Line)
_persons: Final = BoundedDecoder(_Person)


def read_event(line: bytes) -> EventRecord:
    """Read an event of a batch export, or one as SDKs send it."""
    event = _events.decode(line)
    event.properties = as_object(event.properties)
    if event.set is not UNSET or event.set_once is not UNSET or event.unset is not UNSET:
        for name in ("set", "set_once", "unset"):  # null in every line of an export that has none
            if getattr(event, name) == Raw(b"null"):
                setattr(event, name, UNSET)
    if event.elements_chain:
        event.properties = _with_member(event.properties, CHAIN_PROPERTY, event.elements_chain)
    return EventRecord(event, event.created_at, None if event.person_id is None else str(event.person_id))


def read_person(line: bytes) -> PersonRecord:
    """Read one distinct id of a person."""
    person = _persons.decode(line)
    if not person.person_id or not person.distinct_id:
        raise LineRefused("names no person_id and distinct_id")
    properties = as_object(person.properties)
    return PersonRecord(
        person=str(person.person_id),
        distinct_ids=[str(person.distinct_id)],
        properties=Raw(b"{}") if isinstance(properties, msgspec.UnsetType) else properties,
        created_at=person.created_at,
        id_version=_whole(person.person_distinct_id_version),
        version=_whole(person.person_version),
        is_deleted=person.is_deleted in {True, "true"},
    )


def as_object(properties: Json) -> Json:
    """Return properties that may be a text of JSON."""
    if isinstance(properties, msgspec.UnsetType) or not bytes(properties).startswith(_OPENING):
        return properties
    text = _decode_any(properties)
    return Raw(text.encode()) if isinstance(text, str) and text else Raw(b"{}")


def _with_member(properties: Json, name: str, value: object) -> Raw:
    members = {} if isinstance(properties, msgspec.UnsetType) else _decode_any(properties)
    if not isinstance(members, dict):
        raise LineRefused("properties are not an object")
    return Raw(msgspec.json.encode({name: value, **members}))


def _whole(value: Scalar) -> int:
    return value if isinstance(value, int) else 0
